"""The sandbox of a child process that opens a foreign file: it starts no program, opens no socket,
and writes only into its own folders.

Two parts of Linux enforce it: Landlock (which files may be changed) and seccomp (which system calls
may be made). Neither needs root, every later thread and process inherits both, and a process cannot
leave them. `missing` reports a part that the kernel lacks. Reading is not restricted: without a
program and a socket, content of files leaves the process only in the files that edgeq reads back.

The file imports the standard library only and runs on Python 3.8, because it also goes to boards
and to the Pythons of PyTorch and ONNX. Sources: landlock(7), seccomp(2), prctl(2), and the system
call tables of Linux 6.18.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

# ---------------------------------------------------------------- system calls

# System calls that seccomp refuses, with their numbers on x86-64, on 64-bit ARM and RISC-V, and on
# 32-bit ARM; None where a machine does not have the call.
_CALLS: dict[str, tuple[int | None, int | None, int | None]] = {
    # Programs.
    "execve": (59, 221, 11), "execveat": (322, 281, 387),
    # Sockets, and io_uring, which opens and connects them without these calls.
    "socket": (41, 198, 281), "connect": (42, 203, 283), "bind": (49, 200, 282),
    "listen": (50, 201, 284), "accept": (43, 202, 285), "accept4": (288, 242, 366),
    "io_uring_setup": (425, 425, 425), "io_uring_enter": (426, 426, 426),
    "io_uring_register": (427, 427, 427),
    # Other processes.
    "ptrace": (101, 117, 26), "process_vm_readv": (310, 270, 376),
    "process_vm_writev": (311, 271, 377), "pidfd_getfd": (438, 438, 438),
    "pidfd_send_signal": (424, 424, 424), "rt_sigqueueinfo": (129, 138, 178),
    "rt_tgsigqueueinfo": (297, 240, 363), "tkill": (200, 130, 238),
    # Changes to files that Landlock does not check.
    "chmod": (90, None, 15), "fchmod": (91, 52, 94), "fchmodat": (268, 53, 333),
    "fchmodat2": (452, 452, 452), "chown": (92, None, 182), "fchown": (93, 55, 95),
    "lchown": (94, None, 16), "fchownat": (260, 54, 325), "fchown32": (None, None, 207),
    "chown32": (None, None, 212), "lchown32": (None, None, 198), "setxattr": (188, 5, 226),
    "lsetxattr": (189, 6, 227), "fsetxattr": (190, 7, 228), "setxattrat": (463, 463, 463),
    "removexattr": (197, 14, 235), "lremovexattr": (198, 15, 236), "fremovexattr": (199, 16, 237),
    "removexattrat": (466, 466, 466), "file_setattr": (469, 469, 469), "utime": (132, None, None),
    "utimes": (235, None, 269), "futimesat": (261, None, 326), "utimensat": (280, 88, 348),
    "utimensat_time64": (None, None, 412), "truncate": (76, 45, 92),
    "truncate64": (None, None, 193),
    # Keys (request_key starts a program), tracing, and what only root may do.
    "add_key": (248, 217, 309), "request_key": (249, 218, 310), "keyctl": (250, 219, 311),
    "bpf": (321, 280, 386), "perf_event_open": (298, 241, 364), "userfaultfd": (323, 282, 388),
    "mount": (165, 40, 21), "umount2": (166, 39, 52), "move_mount": (429, 429, 429),
    "open_tree": (428, 428, 428), "fsopen": (430, 430, 430), "fsmount": (432, 432, 432),
    "mount_setattr": (442, 442, 442), "pivot_root": (155, 41, 218), "chroot": (161, 51, 61),
    "setns": (308, 268, 375), "unshare": (272, 97, 337), "swapon": (167, 224, 87),
    "swapoff": (168, 225, 115), "reboot": (169, 142, 88), "kexec_load": (246, 104, 347),
    "kexec_file_load": (320, 294, 401), "init_module": (175, 105, 128),
    "finit_module": (313, 273, 379), "delete_module": (176, 106, 129), "acct": (163, 89, 51),
    "quotactl": (179, 60, 131), "settimeofday": (164, 170, 79), "clock_settime": (227, 112, 262),
    "clock_settime64": (None, None, 404), "adjtimex": (159, 171, 124),
    "clock_adjtime": (305, 266, 372), "clock_adjtime64": (None, None, 405),
    "sethostname": (170, 161, 74), "setdomainname": (171, 162, 121), "iopl": (172, None, None),
    "ioperm": (173, None, None), "open_by_handle_at": (304, 265, 371),
    "fanotify_init": (300, 262, 367),
    # Refused for some arguments only, see `_program`.
    "kill": (62, 129, 37), "tgkill": (234, 131, 268), "socketpair": (53, 199, 288),
    "ioctl": (16, 29, 54), "seccomp": (317, 277, 383),
}  # fmt: skip
_NETWORK = frozenset({"socket", "connect", "bind", "listen", "accept", "accept4"})
_ALLOWED = frozenset({"seccomp"})  # a further filter can only refuse more
_OWN = ("kill", "tgkill")  # allowed for this process, whose number is their first argument
_TERMINAL_INPUT = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX: they type into the user's terminal
_SOCK_STREAM = 1  # a pair of these stays connected; datagrams could be sent elsewhere

# Machine, bytes of a pointer: column of the table, and AUDIT_ARCH of <linux/audit.h>.
_MACHINES = {
    ("x86_64", 8): (0, 0xC000003E),
    ("aarch64", 8): (1, 0xC00000B7),
    ("riscv64", 8): (1, 0xC00000F3),
    ("aarch64", 4): (2, 0x40000028),
    ("armv8l", 4): (2, 0x40000028),
    ("armv7l", 4): (2, 0x40000028),
    ("armv6l", 4): (2, 0x40000028),
}

# The same on every machine.
_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_SIGKILL = 9


def _call(number: int, *arguments: int | ctypes.Array[ctypes.c_char] | None) -> int:
    """One system call.

    Raises:
        OSError: it failed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    given = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    result = int(libc.syscall(ctypes.c_long(number), *given))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _prctl(option: int, value: int) -> None:
    """One call of prctl.

    Raises:
        OSError: it failed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    if libc.prctl(ctypes.c_int(option), ctypes.c_ulong(value), zero, zero, zero) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


# ---------------------------------------------------------------- Landlock

# Rights of <linux/landlock.h>.
_EXECUTE, _WRITE_FILE, _TRUNCATE, _IOCTL_DEV = 1 << 0, 1 << 1, 1 << 14, 1 << 15
_REMOVE, _MAKE_DIR, _MAKE_REG, _REFER = (1 << 4) | (1 << 5), 1 << 7, 1 << 8, 1 << 13
# Refused in its own folders, too: edgeq would follow a link, and wait for a pipe.
_MAKE_LINKS_AND_DEVICES = sum(1 << bit for bit in (6, 9, 10, 11, 12))
_BIND_TCP_AND_CONNECT_TCP = 3
_ABSTRACT_SOCKETS_AND_SIGNALS = 3
_RULE_PATH_BENEATH = 1
_VERSION = 1  # flag: return the version
_ALL_THREADS = 1 << 3  # flag, since version 8
_OLDEST_LANDLOCK = 3  # before, files outside could be truncated (Linux 6.2)


def _landlock_version() -> int:
    """The version of Landlock, 0 without it."""
    try:
        return _call(_LANDLOCK_CREATE_RULESET, None, 0, _VERSION)
    except (OSError, AttributeError):
        return 0


def _restrict_files(version: int, folders: Sequence[str], *, sockets: bool) -> None:
    rights = _WRITE_FILE | _REMOVE | _MAKE_DIR | _MAKE_REG
    rights |= (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    refused = _EXECUTE | _MAKE_LINKS_AND_DEVICES | (_IOCTL_DEV if version >= 5 else 0)
    attributes = struct.pack("=Q", rights | refused)
    if version >= 4:
        attributes += struct.pack("=Q", 0 if sockets else _BIND_TCP_AND_CONNECT_TCP)
    if version >= 6:
        attributes += struct.pack("=Q", _ABSTRACT_SOCKETS_AND_SIGNALS)
    packed = ctypes.create_string_buffer(attributes, len(attributes))
    ruleset = _call(_LANDLOCK_CREATE_RULESET, packed, len(attributes), 0)
    try:
        for folder in folders:
            _allow(ruleset, folder, rights)
        if Path(os.devnull).exists():
            _allow(ruleset, os.devnull, rights & (_WRITE_FILE | _TRUNCATE))
        _call(_LANDLOCK_RESTRICT_SELF, ruleset, _ALL_THREADS if version >= 8 else 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, handle), 12)
        _call(_LANDLOCK_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(handle)


# ---------------------------------------------------------------- seccomp

_SET_MODE_FILTER, _GET_ACTION_AVAIL = 1, 2
_TSYNC_AND_SPEC_ALLOW = (1 << 0) | (1 << 2)  # all threads; no slower branches on older kernels
_RET_ALLOW, _RET_EPERM = 0x7FFF0000, 0x00050000 | errno.EPERM
# Classic BPF of <linux/bpf_common.h>, on struct seccomp_data.
_LOAD, _EQUAL, _AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_AT_NUMBER, _AT_MACHINE = 0, 4
_X32 = 0x40000000  # a second numbering of the calls on x86-64


def _at_argument(position: int) -> int:
    """Offset of the low half of an argument; all machines of the table are little-endian."""
    return 16 + 8 * position


def _machine() -> tuple[int, int] | None:
    return _MACHINES.get((platform.machine(), struct.calcsize("P")))


def _program(column: int, machine: int, *, sockets: bool) -> list[tuple[int, int, int, int]]:
    """The filter: (code, jump if true, jump if false, value) each; jumps count instructions.

    Every test ends in its own verdict, so that no jump is far.
    """
    refuse, allow = (_RETURN, 0, 0, _RET_EPERM), (_RETURN, 0, 0, _RET_ALLOW)
    number = {name: numbers[column] for name, numbers in _CALLS.items()}
    program = [(_LOAD, 0, 0, _AT_MACHINE), (_EQUAL, 1, 0, machine), refuse]
    program += [(_LOAD, 0, 0, _AT_NUMBER)]
    if column == 0:
        program += [(_AT_LEAST, 0, 1, _X32), refuse]
    spared = {*_OWN, *_ALLOWED, "socketpair", "ioctl", *(_NETWORK if sockets else ())}
    for name, value in number.items():
        if value is not None and name not in spared:
            program += [(_EQUAL, 0, 1, value), refuse]
    for name in _OWN:
        test = [(_LOAD, 0, 0, _at_argument(0)), (_EQUAL, 1, 0, os.getpid()), refuse, allow]
        program += [(_EQUAL, 0, len(test), number[name] or 0), *test]
    test = [(_LOAD, 0, 0, _at_argument(1))]
    for request in _TERMINAL_INPUT:
        test += [(_EQUAL, 0, 1, request), refuse]
    program += [(_EQUAL, 0, len(test) + 1, number["ioctl"] or 0), *test, allow]
    test = [(_LOAD, 0, 0, _at_argument(1)), (_AND, 0, 0, 0xF), (_EQUAL, 1, 0, _SOCK_STREAM), refuse]
    program += [(_EQUAL, 0, len(test) + 1, number["socketpair"] or 0), *test, allow]
    return [*program, allow]


def _restrict_calls(column: int, machine: int, *, sockets: bool) -> None:
    program = _program(column, machine, sockets=sockets)
    packed = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    code = ctypes.create_string_buffer(packed, len(packed))
    header = struct.pack("@HP", len(program), ctypes.addressof(code))
    given = ctypes.create_string_buffer(header, len(header))
    _call(_number("seccomp", column), _SET_MODE_FILTER, _TSYNC_AND_SPEC_ALLOW, given)


def _number(name: str, column: int) -> int:
    found = _CALLS[name][column]
    assert found is not None
    return found


def _has_seccomp() -> bool:
    found = _machine()
    if found is None:
        return False
    action = ctypes.create_string_buffer(struct.pack("=I", _RET_EPERM & 0xFFFF0000), 4)
    try:
        _call(_number("seccomp", found[0]), _GET_ACTION_AVAIL, 0, action)
    except OSError:
        return False
    return True


# ---------------------------------------------------------------- the sandbox


def missing() -> tuple[str, ...]:
    """The parts that this system lacks, a phrase for each; empty if the sandbox is whole."""
    if not sys.platform.startswith("linux"):
        name = {"darwin": "macOS", "win32": "Windows"}.get(sys.platform, sys.platform)
        return (f"{name} has neither Landlock nor seccomp, so a child can do whatever you can",)
    found = []
    version = _landlock_version()
    if version == 0:
        found.append("the kernel has no Landlock, so a child can write any file that you can")
    elif version < _OLDEST_LANDLOCK:
        found.append(f"Landlock is version {version}, so a child can truncate files elsewhere")
    if not _has_seccomp():
        found.append(
            f"seccomp is not available on {platform.machine()}, so a child can open sockets"
            + ("" if version else " and start programs")
        )
    return tuple(found)


def confine(folders: Sequence[str | os.PathLike[str]], *, sockets: bool = False) -> tuple[str, ...]:
    """Confine this process until its end, as far as the kernel can.

    Args:
        folders: the only ones in which files can still be made, changed or removed.
        sockets: allow them, for a child that is a server.

    Returns:
        The gaps: those of `missing`, and threads that are older than this call and not confined.

    Raises:
        OSError: a folder does not exist, or the kernel offers a part and refuses it.
    """
    gaps = list(missing())
    if not sys.platform.startswith("linux"):
        return tuple(gaps)
    version, machine = _landlock_version(), _machine() if _has_seccomp() else None
    tasks = Path("/proc/self/task")
    others = len(list(tasks.iterdir())) - 1 if tasks.is_dir() else 0
    if version or machine:
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if version:
        _restrict_files(version, [os.fspath(folder) for folder in folders], sockets=sockets)
        if others and version < 8:
            gaps.append(f"{others} threads of libraries can still write any file that you can")
    if machine is not None:
        _restrict_calls(*machine, sockets=sockets)
    return tuple(gaps)


_planned: tuple[tuple[str, ...], bool] | None = None


def plan(folders: Sequence[str], *, sockets: bool = False) -> None:
    """Prepare `confine_as_planned`, which the child calls after it has imported frameworks, so that
    Python can store their compiled modules, and before it opens the foreign file.
    """
    global _planned  # noqa: PLW0603 -- the process has one sandbox
    _planned = (tuple(folders), sockets)


def confine_as_planned() -> tuple[str, ...]:
    """Confine this process as its parent has planned; does nothing without a plan, or twice."""
    global _planned
    if _planned is None:
        return ()
    (folders, sockets), _planned = _planned, None
    return confine(folders, sockets=sockets)


def end_with_parent(parent: int, lifeline: int | None = None) -> None:
    """End this process when its parent ends, for any reason.

    Linux does it (at the end of the thread that started this process). On other systems a thread
    waits for the end of a pipe.

    Args:
        parent: process number; if it has ended, this process ends at once.
        lifeline: descriptor of a pipe whose other end only the parent has.
    """
    if sys.platform.startswith("linux"):
        _prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    if lifeline is not None:
        threading.Thread(target=_end_with_pipe, args=(lifeline,), daemon=True).start()
    try:
        os.kill(parent, 0)
    except OSError:
        os._exit(1)  # it ended before that


def _end_with_pipe(lifeline: int) -> None:
    os.read(lifeline, 1)
    os.kill(os.getpid(), _SIGKILL)
