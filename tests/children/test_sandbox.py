"""The actions that a confined process can and cannot do, tried in real children."""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edgeq.children import sandbox
from edgeq.children.child import Child

whole = pytest.mark.skipif(bool(sandbox.missing()), reason="; ".join(sandbox.missing()))

# Tries one thing after its sandbox; prints "done", or the name of the error.
_PROBE = """
import ctypes, json, os, signal, socket, subprocess, sys, threading
from pathlib import Path
from edgeq.children.sandbox import confine_as_planned

gaps = confine_as_planned()
assert gaps == (), gaps
inside, outside, parent, port = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]

calls = {"x86_64": {"ptrace": 101, "unshare": 272}, "aarch64": {"ptrace": 117, "unshare": 97}}
number = calls[os.uname().machine]

def connect(kind=socket.AF_INET):
    with socket.socket(kind) as one:
        one.connect(("127.0.0.1", int(port)))

def serve():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()

def call(number, *values):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, *values) < 0:
        raise OSError(ctypes.get_errno(), "")

def in_thread(action):
    failed = []
    def run():
        try:
            action()
        except OSError as error:
            failed.append(error)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]

def in_fork(action):
    child = os.fork()
    if child == 0:
        try:
            action()
        except OSError:
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        raise OSError("in the fork")

attempts = {
    "write inside": lambda: (inside / "made").write_text("x"),
    "make a folder inside": lambda: (inside / "deep").mkdir(),
    "rename inside": lambda: (inside / "made").rename(inside / "deep" / "renamed"),
    "remove inside": lambda: (inside / "deep" / "renamed").unlink(),
    "read outside": lambda: (outside / "file").read_text(),
    "write to the null device": lambda: Path("/dev/null").write_text("x"),
    "a connected pair": socket.socketpair,
    "signal itself": lambda: os.kill(os.getpid(), 0),
    "write outside": lambda: (outside / "new").write_text("x"),
    "overwrite outside": lambda: (outside / "file").write_text("x"),
    "append outside": lambda: (outside / "file").open("a"),
    "truncate outside": lambda: os.truncate(outside / "file", 0),
    "remove outside": lambda: (outside / "file").unlink(),
    "rename out": lambda: (inside / "deep").rename(outside / "deep"),
    "rename over": lambda: (inside / "script").replace(outside / "file"),
    "link in": lambda: os.link(outside / "file", inside / "linked"),
    "a folder outside": lambda: (outside / "folder").mkdir(),
    "permissions outside": lambda: (outside / "file").chmod(0o777),
    "times outside": lambda: os.utime(outside / "file", (0, 0)),
    "owner outside": lambda: os.chown(outside / "file", 12345, 12345),
    "attribute outside": lambda: os.setxattr(outside / "file", "user.x", b"x"),
    "a link for edgeq to follow": lambda: (inside / "link").symlink_to(outside / "file"),
    "a pipe for edgeq to wait at": lambda: os.mkfifo(inside / "pipe"),
    "start a program": lambda: subprocess.run(["true"], check=True),
    "start a shell": lambda: os.posix_spawn("/bin/sh", ["sh", "-c", "true"], {}) or 1,
    "start an own program": lambda: os.execv(inside / "script", ["script"]),
    "become a program": lambda: os.execv("/bin/true", ["true"]),
    "connect": connect,
    "connect over IPv6": lambda: connect(socket.AF_INET6),
    "connect locally": lambda: socket.socket(socket.AF_UNIX),
    "send datagrams": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "read the network": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "a pair of datagrams": lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM),
    "listen": serve,
    "signal the parent": lambda: os.kill(parent, 0),
    "end its group": lambda: os.killpg(0, 0),
    "look into the parent": lambda: call(number["ptrace"], 16, parent, 0, 0),
    "io_uring": lambda: call(425, 1, ctypes.create_string_buffer(120)),
    "write to the parent's memory": lambda: open(f"/proc/{parent}/mem", "r+b"),
    "write outside in a thread": lambda: in_thread(lambda: (outside / "new").write_text("x")),
    "write outside in a fork": lambda: in_fork(lambda: (outside / "new").write_text("x")),
    "connect in a thread": lambda: in_thread(connect),
    "a user namespace": lambda: call(number["unshare"], 0x10000000),
}
found = {}
for name, action in attempts.items():
    try:
        action()
        found[name] = "done"
    except OSError as error:
        found[name] = type(error).__name__
(inside / "found.json").write_text(json.dumps(found))
"""

_ALLOWED = {
    "write inside",
    "make a folder inside",
    "rename inside",
    "remove inside",
    "read outside",
    "write to the null device",
    "a connected pair",
    "signal itself",
}
_NEEDS_SOCKETS = {
    "connect",
    "connect over IPv6",
    "connect locally",
    "send datagrams",
    "read the network",
    "listen",
    "connect in a thread",
}


def probe(tmp_path: Path, *, sockets: bool = False, late: bool = True) -> dict[str, str]:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "file").write_text("as it was")
    (inside / "script").write_text("#!/bin/sh\n")
    (inside / "script").chmod(0o755)
    script = tmp_path / "probe.py"
    # An early sandbox holds before the script is read, and has no plan left.
    script.write_text(_PROBE)
    with socket.create_server(("127.0.0.1", 0)) as server:
        given = [inside, outside, os.getpid(), server.getsockname()[1]]
        target = [str(script), *map(str, given)]
        with Child(target, folders=[inside], late=late, sockets=sockets) as child:
            assert child.wait() == 0, child.log()
    found: dict[str, str] = json.loads((inside / "found.json").read_text())
    assert (outside / "file").read_text() == "as it was"
    assert [path.name for path in outside.iterdir()] == ["file"]
    return found


@whole
@pytest.mark.parametrize("late", [True, False], ids=["late", "at once"])
def test_a_confined_process_changes_only_its_own_folder(tmp_path: Path, late: bool) -> None:
    found = probe(tmp_path, late=late)
    assert {name for name, what in found.items() if what == "done"} == _ALLOWED


@whole
def test_a_confined_server_has_sockets_and_nothing_else(tmp_path: Path) -> None:
    found = probe(tmp_path, sockets=True)
    done = {name for name, what in found.items() if what == "done"}
    assert done - _ALLOWED <= _NEEDS_SOCKETS
    assert {"connect", "listen"} <= done


@whole
def test_a_thread_that_is_older_than_the_sandbox_is_reported(tmp_path: Path) -> None:
    script = tmp_path / "threads.py"
    script.write_text(
        "import sys, threading\nfrom edgeq.children.sandbox import confine_as_planned\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "print(*confine_as_planned(), sep='\\n', flush=True)\n"
    )
    with Child([str(script)], folders=[tmp_path], late=True) as child:
        child.wait()
        printed = child.log()
    if sandbox._landlock_version() < 8:  # from then on, all threads are confined
        assert printed.startswith("1 threads of libraries can still write any file")


def test_numbers_are_those_of_this_machine() -> None:
    """The kernel's own names, where its headers are installed."""
    headers = {"x86_64": "asm/unistd_64.h", "aarch64": "asm-generic/unistd.h"}
    name = headers.get(platform.machine())
    folders = [Path("/usr/include"), Path(f"/usr/include/{platform.machine()}-linux-gnu")]
    found = [folder / name for folder in folders if name and (folder / name).exists()]
    if not found:
        pytest.skip("no kernel headers of this machine")
    text = found[0].read_text()
    known = {
        parts[1].removeprefix("__NR_"): int(parts[2])
        for parts in (line.split() for line in text.splitlines())
        if len(parts) >= 3 and parts[1].startswith("__NR_") and parts[2].isdigit()
    }
    column = 0 if platform.machine() == "x86_64" else 1
    ours = {name: numbers[column] for name, numbers in sandbox._CALLS.items()}
    checked = {name: number for name, number in ours.items() if name in known}
    assert len(checked) > 60
    assert checked == {name: known[name] for name in checked}


# Runs a program on a kernel that says that it has no Landlock.
_WITHOUT_LANDLOCK = """
import ctypes, os, struct, sys
from edgeq.children import sandbox as s
s._prctl(s._PR_SET_NO_NEW_PRIVS, 1)
number = s._LANDLOCK_CREATE_RULESET
program = [(s._LOAD, 0, 0, 0), (s._EQUAL, 0, 1, number), (s._RETURN, 0, 0, 0x00050026),
           (s._RETURN, 0, 0, s._RET_ALLOW)]
packed = b"".join(struct.pack("=HBBI", *one) for one in program)
code = ctypes.create_string_buffer(packed, len(packed))
header = struct.pack("@HP", len(program), ctypes.addressof(code))
given = ctypes.create_string_buffer(header, len(header))
s._call(s._number("seccomp", s._machine()[0]), s._SET_MODE_FILTER, 0, given)
os.execv(sys.argv[1], sys.argv[1:])
"""


@whole
def test_where_the_kernel_has_no_landlock_one_line_says_so(int8_mobilenet: Path) -> None:
    edgeq = Path(sys.executable).with_name("edgeq")
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_LANDLOCK, edgeq, "bench", int8_mobilenet, "--runs", "3"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "sandbox" in line]
    assert line == (
        "warning: Model files are opened without a whole sandbox here: the kernel has no Landlock, "
        "so a child can write any file that you can."
    )
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_LANDLOCK, edgeq, "doctor"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "not whole, see below" in done.stdout
    assert "doctor.no_sandbox" in done.stdout
