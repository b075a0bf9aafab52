"""Which values of an output are one column, and of which head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeq.accuracy.columns import Columns, find_columns, plain_columns
from edgeq.tflite import flatbuffer
from tests import tiny_models as tiny

Op, schema = tiny.Operator, tiny.schema


class Net:
    """A graph, built from its inputs on; each step gives the number of its tensor."""

    def __init__(self) -> None:
        self.tensors: list[Any] = []
        self.operators: list[Any] = []
        self.codes: list[tuple[int, int]] = []
        self.constants: list[np.ndarray] = []

    def tensor(self, name: str, *shape: int) -> int:
        self.tensors.append(tiny.tensor(name, shape))
        return len(self.tensors) - 1

    def constant(self, values: Any) -> int:
        array = np.asarray(values)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        self.constants.append(array)
        dtype = tiny.FLOAT if array.dtype == np.float32 else schema.TensorType.INT32
        self.tensors.append(tiny.tensor("c", array.shape, dtype, buffer=len(self.constants)))
        return len(self.tensors) - 1

    def add(
        self, kind: int, inputs: Sequence[int], name: str, *shape: int, options: Any = None
    ) -> int:
        made = self.tensor(name, *shape)
        self.codes.append((kind, 1))
        self.operators.append(tiny.operator(len(self.codes) - 1, inputs, [made], options))
        return made

    def dense(self, name: str, *shape: int) -> int:
        source = self.tensor(f"{name}-input", 1, 3)
        return self.add(Op.FULLY_CONNECTED, [source], name, *shape)

    def joined(self, inputs: Sequence[int], name: str, *shape: int, axis: int = -1) -> int:
        options = schema.ConcatenationOptionsT()
        options.axis = axis
        return self.add(Op.CONCATENATION, inputs, name, *shape, options=options)

    def columns(self, output: int) -> Columns:
        graph = tiny.graph(self.tensors, [], [output], self.operators)
        content = tiny.model([graph], self.codes, self.constants)
        (found,) = find_columns(flatbuffer.parse(content, "net")).values()
        return found


def test_a_vector_is_one_head_with_a_column_for_each_value() -> None:
    net = Net()
    found = net.columns(net.dense("scores", 1, 4))
    assert found.labels.tolist() == [0, 1, 2, 3]
    assert (found.heads, found.names, found.fixed) == ((0, 0, 0, 0), ("scores",), frozenset())


def test_a_detector_has_a_column_for_each_channel_of_each_head() -> None:
    """Boxes and scores of 2 x 2 anchors, joined, laid out anew and transposed: (1, 3, 4)."""
    net = Net()
    image = net.tensor("image", 1, 4, 4, 3)
    boxes = net.add(Op.CONV_2D, [image], "boxes", 1, 2, 2, 2)
    raw = net.add(Op.CONV_2D, [image], "raw", 1, 2, 2, 1)
    scores = net.add(Op.LOGISTIC, [raw], "scores", 1, 2, 2, 1)
    whole = net.joined([boxes, scores], "whole", 1, 2, 2, 3, axis=3)
    flat = net.add(Op.RESHAPE, [whole, net.constant(np.int32([1, 4, 3]))], "flat", 1, 4, 3)
    turned = net.add(Op.TRANSPOSE, [flat, net.constant(np.int32([0, 2, 1]))], "out", 1, 3, 4)
    found = net.columns(turned)
    assert found.labels.tolist() == [[0] * 4, [1] * 4, [2] * 4]
    assert (found.heads, found.names) == ((0, 0, 1), ("boxes", "scores"))
    assert found.fixed == frozenset({1})


def test_a_softmax_is_one_head_though_its_logits_were_joined() -> None:
    net = Net()
    joined = net.joined([net.dense("a", 1, 2), net.dense("b", 1, 3)], "joined", 1, 5)
    found = net.columns(net.add(Op.SOFTMAX, [joined], "softmax", 1, 5))
    assert (found.heads, found.names) == ((0,) * 5, ("softmax",))
    assert found.fixed == frozenset({0})


def test_what_is_scaled_by_position_is_a_column_by_scale() -> None:
    """Two channels at three positions, of which the second is multiplied by another factor."""
    net = Net()
    channels = net.add(Op.CONV_2D, [net.tensor("x", 1, 3, 1)], "channels", 1, 3, 2)
    factors = net.constant([[[8.0], [32.0], [-8.0]]])
    found = net.columns(net.add(Op.MUL, [channels, factors], "scaled", 1, 3, 2))
    first, second, third = found.labels.tolist()
    assert first == third
    assert len({*first, *second}) == 4
    assert found.heads == (0, 0, 0, 0)


def test_layouts_are_followed() -> None:
    net = Net()
    whole = net.dense("whole", 1, 6)
    begins, sizes = net.constant(np.int32([0, 2])), net.constant(np.int32([1, 3]))
    middle = net.add(Op.SLICE, [whole, begins, sizes], "middle", 1, 3)
    gather = schema.GatherOptionsT()
    gather.axis, gather.batchDims = 1, 0
    picked = net.add(
        Op.GATHER, [whole, net.constant(np.int32([5, 0, 2]))], "picked", 1, 3, options=gather
    )
    pack = schema.PackOptionsT()
    pack.axis, pack.valuesCount = 1, 2
    stacked = net.add(Op.PACK, [middle, picked], "stacked", 1, 2, 3, options=pack)
    found = net.columns(stacked)
    # Columns 2, 3, 4 above 5, 0, 2 of one head, numbered anew.
    assert found.labels.tolist() == [[1, 2, 3], [4, 0, 1]]
    assert len(found.names) == 1


def test_other_operators_make_values_of_their_own() -> None:
    net = Net()
    both = net.joined([net.dense("a", 1, 2), net.dense("b", 1, 2)], "both", 1, 4)
    found = net.columns(net.add(Op.CUMSUM, [both], "sums", 1, 4))
    assert (found.heads, found.names) == ((0, 0, 0, 0), ("sums",))


def test_a_shape_without_reason_is_not_followed() -> None:
    net = Net()
    huge = net.dense("huge", 1, (1 << 31) - 1)
    graph = tiny.graph(net.tensors, [], [huge], net.operators)
    content = tiny.model([graph], net.codes, net.constants)
    assert find_columns(flatbuffer.parse(content, "net")) == {}
    # Thousands of large tensors that are said to make one of two values.
    net = Net()
    many = [net.dense(f"d{n}", 1, 1 << 20) for n in range(40)] * 100
    found = net.columns(net.joined(many, "joined", 1, 2))
    assert (found.labels.tolist(), found.names) == ([0, 1], ("joined",))


def test_a_graph_in_a_ring_ends() -> None:
    net = Net()
    one = net.tensor("one", 1, 2)
    other = net.add(Op.NEG, [one], "other", 1, 2)
    net.codes.append((Op.NEG, 1))
    net.operators.append(tiny.operator(1, [other], [one]))
    assert net.columns(other).labels.tolist() == [0, 1]


def test_plain_columns_lie_on_the_last_axis() -> None:
    found = plain_columns("y", (2, 3))
    assert found.labels.tolist() == [[0, 1, 2], [0, 1, 2]]
    assert (found.heads, found.names) == ((0, 0, 0), ("y",))
    assert plain_columns("y", ()).labels.shape == ()
