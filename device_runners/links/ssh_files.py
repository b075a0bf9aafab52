"""The ssh configuration files of user and system: the hosts they name, and copies for ssh."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from edgeq import host
from edgeq.errors import DeviceError

SYSTEM_FILE = Path("/etc/ssh/ssh_config")

_MOST_DEPTH = 16  # of files that include each other, as for ssh
_MOST_FILES = 1000
_INCLUDE = re.compile(r"\s*include(?:\s*=\s*|\s+)(.+)", re.IGNORECASE)


def names(word: str) -> bool:
    """Whether a Host or Match line is about this word, not just about every host."""
    for path in (user_file(), SYSTEM_FILE):
        for line in _lines(path, _base(path)):
            kind, *words = _words(line.replace("=", " ", 1)) or [""]
            if kind.lower() == "host" and _matches(words, word):
                return True
            if kind.lower() == "match":
                for key, value in itertools.pairwise(words):
                    is_about = key.lower() in ("host", "originalhost")
                    if is_about and _matches(value.split(","), word):
                        return True
    return False


def user_file() -> Path:
    """The user's own configuration."""
    return Path.home() / ".ssh" / "config"


def _base(path: Path) -> Path:
    """The folder of relative names in Include."""
    return Path("/etc/ssh") if path == SYSTEM_FILE else Path.home() / ".ssh"


def _matches(patterns: Sequence[str], word: str) -> bool:
    def fits(pattern: str) -> bool:
        return fnmatchcase(word.lower(), pattern.lower().replace("[", "[[]"))

    if any(pattern.startswith("!") and fits(pattern[1:]) for pattern in patterns):
        return False
    return any(set(pattern) - set("*?") and fits(pattern) for pattern in patterns)


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text, comments=True)
    except ValueError:
        return []


def _lines(path: Path, base: Path, depth: int = 0) -> Iterator[str]:
    """The lines of a file and of all that it includes."""
    for line in _read_lines(path):
        yield line
        if depth < _MOST_DEPTH:
            for included in _included(line, base):
                yield from _lines(included, base, depth + 1)


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return []


def _included(line: str, base: Path) -> list[Path]:
    match = _INCLUDE.fullmatch(line)
    found: list[Path] = []
    for pattern in _words(match[1]) if match else []:
        path = base / expand_home(os.path.expandvars(pattern))
        found += sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    return [path for path in found if path.is_file()]


def expand_home(text: str) -> Path:
    """A path, with HOME for its `~`."""
    with contextlib.suppress(RuntimeError):  # ~nobody
        return Path(text).expanduser()
    return Path(text)


class Copies:
    """One file that ssh reads in place of the user's and the system's.

    ssh finds `~` in the system's list of users, not in HOME. If the two differ, as in a container
    or under sudo, the copies contain HOME, as everywhere else in edgeq.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._count = 0
        self._home = None if str(Path.home()) == host.own_home() else str(Path.home())

    def write(self) -> Path:
        """Copy both; the path of a file that includes them."""
        lines = []
        for path in (user_file(), SYSTEM_FILE):
            if path.is_file():
                lines += [f'Include "{self._copy(path, _base(path), 0)}"', "Match all"]
        known = [f'"{Path.home() / ".ssh" / name}"' for name in ("known_hosts", "known_hosts2")]
        lines += ["Host *", f"UserKnownHostsFile {' '.join(known)}"]
        file = self._folder / "all"
        file.write_bytes(("\n".join(lines) + "\n").encode("utf-8", "surrogateescape"))
        return file

    def _copy(self, path: Path, base: Path, depth: int) -> Path:
        self._count += 1
        if depth > _MOST_DEPTH or self._count > _MOST_FILES:
            raise DeviceError(f"The ssh configuration includes itself, at {path}.")
        # ssh's messages then contain the file's name; lines keep their numbers.
        target = self._folder / str(self._count) / path.relative_to(path.anchor)
        target.parent.mkdir(parents=True)
        lines = [self._line(line, base, depth) for line in _read_lines(path)]
        target.write_bytes(("\n".join(lines) + "\n").encode("utf-8", "surrogateescape"))
        return target

    def _line(self, line: str, base: Path, depth: int) -> str:
        if _INCLUDE.fullmatch(line):
            copies = [self._copy(path, base, depth + 1) for path in _included(line, base)]
            return "Include " + " ".join(f'"{path}"' for path in copies) if copies else ""
        return line if self._home is None else re.sub(r'(?<=[\s="])~/', f"{self._home}/", line)
