"""What the processes of a case did, seen from outside: strace's log, read back."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.fuzzing.server import MARKER

# Programs that edgeq starts itself, by their command lines. Everything else is a finding.
PYTHON = r"\S*/python[\d.]*"
OURS = r"\S*/(?:edgeq|converters|device_runners)(?:/\w+)*"
AGENT = r"\S*/edgeq-\d+-\w+/agent\.pyz"
EXPECTED_PROGRAMS = (
    # edgeq's own children, all by one door, and those of the agent among them
    rf"{PYTHON} {OURS}/entry\.py \{{.*\}} (edgeq(\.\w+)+|{OURS}/\w+\.py|{AGENT})"
    r"( .*)?",
    rf"{PYTHON} {AGENT} (worker \d+|profile \d+ model-\d+\.tflite profile\.json \d+ \d+)",
    # Whether another Python has a package
    rf"{PYTHON} -c import sys; sys\.path\[:\] = filter\(None, sys\.path\)\\nfrom importlib\."
    r"metadata import version; print\(version\('[\w-]+'\)\)",
    r"\S*/bin/edgeq .*",  # the command itself
    r"\S*/git rev-parse .*",
    r"\S*/uname -p",  # of a library, as TensorFlow is imported and before a file is opened
    # Of packages for Android: compiles code that edgeq has made from the model.
    r"\S*/javac -J\S+ -version|\S*/javac -J\S+ --release .* -proc:none .*",
)
# Whether there is IPv6, asked by a library as it is imported; nothing is connected.
_IPV6 = re.compile(
    r"socket\(AF_INET6, SOCK_STREAM\|SOCK_CLOEXEC, IPPROTO_IP\)"
    r"|bind\(\d+<socket:\[\d+\]>, \{sa_family=AF_INET6, sin6_port=htons\(0\), .*\"::1\".*"
)
# What Java does beside that, whatever it is asked to do: its sockets are connected to nothing.
_JAVA = re.compile(r"/proc/\d+/coredump_filter|socket\(AF_INET6?, SOCK_STREAM, IPPROTO_IP\)")
# What they and the command itself write beside the case's own folder.
EXPECTED_FILES = re.compile(
    r"/dev/(null|tty)|/proc/(self|\d+)/task/\d+/comm"  # the name of a thread
    r"|/dev/shm/sem\.(mp-)?\w+"  # Python's semaphores
    r"|\S*/__pycache__(/\S*)?"  # what Python has compiled; no case has a folder of that name
    r"|(/memfd:|pipe:|anon_inode:|socket:).*"
)

_PROGRAMS = ("execve", "execveat")
_SOCKETS = ("socket", "connect", "bind", "sendto", "sendmsg")
_OPENS = ("open", "openat", "openat2", "creat")
# Position of the paths they change; those of *at() calls come behind a descriptor.
_CHANGES = {
    "mkdir": (0,),
    "mkdirat": (1,),
    "rename": (0, 1),
    "renameat": (1, 3),
    "renameat2": (1, 3),
    "unlink": (0,),
    "unlinkat": (1,),
    "rmdir": (0,),
    "link": (1,),
    "linkat": (3,),
    "symlink": (1,),
    "symlinkat": (2,),
    "truncate": (0,),
    "chmod": (0,),
    "fchmodat": (1,),
    "fchmodat2": (1,),
    "chown": (0,),
    "lchown": (0,),
    "fchownat": (1,),
    "mknod": (0,),
    "mknodat": (1,),
    "setxattr": (0,),
    "lsetxattr": (0,),
    "mount": (1,),
}
_OTHERS = ("ptrace", "io_uring_setup", "bpf", "kexec_load", "init_module", "finit_module")
_FORKS = ("clone", "clone3", "fork", "vfork")
_MOVES = ("chdir", "fchdir")
SYSCALLS = (*_PROGRAMS, *_SOCKETS, *_OPENS, *_CHANGES, *_OTHERS, *_FORKS, *_MOVES)

STRACE = (
    "strace",
    "-f",
    "-y",
    "-s",
    "500",
    "--seccomp-bpf",
    "-e",
    "signal=none",
    "-e",
    f"trace={','.join('?' + name for name in SYSCALLS)}",
)

_LINE = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+|\?|0x\w+)(?:<(.*)>)?(?: (E[A-Z]+))?.*")
_UNFINISHED = re.compile(r"(\d+) +(\w+\(.*) <unfinished \.\.\.>")
_RESUMED = re.compile(r"(\d+) +<\.\.\. \w+ resumed>(.*)")
_END = re.compile(r"(\d+) +\+\+\+ (?:exited|killed) .*")
EXITED = "exited"
SERVER = "(server)"
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"(?:\.\.\.)?')
_PLACE = re.compile(r"(?:AT_FDCWD|\d+)<(.*?)>")
_DENIED = ("EPERM", "EACCES")


@dataclass(frozen=True)
class Event:
    """Something that a case's processes did beside their work.

    Attributes:
        kind: "program", "file", "socket", "read" (of the canary) or "other".
        is_denied: the kernel refused it, so that nothing was done.
    """

    kind: str
    text: str
    is_denied: bool


@dataclass(frozen=True)
class Call:
    """One line of strace."""

    pid: int
    name: str
    arguments: str
    result: str
    shown: str | None
    error: str | None


def read_calls(lines: Iterable[str]) -> Iterator[Call]:
    """The calls of a log; those that strace tells in two lines as one."""
    begun: dict[str, str] = {}
    for line in lines:
        text = line.rstrip("\n")
        if found := _UNFINISHED.fullmatch(text):
            begun[found[1]] = found[2]
            continue
        if found := _RESUMED.fullmatch(text):
            text = f"{found[1]} {begun.pop(found[1], '?(')}{found[2]}"
        if found := _LINE.fullmatch(text):
            yield Call(int(found[1]), *found.groups()[1:])  # type: ignore[arg-type]
        elif found := _END.fullmatch(text):
            yield Call(int(found[1]), EXITED, "", "0", None, None)


class Watcher:
    """Goes through a log and says what happened in which case.

    Args:
        allowed: folders in which cases may write, each in the one with its own name only.
        canary: a file that no case may open.
    """

    def __init__(self, allowed: Path, canary: Path):
        self._allowed, self._canary = str(allowed), str(canary)
        self._case: dict[int, str] = {}
        self._folder: dict[int, str] = {}
        self._java: set[int] = set()
        # Of processes whose start strace has not told yet: it tells the end of a call.
        self._early: dict[int, list[Call]] = {}

    def read(self, log: Path) -> dict[str, list[Event]]:
        """Events by case; those of no case are the server's own, or of the empty name."""
        with log.open(errors="replace") as lines:
            return self.sort(self._interesting(lines))

    def _interesting(self, lines: Iterable[str]) -> Iterator[str]:
        """Without the many files that are only read, which would take minutes to look at."""
        for line in lines:
            if (
                "O_RDONLY" not in line
                or MARKER in line
                or self._canary in line
                or "O_CREAT" in line
            ):
                yield line

    def sort(self, lines: Iterable[str]) -> dict[str, list[Event]]:
        found: dict[str, list[Event]] = {}
        calls = read_calls(lines)
        server: int | None = None
        for call in calls:
            if server is None:
                server = call.pid
                self._case[server] = SERVER
            for known in self._in_order(call):
                event = self._look_at(known)
                if event is not None and self._case[known.pid] != SERVER:
                    found.setdefault(self._case[known.pid], []).append(event)
        for pid, early in self._early.items():  # nobody told of its start
            self._case[pid] = ""
            found.setdefault("", []).extend(filter(None, map(self._look_at, early)))
        return found

    def _in_order(self, call: Call) -> Iterator[Call]:
        """A call, when it is known whose process it is, with those that waited for it."""
        if call.name == EXITED:
            for known in (self._case, self._folder):
                known.pop(call.pid, None)
            self._java.discard(call.pid)
            return
        if call.pid not in self._case:
            self._early.setdefault(call.pid, []).append(call)
            return
        yield call
        if call.name in _FORKS and call.result.isdecimal():
            child = int(call.result)
            self._case[child] = self._case[call.pid]
            if call.pid in self._folder:
                self._folder[child] = self._folder[call.pid]
            if call.pid in self._java:
                self._java.add(child)
            for early in self._early.pop(child, ()):
                yield from self._in_order(early)

    def _look_at(self, call: Call) -> Event | None:
        event = self._see(call)
        is_java = event is not None and call.pid in self._java and _JAVA.search(event.text)
        return None if is_java else event

    def _see(self, call: Call) -> Event | None:
        if call.name in _OPENS:
            return self._open(call)
        # What failed by itself is nothing, as a file that is not there.
        has_failed = call.error is not None and call.error not in _DENIED
        if call.name in _FORKS or has_failed:
            return None
        if call.name in _PROGRAMS:
            return self._start(call)
        return self._change(call) if call.name in _CHANGES else self._do(call)

    def _do(self, call: Call) -> Event | None:
        text = f"{call.name}({call.arguments})"
        if call.name in _MOVES:
            self._folder[call.pid] = self._paths(call, (0,))[0]
            return None
        if call.name not in _SOCKETS:
            return Event("other", text, call.error is not None)
        is_local = call.name.startswith("send") or call.arguments.startswith("AF_UNIX")
        is_own = is_local and "sun_path" not in call.arguments
        is_own = is_own or _IPV6.fullmatch(text) is not None
        return None if is_own else Event("socket", text, call.error is not None)

    def _start(self, call: Call) -> Event | None:
        program, *arguments = _TEXT.findall(call.arguments.rpartition("], 0x")[0])
        line = " ".join((program, *arguments[1:]))
        is_expected = any(re.fullmatch(form, line) for form in EXPECTED_PROGRAMS)
        if is_expected and "/javac " in line:
            self._java.add(call.pid)
        return None if is_expected else Event("program", line, call.error is not None)

    def _change(self, call: Call) -> Event | None:
        paths = self._paths(call, _CHANGES[call.name])
        outside = [path for path in paths if not self._is_allowed(call.pid, path)]
        text = f"{call.name} {' '.join(outside)}"
        return Event("file", text, call.error is not None) if outside else None

    def _open(self, call: Call) -> Event | None:
        path = call.shown or self._paths(call, (0 if call.name in ("open", "creat") else 1,))[0]
        if path.startswith(MARKER):
            self._case[call.pid] = path.removeprefix(MARKER)
            return None
        if call.error is not None and call.error not in _DENIED:
            return None
        is_denied = call.error is not None
        if path == self._canary:
            return Event("read", path, is_denied)
        writes = call.name == "creat" or re.search(
            r"O_(WRONLY|RDWR|CREAT|TRUNC|TMPFILE)", call.arguments
        )
        if not writes or self._is_allowed(call.pid, path):
            return None
        return Event("file", f"open for writing {path}", is_denied)

    def _is_allowed(self, pid: int, path: str) -> bool:
        own = f"{self._allowed}/{self._case.get(pid)}"
        if path == own or path.startswith(f"{own}/"):
            return True
        return EXPECTED_FILES.fullmatch(path) is not None

    def _paths(self, call: Call, positions: tuple[int, ...]) -> list[str]:
        """Absolute paths of a call's arguments."""
        parts = _split(call.arguments)
        found = []
        for position in positions:
            text = _TEXT.match(parts[position]) if position < len(parts) else None
            place = _PLACE.match(parts[position - 1]) if position else None
            if text is None:  # fchdir(3</folder>)
                inside = _PLACE.match(parts[position]) if position < len(parts) else None
                found.append(inside[1] if inside else "?")
                continue
            base = place[1] if place else self._folder.get(call.pid, "?")
            found.append(posixpath.normpath(posixpath.join(base, text[1])))
        return found


def _split(arguments: str) -> list[str]:
    """Arguments at the commas that are in no text."""
    return re.findall(r'\s*((?:"(?:[^"\\]|\\.)*"(?:\.\.\.)?|<[^>]*>|[^,"<])+)', arguments)
