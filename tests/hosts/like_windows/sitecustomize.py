"""Shows edgeq's own modules a system like Windows; libraries see the real one.

Python imports this file at its start if its folder is on PYTHONPATH, so children see the same. What
edgeq imports lacks the names that Windows lacks, which are in the file EDGEQ_TEST_ABSENT. No file
can be removed or renamed while a process has it open, and no folder that a process works in; this
applies in the folder EDGEQ_TEST_PLACE, and to processes with the same variable.
"""

import builtins
import ctypes
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import types
from pathlib import Path

PLACE = os.environ["EDGEQ_TEST_PLACE"]
ABSENT = json.loads(Path(os.environ["EDGEQ_TEST_ABSENT"]).read_text("utf-8"))
REFUSED = ("pass_fds", "preexec_fn", "start_new_session", "process_group")
_JOB_BYTES = 144  # of JOBOBJECT_EXTENDED_LIMIT_INFORMATION on 64 bits


class Popen(subprocess.Popen):
    def __init__(self, *arguments, creationflags=0, **keywords):
        assert not {*REFUSED} & keywords.keys(), f"Windows refuses {keywords.keys()}"
        super().__init__(*arguments, **keywords)


class Kernel:
    """kernel32, as far as edgeq calls it."""

    def __getattr__(self, name):
        def call(*arguments):
            if name == "SetInformationJobObject":
                assert arguments[3].value == _JOB_BYTES
            if name == "GlobalMemoryStatusEx":
                arguments[0][8:24] = (8 << 30).to_bytes(8, "little") * 2
            if name == "K32GetProcessMemoryInfo":
                arguments[1][8:16] = (1 << 20).to_bytes(8, "little")
            return 1

        return call


class Module(types.ModuleType):
    """A module without what Windows lacks, and with what only Windows has."""

    def __init__(self, real, **added):
        absent = frozenset(ABSENT.get(real.__name__, ())) - added.keys()
        self.__dict__.update(_real=real, _absent=absent, _added=added)

    def __getattr__(self, name):
        if name in self._added:
            return self._added[name]
        if name in self._absent:
            raise AttributeError(f"{self._real.__name__} has no {name} on Windows")
        return getattr(self._real, name)

    def __setattr__(self, name, value):
        setattr(self._real, name, value)


def _library(name, *arguments, **keywords):
    if name is None:
        raise TypeError("CDLL(None) on Windows")
    return ctypes.CDLL(name, *arguments, **keywords)


def _locking(handle, mode, count):
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise PermissionError(13, "Permission denied") from error  # as `_locking` does


def _kill(number, signal):
    assert signal not in (0, 1), "Ctrl-C and Ctrl-Break on Windows"
    os.kill(number, signal)


def _temporary_file(*arguments, **keywords):
    """A file that can be opened again by its name, and that vanishes when it is closed."""
    handle, name = tempfile.mkstemp(dir=keywords.get("dir"))
    _remove(name)
    stream = os.fdopen(handle, "w+b")
    return _Named(stream, f"/proc/self/fd/{handle}")


class _Named:
    def __init__(self, stream, name):
        self.stream, self.name = stream, name

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()


_SEEN = {
    "os": Module(os, O_BINARY=0, O_NOINHERIT=os.O_CLOEXEC, O_TEMPORARY=0, kill=_kill),
    "sys": Module(sys, platform="win32"),
    "subprocess": Module(
        subprocess, Popen=Popen, CREATE_NEW_PROCESS_GROUP=0x200, CREATE_NO_WINDOW=0x8000000
    ),
    "tempfile": Module(tempfile, TemporaryFile=_temporary_file),
    "msvcrt": Module(types.ModuleType("msvcrt"), LK_NBLCK=2, locking=_locking),
    "ctypes": Module(
        ctypes, CDLL=_library, WinDLL=lambda *_, **__: Kernel(), get_last_error=lambda: 0,
        WINFUNCTYPE=ctypes.CFUNCTYPE,
        windll=types.SimpleNamespace(kernel32=Kernel()), WinError=OSError,
    ),
}  # fmt: skip
_import = builtins.__import__


def _is_ours(scope):
    name, file = scope.get("__name__", ""), str(scope.get("__file__", ""))
    is_script = name == "__main__" and ("/edgeq/" in file or "edgeq_agent" in file)
    return name.startswith(("edgeq", "sandbox")) or is_script


def _import_for(name, globals=None, locals=None, fromlist=(), level=0):
    if level == 0 and _is_ours(globals or {}):
        if ABSENT.get(name) == "all":
            raise ModuleNotFoundError(f"No module named {name!r} on Windows")
        if name not in _SEEN and name in ABSENT:
            _SEEN[name] = Module(_import(name, fromlist=("",)))
        if name in _SEEN:
            return _SEEN[name]
    return _import(name, globals, locals, fromlist, level)


builtins.__import__ = _import_for


# ---------------------------------------------------------------- open files

_remove, _rename, _replace, _rmdir = os.unlink, os.rename, os.replace, os.rmdir
shutil._use_fd_functions = False  # as on Windows


def _own_processes():
    mark = f"EDGEQ_TEST_PLACE={PLACE}".encode()
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and mark in (process / "environ").read_bytes():
                yield process
        except OSError:
            continue


def _refuse_if_open(path, *, is_folder=False):
    place = str(Path(path).parent.resolve() / Path(path).name)
    if not place.startswith(PLACE):
        return
    for process in _own_processes():
        try:
            links = [process / "cwd"] if is_folder else [*(process / "fd").iterdir()]
            found = [str(link.readlink()) for link in links if link.is_symlink()]
            if not is_folder:
                found += (process / "maps").read_text("utf-8", "replace").split()
        except OSError:
            continue
        if place in found:
            raise PermissionError(13, f"process {process.name} uses it", str(path))


def unlink(path, *, dir_fd=None):
    if dir_fd is None:
        _refuse_if_open(os.fspath(path))
    _remove(path, dir_fd=dir_fd)


def rmdir(path, *, dir_fd=None):
    if dir_fd is None:
        _refuse_if_open(os.fspath(path), is_folder=True)
    _rmdir(path, dir_fd=dir_fd)


def _moving(move):
    def moved(source, target, *, src_dir_fd=None, dst_dir_fd=None):
        _refuse_if_open(os.fspath(source))
        _refuse_if_open(os.fspath(target))
        move(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    return moved


os.unlink = os.remove = unlink
os.rmdir, os.replace, os.rename = rmdir, _moving(_replace), _moving(_rename)
