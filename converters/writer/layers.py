"""The inputs of operators with a filter: data, weights and bias."""

from __future__ import annotations

from typing import Any, NamedTuple

from edgeq.tflite import flatbuffer


class Slots(NamedTuple):
    """Numbers of an operator's inputs, and the axis of its weights that counts output channels."""

    data: int
    weights: int
    bias: int
    axis: int


SLOTS = {
    "CONV_2D": Slots(0, 1, 2, 0),
    "DEPTHWISE_CONV_2D": Slots(0, 1, 2, 3),
    "FULLY_CONNECTED": Slots(0, 1, 2, 0),
    "TRANSPOSE_CONV": Slots(2, 1, 3, 0),
}


class Filter(NamedTuple):
    """An operator's constants: tensors, -1 for what is not a float32 constant."""

    data: int
    weights: int
    bias: int
    axis: int


def why_float(tree: Any, operator: Any, name: str) -> str | None:
    """The reason why an operator with a filter has no integer kernel; None if it has one.

    Integer kernels of convolutions read one zero point, 0, for all filters, and take a bias in
    INT32, which no operator computes from real values.
    """
    slots, inputs = SLOTS.get(name), flatbuffer.indices(operator.inputs)
    if slots is None:
        return None
    own = find_filter(tree, operator, name)
    assert own is not None
    if own.weights < 0 and name != "FULLY_CONNECTED":
        return "its filter is not a float32 constant"
    has_bias = slots.bias < len(inputs) and inputs[slots.bias] >= 0
    return "its bias is not a float32 constant" if has_bias and own.bias < 0 else None


def find_filter(tree: Any, operator: Any, name: str) -> Filter | None:
    """The constants of an operator with a filter; None for other operators."""
    slots = SLOTS.get(name)
    if slots is None:
        return None
    graph, inputs = tree.subgraphs[0], flatbuffer.indices(operator.inputs)

    def constant(slot: int) -> int:
        index = inputs[slot] if slot < len(inputs) else -1
        is_there = index >= 0 and flatbuffer.is_constant(tree, graph.tensors[index])
        return index if is_there and flatbuffer.dtype(graph.tensors[index]) == "float32" else -1

    return Filter(inputs[slots.data], constant(slots.weights), constant(slots.bias), slots.axis)
