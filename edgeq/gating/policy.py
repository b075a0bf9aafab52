"""The `[policy]` of an `edgeq.toml`, as values."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgeq.fit import boards
from edgeq.values import FileRef

# How certain a figure must be: shown to be within the limit, or only not shown to exceed it.
PROVEN = "proven"
NOT_DISPROVEN = "not-disproven"
PROOFS = (PROVEN, NOT_DISPROVEN)

# Whole numbers of TOML may have any number of digits, and must fit into a float.
_MOST = 1e300

_UNITS = {
    "B": 1,
    "kB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([A-Za-z]+)")
_VERSION = re.compile(r"\d+\.\d+(\.\d+)?")


@dataclass(frozen=True)
class Limit:
    """One rule with the user's number.

    Attributes:
        rule: its place and key, of `rules.RULES`.
        device: or metric that its table names; None elsewhere.
        name: with its table, as users see it.
        value: in the rule's unit.
        text: of a version or the name of a board, "" otherwise.
        shown: e.g. "at most 0.5 points".
        line: where it is written.
    """

    rule: tuple[str, str]
    device: str | None
    name: str
    value: float
    text: str
    shown: str
    line: int | None


@dataclass(frozen=True)
class Policy:
    """The rules that a model must keep.

    Attributes:
        drop_must_be: "proven" or "not-disproven", for accuracy drops.
        speed_must_be: the same for latencies and speed-ups.
        accept: codes of warnings that do not make a figure unfit to be judged.
        limits: in the order of the file.
    """

    file: FileRef
    drop_must_be: str
    speed_must_be: str
    accept: tuple[str, ...]
    limits: tuple[Limit, ...]


# ---------------------------------------------------------------- reading one number

# From a value of the file to a number, or to the text of a version or of a name; ValueError says
# what was expected.
Reader = Callable[[Any], float | str]


def read_number(value: Any) -> float:
    """Zero or more.

    Raises:
        ValueError: something else.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("a number")
    if not 0 <= value <= _MOST:
        raise ValueError("a number that is 0 or more")
    return float(value)


def read_positive(value: Any) -> float:
    """More than zero.

    Raises:
        ValueError: something else.
    """
    number = read_number(value)
    if number == 0:
        raise ValueError("a number above 0")
    return number


def read_percent(value: Any) -> float:
    """Per cent; a share such as 0.9 would be a limit that every model keeps.

    Raises:
        ValueError: something else.
    """
    number = read_number(value)
    if not 1 < number <= 100:
        raise ValueError("per cent, above 1 and at most 100")
    return number


def read_count(value: Any) -> float:
    """A whole number.

    Raises:
        ValueError: something else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST:
        raise ValueError("a whole number that is 0 or more")
    return float(value)


def read_size(value: Any) -> float:
    """A size with its unit, in bytes.

    Raises:
        ValueError: something else.
    """
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[2] not in _UNITS or not 0 < float(match[1]) <= _MOST:
        raise ValueError(f'a size in quotes with one of {", ".join(_UNITS)}, such as "300 kB"')
    return float(match[1]) * _UNITS[match[2]]


def read_board(value: Any) -> str:
    """The name of a board, as `edgeq fit --board` takes it.

    Raises:
        ValueError: something else.
    """
    if not isinstance(value, str) or not boards.NAME.fullmatch(value):
        raise ValueError('the name of a board in quotes, such as "raspberry-pi-pico"')
    return value


def read_version(value: Any) -> str:
    """A release; as a number 2.10 would be 2.1.

    Raises:
        ValueError: something else.
    """
    if not isinstance(value, str) or not _VERSION.fullmatch(value):
        raise ValueError('a TensorFlow release in quotes, such as "2.14"')
    return value
