"""Read `edgeq.toml` into tables, and refuse unknown sections.

    [model], [data], [tune], [run], [package]  # for `edgeq run`, see edgeq.pipeline
    [policy]        # for `edgeq gate`, see edgeq.gating
    [devices.NAME]  # names for boards, see edgeq.device_runners.devices.registry
    [boards.NAME]   # microcontrollers for `edgeq fit`, see edgeq.fit.boards

Each section is parsed by the room that it is for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from edgeq.errors import UsageError, did_you_mean
from edgeq.files import storage
from edgeq.files.reading import read_file
from edgeq.values import FileRef

_MOST_BYTES = 16 << 20
SECTIONS = ("model", "data", "tune", "run", "policy", "devices", "boards", "package")

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
        """The place of a key, e.g. "edgeq.toml, line 3"."""
        line = self.lines.get(keys)
        return self.file.path if line is None else f"{self.file.path}, line {line}"


@dataclass(frozen=True)
class NamedCode:
    """Code or a program that an `edgeq.toml` names and edgeq would execute.

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
        UsageError: unreadable, not TOML, or a section that edgeq does not know.
    """
    try:
        text = read_file(path, _MOST_BYTES).decode(
            "utf-8-sig"
        )  # some editors begin with a byte order mark
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
    """The error for an unknown name, with the nearest known one.

    Args:
        what: the kind of name, e.g. "section".
        keys: its path from the top of the file.
        known: names it could be.
    """
    names = list(known)
    guess = did_you_mean(keys[-1], (name.strip("[]") for name in names))
    return UsageError(
        f"{project.at(*keys)}: unknown {what} {keys[-1]!r}.",
        hint=f"{guess}Known: {', '.join(names)}.",
    )


def find_lines(text: str) -> dict[Keys, int]:
    """The line of each table's header and of each key that begins a line.

    tomlkit does not keep them. They are for messages only: a line inside a value of several lines
    can be mistaken for a key.
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
    except TOMLKitError:  # a line of a longer value is not TOML on its own
        return {}


def _paths(tree: Mapping[str, Any], above: Keys = ()) -> Iterator[Keys]:
    for key, value in tree.items():
        yield (*above, key)
        inner = value[0] if isinstance(value, list) and value else value
        if isinstance(inner, dict):
            yield from _paths(inner, (*above, key))
