"""Which values of an output are one column, and of which head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from edgeq.accuracy import columns
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
        (made,) = self.add_all(kind, inputs, {name: shape}, options)
        return made

    def add_all(
        self,
        kind: int,
        inputs: Sequence[int],
        results: dict[str, tuple[int, ...]],
        options: Any = None,
    ) -> list[int]:
        made = [self.tensor(name, *shape) for name, shape in results.items()]
        self.codes.append((kind, 1))
        self.operators.append(tiny.operator(len(self.codes) - 1, inputs, made, options))
        return made

    def dense(self, name: str, *shape: int) -> int:
        inputs = [self.tensor(f"{name}-input", 1, 3), self.tensor("weights", 4, 3)]
        return self.add(Op.FULLY_CONNECTED, inputs, name, *shape)

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
    boxes = net.add(Op.CONV_2D, [image, image], "boxes", 1, 2, 2, 2)
    raw = net.add(Op.CONV_2D, [image, image], "raw", 1, 2, 2, 1)
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
    channels = net.add(Op.CONV_2D, [net.tensor("x", 1, 3, 1)] * 2, "channels", 1, 3, 2)
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


def options_of(kind: str, **values: int) -> Any:
    made = getattr(schema, f"{kind}OptionsT")()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def labels_beside(net: Net, whole: int, piece: int, *shape: int) -> Any:
    """The columns of a piece of six values, numbered as those of the whole."""
    size = 6 + int(np.prod(shape))
    flat = net.add(Op.RESHAPE, [piece, net.constant(np.int32([1, size - 6]))], "flat", 1, size - 6)
    found = net.columns(net.joined([whole, flat], "both", 1, size, axis=1))
    assert len(found.names) == 1, found.names
    assert found.labels[:6].tolist() == [0, 1, 2, 3, 4, 5]
    return found.labels[6:].reshape(shape).tolist()


@pytest.mark.parametrize(
    ("begins", "ends", "strides", "masks", "expected"),
    [
        ([0, 1], [1, 6], [1, 2], {}, [1, 3, 5]),
        ([0, 1], [1, 6], [1, 2], {"beginMask": 2}, [0, 2, 4]),
        ([0, 1], [1, 6], [1, 2], {"beginMask": 1}, [1, 3, 5]),
        ([0, 1], [1, 3], [1, 2], {"endMask": 2}, [1, 3, 5]),
        ([0, 1], [1, 4], [1, 1], {"endMask": 1}, [1, 2, 3]),
        ([0, 5], [1, 2], [1, -1], {}, [5, 4, 3]),
        ([0, 2], [1, 3], [1, 1], {"shrinkAxisMask": 2}, 2),
        ([0, 2], [1, 4], [1, 1], {"shrinkAxisMask": 1}, [2, 3]),
    ],
)
def test_strided_slices_are_followed(
    begins: list[int], ends: list[int], strides: list[int], masks: dict[str, int], expected: Any
) -> None:
    net = Net()
    whole = net.dense("whole", 1, 6)
    given = [net.constant(np.int32(values)) for values in (begins, ends, strides)]
    shape = np.shape(expected)
    own = shape if masks.get("shrinkAxisMask") == 1 else (1, *shape)
    options = options_of("StridedSlice", **masks)
    piece = net.add(Op.STRIDED_SLICE, [whole, *given], "piece", *own, options=options)
    assert labels_beside(net, whole, piece, *shape) == expected


@pytest.mark.parametrize("mask", ["ellipsisMask", "newAxisMask"])
def test_strided_slices_that_count_axes_otherwise_are_new_heads(mask: str) -> None:
    net = Net()
    given = [net.constant(np.int32(values)) for values in ([0, 0], [1, 6], [1, 1])]
    options = options_of("StridedSlice", **{mask: 1})
    inputs = [net.dense("whole", 1, 6), *given]
    assert net.columns(net.add(Op.STRIDED_SLICE, inputs, "out", 1, 6, options=options)).names == (
        "out",
    )


def test_splits_are_followed() -> None:
    net = Net()
    whole, axis = net.dense("whole", 1, 6), net.constant(np.int32(1))
    _, piece, _ = net.add_all(Op.SPLIT, [axis, whole], dict.fromkeys("abc", (1, 2)))
    assert labels_beside(net, whole, piece, 2) == [2, 3]
    net = Net()
    whole, axis = net.dense("whole", 1, 6), net.constant(np.int32(1))
    sizes = net.constant(np.int32([1, 3, 2]))
    results = {"a": (1, 1), "b": (1, 3), "c": (1, 2)}
    _, piece, _ = net.add_all(Op.SPLIT_V, [whole, sizes, axis], results)
    assert labels_beside(net, whole, piece, 3) == [1, 2, 3]


@pytest.mark.parametrize(("axis", "expected"), [(1, [3, 4, 5]), (2, [1, 4])])
def test_unpacked_values_are_followed(axis: int, expected: list[int]) -> None:
    net = Net()
    whole = net.dense("whole", 1, 6)
    table = net.add(Op.EXPAND_DIMS, [whole, net.constant(np.int32(0))], "table", 1, 2, 3)
    results = {f"r{n}": (1, len(expected)) for n in range(6 // len(expected))}
    pieces = net.add_all(Op.UNPACK, [table], results, options_of("Unpack", axis=axis))
    assert labels_beside(net, whole, pieces[1], len(expected)) == expected


@pytest.mark.parametrize(("batch_dims", "name"), [(0, "whole"), (1, "out")])
def test_gathers_of_each_sample_are_new_heads(batch_dims: int, name: str) -> None:
    net = Net()
    places = net.constant(np.int32([[4, 2]]))
    options = options_of("Gather", axis=1, batchDims=batch_dims)
    inputs = [net.dense("whole", 1, 6), places]
    shape = (1, 1, 2) if batch_dims == 0 else (1, 2)
    found = net.columns(net.add(Op.GATHER, inputs, "out", *shape, options=options))
    assert found.names == (name,)


def test_a_chain_beyond_the_limit_is_a_new_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "_DEEPEST", 4)
    for length, name in ((3, "whole"), (4, "n0")):
        net = Net()
        last = net.dense("whole", 1, 6)
        for number in range(length):
            last = net.add(Op.NEG, [last], f"n{number}", 1, 6)
        assert net.columns(last).names == (name,)


@pytest.mark.parametrize("kind", [Op.MUL, Op.DIV])
def test_one_factor_for_all_splits_no_column(kind: int) -> None:
    net = Net()
    inputs = [net.dense("y", 1, 2, 3), net.constant([2.0])]
    found = net.columns(net.add(kind, inputs, "scaled", 1, 2, 3))
    assert found.labels.tolist() == [[0, 1, 2]] * 2
    net = Net()
    inputs = [net.dense("y", 1, 2, 3), net.constant([[[2.0], [3.0]]])]
    found = net.columns(net.add(kind, inputs, "scaled", 1, 2, 3))
    assert len(np.unique(found.labels)) == 6


@pytest.mark.parametrize("is_constant", [True, False])
def test_a_sum_has_the_columns_of_the_operand_of_its_shape(is_constant: bool) -> None:
    net = Net()
    other = net.constant(np.ones((1, 2, 3))) if is_constant else net.dense("rows", 1, 1, 3)
    inputs = [other, net.dense("whole", 1, 2, 3)]
    assert net.columns(net.add(Op.ADD, inputs, "sum", 1, 2, 3)).names == ("whole",)


def test_parameters_that_are_computed_make_a_new_head() -> None:
    net = Net()
    order = net.tensor("order", 3)
    inputs = [net.dense("whole", 1, 2, 3), order]
    assert net.columns(net.add(Op.TRANSPOSE, inputs, "out", 1, 3, 2)).names == ("out",)


def test_other_operators_make_values_of_their_own() -> None:
    net = Net()
    both = net.joined([net.dense("a", 1, 2), net.dense("b", 1, 2)], "both", 1, 4)
    found = net.columns(net.add(Op.CUMSUM, [both, net.constant(np.int32(1))], "sums", 1, 4))
    assert (found.heads, found.names) == ((0, 0, 0, 0), ("sums",))


def test_a_shape_without_reason_is_not_followed() -> None:
    net = Net()
    huge = net.dense("huge", 1, (1 << 29) - 1)
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
