"""Fields of a `.tflite` that LiteRT's reader refuses, though its interpreter runs them."""

from __future__ import annotations

import struct
from collections.abc import Iterator


def find_refused(content: bytes | bytearray) -> dict[int, int]:
    """Positions and values of the bytes in a flatbuffer that LiteRT's reader refuses.

    They are a tensor's `is_variable` and the length of its `variant_tensors`, and the lengths of an
    operator's `mutating_variable_inputs` and `intermediates`.
    """

    def number(kind: str, place: int) -> int:
        return int(struct.unpack_from("<" + kind, content, place)[0])

    def field(table: int, index: int) -> int | None:
        positions = table - number("i", table)
        if 4 + 2 * index >= number("H", positions):
            return None
        offset = number("H", positions + 4 + 2 * index)
        return table + offset if offset else None

    def vector(table: int, index: int) -> int | None:
        place = field(table, index)
        return None if place is None else place + number("I", place)

    def tables(table: int, index: int) -> Iterator[int]:
        start = vector(table, index)
        for item in range(0 if start is None else number("I", start)):
            place = (start or 0) + 4 + 4 * item
            yield place + number("I", place)

    flags, lengths = [], []
    for graph in tables(number("I", 0), 2):
        for tensor in tables(graph, 0):
            flags.append(field(tensor, 5))
            lengths.append(vector(tensor, 9))
        for operator in tables(graph, 3):
            lengths += [vector(operator, 7), vector(operator, 8)]
    places = [place for place in flags if place is not None]
    places += [start + byte for start in lengths if start is not None for byte in range(4)]
    return {place: content[place] for place in places if content[place]}
