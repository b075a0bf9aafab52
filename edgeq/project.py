"""`edgeq.toml`: the one place where its sections are read.

    [model], [data], [tune], [run]  # what `edgeq run` does, see edgeq.pipeline
    [policy]        # what `edgeq gate` demands, see edgeq.gating
    [devices.NAME]  # names for boards; device_runners.registry reads and writes them

Each section is parsed by the part of edgeq that it is for; here the file becomes tables, and a
section that nobody knows is refused.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from edgeq.errors import UsageError
from edgeq.files import storage
from edgeq.files.reading import read_file
from edgeq.values import FileRef

_MOST_BYTES = 16 << 20
SECTIONS = ("model", "data", "tune", "run", "policy", "devices", "package")

Keys = tuple[str, ...]
_ASSIGNMENT = re.compile(r"""\s*((?:[\w.\s-]|"[^"]*"|'[^']*')+?)\s*=""")


@dataclass(frozen=True)
class ProjectFile:
    """An `edgeq.toml` as it was read.

    Attributes:
        sections: top-level tables by name, as plain dictionaries.
        lines: of keys and tables, by their path from the top.
    """

    file: FileRef
    sections: Mapping[str, Any]
    lines: Mapping[Keys, int]

    def at(self, *keys: str) -> str:
        """Where a key is written, e.g. "edgeq.toml, line 3"."""
        line = self.lines.get(keys)
        return self.file.path if line is None else f"{self.file.path}, line {line}"


@dataclass(frozen=True)
class NamedCode:
    """What an `edgeq.toml` names and edgeq would execute: code, or a program.

    Attributes:
        where: e.g. "edgeq.toml, line 3".
        written: the key and its value.
        effect: what edgeq would do, e.g. "imports data and calls images".
    """

    where: str
    written: str
    effect: str


def read_project(path: Path) -> ProjectFile:
    """Read the file.

    Raises:
        UsageError: unreadable, no TOML, or a section that edgeq does not know.
    """
    try:
        text = read_file(path, _MOST_BYTES).decode("utf-8-sig")  # some editors put a mark first
        sections = tomlkit.parse(text).unwrap()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (UnicodeDecodeError, TOMLKitError) as error:
        raise UsageError(f"{path} cannot be read as TOML: {str(error).rstrip('.')}.") from error
    project = ProjectFile(storage.refer(path), sections, find_lines(text))
    for name in sections:
        if name not in SECTIONS:
            raise unknown_key(project, "section", (name,), [f"[{known}]" for known in SECTIONS])
        if not isinstance(sections[name], dict):
            raise UsageError(
                f"{project.at(name)}: {name} must be a table, not {sections[name]!r}.",
                hint=f"Write it as [{name}], with its keys below.",
            )
    return project


def unknown_key(project: ProjectFile, what: str, keys: Keys, known: Iterable[str]) -> UsageError:
    """The error for a name that means nothing, with the nearest one that does.

    Args:
        what: what it was taken for, e.g. "section".
        keys: its path from the top of the file.
        known: names it could be, the likeliest order first.
    """
    names = list(known)
    bare = {name.strip("[]"): name for name in names}
    close = difflib.get_close_matches(keys[-1], bare, n=1)
    guess = f"Did you mean {bare[close[0]]}? " if close else ""
    return UsageError(
        f"{project.at(*keys)}: unknown {what} {keys[-1]!r}.",
        hint=f"{guess}Known are {', '.join(names)}.",
    )


def find_lines(text: str) -> dict[Keys, int]:
    """Line of every table's header and every key that begins a line; tomlkit keeps none.

    It is for messages only: a line inside of a value of several lines can mislead it.
    """
    found: dict[Keys, int] = {}
    table: Keys = ()
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("["):
            header = _parse(line)
            if header:
                for table in _paths(header):  # the longest comes last
                    found.setdefault(table, number)
        elif assignment := _ASSIGNMENT.match(line):
            parsed = _parse(line) or _parse(f"{assignment[1]} = 0")
            for keys in _paths(parsed):
                found.setdefault((*table, *keys), number)
    return found


def _parse(line: str) -> dict[str, Any]:
    try:
        return tomlkit.parse(line).unwrap()
    except TOMLKitError:  # the line alone is no TOML, as in a value of several lines
        return {}


def _paths(tree: Mapping[str, Any], above: Keys = ()) -> Iterator[Keys]:
    for key, value in tree.items():
        yield (*above, key)
        inner = value[0] if isinstance(value, list) and value else value
        if isinstance(inner, dict):
            yield from _paths(inner, (*above, key))
