"""Files that would take all memory are refused when they are read."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgeq.errors import SourceError
from edgeq.tflite import flatbuffer
from tests.converters.rewrites.tiny_graphs import Builder

HALF = 1 << 14  # HALF * 2 * HALF float32 values take 2 GiB

Make = Callable[[Builder, int, int], int]  # of a model and its input a tensor of [HALF, columns]
HUGE: dict[str, Make] = {
    "ADD": lambda build, x, columns: build.add("ADD", [x, x], [HALF, columns]),
    "FILL": lambda build, x, columns: build.add(
        "FILL", [build.constant([HALF, columns], "int32"), build.constant(1.0)], [-1, -1]
    ),
    "BROADCAST_TO": lambda build, x, columns: build.add(
        "BROADCAST_TO", [x, build.constant([HALF, columns], "int64")], [-1, -1]
    ),
    "TILE": lambda build, x, columns: build.add(
        "TILE", [x, build.constant([HALF, columns // 4], "int32")], [-1, -1]
    ),
}


@pytest.mark.parametrize("kind", HUGE)
def test_a_tensor_of_more_than_2_gib_is_refused(kind: str) -> None:
    for columns, is_huge in ((2 * HALF, False), (2 * HALF + 4, True)):
        build = Builder()
        x = build.input([1, 4])
        made = HUGE[kind](build, x, columns)
        content = build.content(build.add("ADD", [x, made], [1, 4]))
        if not is_huge:
            flatbuffer.parse(content, "m.tflite")
            continue
        name = flatbuffer.tensor_name(build.graph, made)
        told = rf"^m.tflite has a tensor of 2 GiB, '{name}'; kernels count to 2 GiB\."
        with pytest.raises(SourceError, match=told):
            flatbuffer.parse(content, "m.tflite")


def test_integers_of_one_byte_may_be_four_times_as_many() -> None:
    build = Builder()
    made = build.add("ABS", [build.input([1, 4], "int8")], [2 * HALF, 4 * HALF], "int8")
    flatbuffer.parse(build.content(made), "m.tflite")
    build.graph.tensors[made].type = flatbuffer.dtype_code("int16")
    with pytest.raises(SourceError, match="has a tensor of 4 GiB"):
        flatbuffer.parse(build.content(made), "m.tflite")


def test_the_number_of_inputs_is_the_kernels() -> None:
    build = Builder()
    x = build.input([1, 4])
    split = build.add("SPLIT", [build.constant(1, "int32"), x], [1, 2])
    build.graph.operators[0].outputs = np.array([split, build.tensor([1, 2])], np.int32)
    content = build.content(build.add("TOPK_V2", [split, build.constant(1, "int32")], [1, 1]))
    with pytest.raises(SourceError, match="an operator TOPK_V2 has 2 inputs and 1 outputs"):
        flatbuffer.parse(content, "m.tflite")
