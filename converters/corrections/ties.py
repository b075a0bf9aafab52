"""Spread the classes of an INT8 model over one step, so that fewer of them have equal values.

A softmax or ARG_MAX chooses the largest value. In INT8, the two largest are often equal, and the
first class wins, whatever the real values were: in a segmentation, the background grows. If class k
of K has k / (K - 1) - 1/2 of a step more in its bias, classes are rounded at different points, and
the first one wins fewer of such pairs. This is the dither of Roberts, "Picture coding using
pseudo-random noise" (1962), without its subtraction: values are wrong by half a step at most.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeq.converters.writer.layers import SLOTS
from edgeq.tflite import flatbuffer
from edgeq.tflite.flatbuffer import indices
from edgeq.tflite.operators import CONVERTING

_CHOOSING = {"SOFTMAX", "ARG_MAX"}
# Their results have the classes on the last axis if their first input has.
_RESHAPING = {"RESHAPE", "SQUEEZE", "EXPAND_DIMS"}
_PASSING = _RESHAPING | {"RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", *CONVERTING}


def spread_ties(content: bytes) -> tuple[bytes, dict[str, int | None]]:
    """Change the biases of the layers whose largest output channel an output depends on.

    Args:
        content: a quantized flatbuffer.

    Returns:
        The flatbuffer, the same bytes if there are no such outputs; and their names with the axis
        of class probabilities, None for numbers of classes.
    """
    tree = flatbuffer.parse(content, "the quantized model")
    graph = tree.subgraphs[0]
    _, outputs = flatbuffer.interface(tree)
    found: dict[str, int | None] = {}
    for spec, index in zip(outputs, indices(graph.outputs), strict=True):
        ways = _Way(tree, index)
        if ways.layer is not None:
            _spread(tree, ways.layer)
            found[spec.name] = ways.axis
    return (flatbuffer.serialize(tree), found) if found else (content, {})


class _Way:
    """The way from an output back to the layer whose largest channel it depends on.

    Attributes:
        layer: the operator; None if the output does not choose, or not among such channels.
        axis: of the classes in the output; None if it has numbers of classes.
    """

    def __init__(self, tree: Any, output: int):
        self.layer: Any = None
        self.axis: int | None = None
        graph = tree.subgraphs[0]
        makers = {made: one for one in graph.operators for made in indices(one.outputs)}
        read = [index for one in graph.operators for index in indices(one.inputs)]
        index, order = output, None
        seen: set[str] = set()
        while (operator := makers.get(index)) is not None:
            kind, inputs = flatbuffer.operator_name(tree, operator), indices(operator.inputs)
            if kind in SLOTS:
                if seen & _CHOOSING and _can_spread(tree, operator, kind):
                    self.layer = operator
                return
            if kind in _CHOOSING and not seen & _CHOOSING and _is_last(tree, operator, kind):
                if kind == "SOFTMAX":
                    rank = len(indices(graph.tensors[output].shape))
                    self.axis = rank - 1 if order is None else order.index(rank - 1)
            elif kind == "TRANSPOSE" and seen <= CONVERTING:
                order = list(flatbuffer.constant(tree, graph.tensors[inputs[1]]))
            elif kind not in _PASSING or not _keeps_last(graph, operator, kind):
                return
            seen.add(kind)
            index = inputs[0]
            if read.count(index) > 1 or index in indices(graph.outputs):
                return


def _is_last(tree: Any, operator: Any, kind: str) -> bool:
    """Whether an operator chooses along the last axis, as a SOFTMAX always does."""
    if kind == "SOFTMAX":
        return True
    graph, (source, axis) = tree.subgraphs[0], indices(operator.inputs)
    if not flatbuffer.is_constant(tree, graph.tensors[axis]):
        return False
    rank = len(indices(graph.tensors[source].shape))
    return int(flatbuffer.constant(tree, graph.tensors[axis]).item()) % rank == rank - 1


def _keeps_last(graph: Any, operator: Any, kind: str) -> bool:
    """Whether the last axis is the same one behind an operator, perhaps with another number."""
    ends = indices(operator.inputs)[0], indices(operator.outputs)[0]
    before, after = (indices(graph.tensors[index].shape) for index in ends)
    return kind not in _RESHAPING or before[-1:] == after[-1:]


def _can_spread(tree: Any, operator: Any, kind: str) -> bool:
    """Whether a layer gives INT8 values of two channels or more, and has its own bias."""
    graph, inputs = tree.subgraphs[0], indices(operator.inputs)
    made = graph.tensors[indices(operator.outputs)[0]]
    if len(inputs) <= SLOTS[kind].bias or inputs[SLOTS[kind].bias] < 0:
        return False
    bias = graph.tensors[inputs[SLOTS[kind].bias]]
    others = [index for one in graph.operators for index in indices(one.inputs)]
    return bool(
        (flatbuffer.dtype(made), flatbuffer.dtype(bias)) == ("int8", "int32")
        and flatbuffer.is_constant(tree, bias)
        and flatbuffer.constant(tree, bias).size > 1
        and others.count(inputs[SLOTS[kind].bias]) == 1
        and not operator.builtinOptions.fusedActivationFunction
    )


def _spread(tree: Any, operator: Any) -> None:
    graph, inputs = tree.subgraphs[0], indices(operator.inputs)
    slots = SLOTS[flatbuffer.operator_name(tree, operator)]
    given, weights, made = (
        np.array(flatbuffer.tensor_spec(graph.tensors[index], "").scales)
        for index in (inputs[slots.data], inputs[slots.weights], indices(operator.outputs)[0])
    )
    bias = graph.tensors[inputs[slots.bias]]
    values = flatbuffer.constant(tree, bias).astype(np.float64)
    values += np.linspace(-0.5, 0.5, values.size) * made / (given * weights)
    limits = np.iinfo(np.int32)
    whole = np.clip(np.rint(values), limits.min, limits.max).astype(np.int32)
    bias.buffer = flatbuffer.add_buffer(tree, whole)
