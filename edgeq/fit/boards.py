"""The boards that a model can be compared with: a table with its documents, and the user's own.

[boards.sensor-v2]     # in the edgeq.toml of the project
flash = "1MB"
ram = "256KB"
core = "Cortex-M4F"    # optional
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import tomlkit

from edgeq.errors import UsageError, did_you_mean
from edgeq.project import ProjectFile, read_project, unknown_key
from edgeq.values import Board, Document

TABLE = Path(__file__).parent / "boards.toml"
SECTION = "boards"

_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(?:([kKmM])(i?[bB])?|[bB])?")
_FACTORS = {None: 1, "k": 1 << 10, "m": 1 << 20}
_KEYS = ("flash", "ram", "core")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_LEAST_BYTES, _MOST_BYTES = 1 << 10, 1 << 40


def read_memory(text: Any, *, may_be_zero: bool = False) -> int:
    """A size of flash or RAM in bytes; K and M are powers of 1024, as in data sheets.

    Args:
        text: e.g. "1MB", "256 KB", "7936K", "983040"; or a whole number of bytes.
        may_be_zero: for memory that is not needed.

    Raises:
        ValueError: something else, or so few bytes that a unit must be missing.
    """
    match = _SIZE.fullmatch(str(text)) if isinstance(text, (str, int)) else None
    if match is None or isinstance(text, bool):
        raise ValueError('a size such as "256KB" or "1MB"')
    size = int(float(match[1]) * _FACTORS[match[2] and match[2].lower()])
    if not (_LEAST_BYTES <= size <= _MOST_BYTES or (size == 0 and may_be_zero)):
        meant = f' (did you mean "{match[1]}KB"?)' if 0 < size < _LEAST_BYTES else ""
        raise ValueError(f"a size from {_LEAST_BYTES:,} to {_MOST_BYTES:,} bytes{meant}")
    return size


@cache
def known_boards() -> Mapping[str, Board]:
    """The boards of the table, by name."""
    tables = tomlkit.parse(TABLE.read_text("utf-8")).unwrap()
    return {
        name: Board(
            name,
            row["title"],
            row["core"],
            read_memory(row["flash"]),
            read_memory(row["ram"]),
            row.get("note", ""),
            tuple(Document(**source) for source in row["source"]),
        )
        for name, row in tables.items()
    }


def own_boards(file: Path) -> dict[str, Board]:
    """The boards that an `edgeq.toml` declares; none if the file does not exist.

    Raises:
        UsageError: a mistake in the file.
    """
    if not file.is_file():
        return {}
    project = read_project(file)
    table = project.sections.get(SECTION, {})
    return {name: _own_board(project, name, row) for name, row in table.items()}


def _own_board(project: ProjectFile, name: str, row: Any) -> Board:
    keys = (SECTION, name)
    if not isinstance(row, dict) or not NAME.fullmatch(name):
        raise UsageError(
            f"{project.at(*keys)}: {name!r} is not a board.",
            hint='Write [boards.NAME] with letters, digits, "-", "." and "_", then flash and ram.',
        )
    for key in row:
        if key not in _KEYS:
            raise unknown_key(project, "key", (*keys, key), _KEYS)
    flash, ram = (_size(project, (*keys, key), row.get(key)) for key in ("flash", "ram"))
    core = row.get("core", "")
    if not isinstance(core, str):
        raise UsageError(f"{project.at(*keys, 'core')}: core must be text, not {core!r}.")
    return Board(name, name, core, flash, ram, note="", sources=())


def _size(project: ProjectFile, keys: tuple[str, str, str], value: Any) -> int:
    if value is None:
        raise UsageError(
            f"{project.at(*keys[:2])}: [{'.'.join(keys[:2])}] has no {keys[2]}.",
            hint=f'Add it, such as {keys[2]} = "256KB".',
        )
    try:
        return read_memory(value)
    except ValueError as error:
        raise UsageError(
            f"{project.at(*keys)}: {keys[2]} must be {error}, not {value!r}."
        ) from None


def choose(names: Iterable[str], own: Mapping[str, Board]) -> tuple[Board, ...]:
    """Boards by name; the user's own go before those of the table.

    Raises:
        UsageError: an unknown name.
    """
    boards = {**known_boards(), **own}
    found = []
    for name in dict.fromkeys(names):
        if name not in boards:
            raise UsageError(
                f"--board {name!r} is unknown.",
                hint=f"{did_you_mean(name, boards)}edgeq fit MODEL lists all; declare your own "
                "as [boards.NAME] in edgeq.toml, or give --flash and --ram.",
            )
        found.append(boards[name])
    return tuple(found)


def sized_board(flash: int, ram: int) -> Board:
    """The board that `--flash` and `--ram` describe."""
    return Board("--flash --ram", "a board of this size", "", flash, ram, note="", sources=())
