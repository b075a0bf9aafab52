"""How files store weights: behind which operators, and with how many scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from edgeq.converters.graph import layout
from edgeq.tflite import flatbuffer
from tests import tiny_models as tiny
from tests.tiny_models import FLOAT, INT8, Operator, schema

UINT8, INT32 = schema.TensorType.UINT8, schema.TensorType.INT32
CODES = [(kind, 1) for kind in (Operator.FULLY_CONNECTED, Operator.DEQUANTIZE, Operator.RESHAPE,
                                Operator.QUANTIZE)]  # fmt: skip
DENSE, WIDEN, RESHAPE, NARROW = range(4)


def scaled(shape: Sequence[int], count: int, dtype: int = INT8, zero: int = 0) -> Any:
    """A constant with this many scales."""
    made = tiny.tensor("w", shape, dtype, buffer=1, scale=0.5)
    made.quantization.scale, made.quantization.zeroPoint = [0.5] * count, [zero] * count
    return made


def found(weights: Any, *passed: int, shape: Sequence[int] = (4, 6)) -> Any:
    """The weights of a dense layer that are stored so and pass through these operators."""
    tensors = [tiny.tensor("x", [1, 6]), tiny.tensor("y", [1, 4]), weights,
               tiny.tensor("shape", [2], INT32, buffer=2)]  # fmt: skip
    operators = []
    for kind in passed:
        tensors.append(tiny.tensor("passed", shape))
        inputs = [len(tensors) - 2 if operators else 2, *([3] if kind == RESHAPE else [])]
        operators.append(tiny.operator(kind, inputs, [len(tensors) - 1]))
    last = len(tensors) - 1 if operators else 2
    operators.append(tiny.operator(DENSE, [0, last], [1]))
    main = tiny.graph(tensors, [0], [1], operators)
    content = tiny.model([main], CODES, [np.ones(24, np.int8), np.array([4, 6], np.int32)])
    tree = flatbuffer.parse(content, "it")
    graph = tree.subgraphs[0]
    return layout.stored_weights(tree, graph, graph.operators[-1], "FULLY_CONNECTED")


@pytest.mark.parametrize(
    ("passed", "is_widened"),
    [((), False), ((WIDEN,), True), ((RESHAPE,), False), ((WIDEN, RESHAPE), True)],
)
def test_weights_are_found_behind_a_reshape_and_a_dequantize(
    passed: tuple[int, ...], is_widened: bool
) -> None:
    own = found(scaled((4, 6), 4), *passed)
    assert (own.shape, own.is_widened, own.granularity) == ((4, 6), is_widened, "channel")
    assert flatbuffer.text(own.tensor.name) == "w"


@pytest.mark.parametrize("passed", [(NARROW,), (WIDEN, WIDEN), (NARROW, WIDEN)])
def test_weights_behind_other_operators_are_computed(passed: tuple[int, ...]) -> None:
    assert found(scaled((4, 6), 4), *passed) is None


@pytest.mark.parametrize(
    ("stored", "scales", "granularity"),
    [
        ((4, 6), 1, "tensor"),
        ((4, 6), 4, "channel"),
        ((8, 3), 8, "block:3"),  # two rows for each output
        ((8, 3), 1, "tensor"),
        ((2, 12), 2, "channel"),
        ((4, 6), 0, None),
    ],
)
def test_blocks_are_rows_of_their_own(
    stored: tuple[int, int], scales: int, granularity: str | None
) -> None:
    assert found(scaled(stored, scales), WIDEN, RESHAPE).granularity == granularity


def test_float_weights_have_no_granularity() -> None:
    bare = tiny.tensor("w", (2, 3), FLOAT, buffer=1)
    bare.quantization = None
    own = found(bare, shape=(2, 3))
    assert (own.shape, own.granularity) == ((2, 3), None)


@pytest.mark.parametrize("inputs", [[0], [0, -1]])
def test_an_operator_without_weights_has_none(inputs: list[int]) -> None:
    tensors = [tiny.tensor("x", [1, 6]), tiny.tensor("y", [1, 4])]
    main = tiny.graph(tensors, [0], [1], [tiny.operator(DENSE, [0, 0], [1])])
    tree = flatbuffer.parse(tiny.model([main], CODES), "it")
    graph = tree.subgraphs[0]
    graph.operators[0].inputs = np.array(inputs)
    assert layout.stored_weights(tree, graph, graph.operators[0], "FULLY_CONNECTED") is None
    assert layout.stored_weights(tree, graph, graph.operators[0], "RELU") is None


@pytest.mark.parametrize(
    ("tensors", "is_symmetric"),
    [
        ([], None),
        ([scaled((2,), 2)], True),
        ([scaled((2,), 2, UINT8, 128)], True),
        ([scaled((2,), 2, UINT8, 0)], False),
        ([scaled((2,), 2, INT8, 128)], False),
        ([scaled((2,), 2), scaled((2,), 2, INT8, 1)], False),
    ],
)
def test_zero_points_in_the_middle_are_symmetric(
    tensors: list[Any], is_symmetric: bool | None
) -> None:
    assert layout.is_symmetric(tensors) is is_symmetric
