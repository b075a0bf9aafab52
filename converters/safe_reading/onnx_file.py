"""Checks that an ONNX file keeps its weights inside it, or in files of its folder.

onnx and onnxruntime open the files that it names. This module reads only the fields that lead to
those names, from the wire format, so that it needs neither of them.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from edgeq.errors import SourceError

# Message to field number to the message in that field; from onnx.proto.
_FIELDS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
    "entry": {1: "key", 2: "value"},
}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}
_DEEPEST = 100  # as protobuf itself allows
_KEYS = ("location", "offset", "length", "checksum", "basepath")


def refuse_outside(path: Path) -> None:
    """Check that weights in other files are in the folder of the model.

    Raises:
        SourceError: they are not, or the file is incomplete or is not an ONNX model.
    """
    try:
        with (
            path.open("rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            for name, entries in _external(content, 0, len(content), "model", 0):
                if (what := _judge(path, entries)) is not None:
                    raise SourceError(
                        f"{path}: tensor {name!r} {what}.",
                        hint="Export it again, with its weights in files beside it.",
                    )
    except (ValueError, IndexError) as error:
        raise SourceError(
            f"{path} is incomplete or is not an ONNX model: {error}.",
            hint="Export or copy it again.",
        ) from error


def _judge(path: Path, entries: list[tuple[str, str]]) -> str | None:
    keys = [key for key, _ in entries]
    for key in keys:
        if key not in _KEYS or keys.count(key) > 1:
            how = "twice" if key in _KEYS else "and ONNX has no such key"
            return f"states {key!r} of its weights elsewhere, {how}"
    given = dict(entries)
    location = given.get("location", "")
    numbers = [given.get(key) or "0" for key in ("offset", "length")]
    if not all(number.isascii() and number.isdecimal() for number in numbers):
        return f"states a size of its weights that is not a number: {', '.join(numbers)}"
    # In a hub's cache, the model and its weights are links into another folder.
    folders = {path.parent.resolve(), path.resolve().parent}
    target = (path.parent / location).resolve() if "\0" not in location else path.parent
    is_inside = not Path(location).is_absolute() and ".." not in Path(location).parts
    if not is_inside or not any(target.is_relative_to(folder) for folder in folders):
        return f"keeps its weights in {location!r}, outside the folder of the model"
    if not target.is_file():
        return f"keeps its weights in {location!r}, which does not exist"
    if sum(map(int, numbers)) > target.stat().st_size:
        return f"takes {' + '.join(numbers)} bytes of {location!r}, which is shorter"
    return None


def _external(
    content: mmap.mmap, start: int, end: int, kind: str, depth: int
) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Each tensor with weights in another file: its name, and its statements about them."""
    if depth > _DEEPEST:
        raise ValueError(f"its graphs are nested more than {_DEEPEST} levels deep")
    entries, name = [], ""
    for number, begin, stop in _fields(content, start, end):
        inner = _FIELDS[kind].get(number)
        if kind == "tensor" and number == 8:
            name = content[begin:stop].decode("utf-8", "replace")
        elif kind == "tensor" and inner == "entry":
            pair = {_FIELDS["entry"].get(n): content[b:s].decode("utf-8", "replace")
                    for n, b, s in _fields(content, begin, stop)}  # fmt: skip
            entries.append((pair.get("key", ""), pair.get("value", "")))
        elif inner is not None:
            yield from _external(content, begin, stop, inner, depth + 1)
    if entries:
        yield name, entries


def _fields(content: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of the length-delimited fields of a message."""
    position = start
    while position < end:
        tag, position = _varint(content, position, end)
        kind = tag & 7
        if kind == _BYTES:
            size, position = _varint(content, position, end)
            if position + size > end:
                raise ValueError("a field ends after its message")
            yield tag >> 3, position, position + size
            position += size
        elif kind == _VARINT:
            _, position = _varint(content, position, end)
        elif kind in _FIXED_SIZES:
            position += _FIXED_SIZES[kind]
        else:
            raise ValueError(f"it has a field of the wire type {kind}")
    if position != end:
        raise ValueError("a field ends after its message")


def _varint(content: mmap.mmap, position: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            raise ValueError("it ends in the middle of a number")
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number in it has more than ten bytes")
