"""An output in parts, joined again, has the values of the whole one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgeq.converters.rewrites.outputs.parts import split_outputs
from edgeq.errors import SourceError
from edgeq.tflite import flatbuffer
from edgeq.tflite.joined_outputs import JOINS_KEY, join_outputs, join_specs, read_joins, set_joins
from tests.converters.rewrites.tiny_graphs import Builder, kinds, run, schema


def part(net: Builder, source: int, factor: float) -> int:
    shape = [int(size) for size in net.graph.tensors[source].shape]
    return net.add("MUL", [source, net.constant(factor)], shape)


def join(net: Builder, parts: list[int], axis: int) -> int:
    options = schema.ConcatenationOptionsT()
    options.axis = axis
    shape = [int(size) for size in net.graph.tensors[parts[0]].shape]
    shape[axis] = sum(int(net.graph.tensors[of].shape[axis]) for of in parts)
    return net.add("CONCATENATION", parts, shape, options=options)


def reshape(net: Builder, source: int, shape: list[int]) -> int:
    return net.add("RESHAPE", [source, net.constant(shape, "int32")], shape)


def transpose(net: Builder, source: int, order: list[int]) -> int:
    old = [int(size) for size in net.graph.tensors[source].shape]
    shape = [old[place] for place in order]
    return net.add("TRANSPOSE", [source, net.constant(order, "int32")], shape)


def beside(net: Builder, x: int) -> int:
    return join(net, [part(net, x, 2), part(net, x, 3)], -1)


def channels_first(net: Builder, x: int) -> int:
    rows = reshape(net, beside(net, x), [1, 6, 8])
    return transpose(net, rows, [0, 2, 1])


def levels(net: Builder, x: int) -> int:
    """Two levels of boxes beside scores, one behind the other."""
    rows = [
        reshape(net, join(net, [part(net, x, k), part(net, x, k + 1)], 3), [1, 6, 8])
        for k in (2, 4)
    ]
    return join(net, rows, 1)


def flat(net: Builder, x: int) -> int:
    return reshape(net, beside(net, x), [1, 48])


def three(net: Builder, x: int) -> int:
    """Two joins along one axis."""
    return join(net, [join(net, [part(net, x, 2), part(net, x, 3)], 3), part(net, x, 4)], 3)


@pytest.mark.parametrize(
    ("make", "count", "left"),
    [
        (beside, 2, {"MUL"}),
        (channels_first, 2, {"MUL", "RESHAPE", "TRANSPOSE"}),
        (levels, 4, {"MUL"}),
        (flat, 2, {"MUL"}),
        (three, 3, {"MUL"}),
    ],
)
def test_parts_make_the_whole(make: Callable[..., int], count: int, left: set[str]) -> None:
    net = Builder()
    x = net.input([1, 2, 3, 4])
    content = net.content(make(net, x), part(net, x, 9))
    values = np.random.default_rng(0).normal(size=(1, 2, 3, 4))
    whole, other = run(content, values)
    split, joins = split_outputs(content)
    assert set(kinds(split)) == left
    (found,) = joins
    assert len(found.parts) == count
    tree = flatbuffer.parse(split, "split")
    _, specs = flatbuffer.interface(tree)
    assert [spec.name for spec in specs] == [*found.parts, "t" + specs[-1].name[1:]]
    outputs = dict(zip((spec.name for spec in specs), run(split, values), strict=True))
    joined = join_outputs(outputs, joins)
    assert list(joined) == [found.name, specs[-1].name]
    assert np.array_equal(joined[found.name], whole)
    assert np.array_equal(joined[specs[-1].name], other)
    assert [spec.shape for spec in join_specs(specs, joins)] == [whole.shape, other.shape]
    set_joins(tree, joins)
    assert read_joins(tree, "split") == joins


def repeated(net: Builder, x: int) -> int:
    once = part(net, x, 2)
    return join(net, [once, once], 3)


def with_constant(net: Builder, x: int) -> int:
    return join(net, [part(net, x, 2), net.constant(np.ones((1, 2, 3, 1)))], 3)


def activated(net: Builder, x: int) -> int:
    found = beside(net, x)
    net.graph.operators[-1].builtinOptions.fusedActivationFunction = 1
    return found


def added(net: Builder, x: int) -> int:
    return net.add("MUL", [beside(net, x), net.constant(2.0)], [1, 2, 3, 8])


@pytest.mark.parametrize("make", [repeated, with_constant, activated, added, part])
def test_other_outputs_stay_as_they_are(make: Any) -> None:
    net = Builder()
    x = net.input([1, 2, 3, 4])
    content = net.content(make(net, x, 2) if make is part else make(net, x))
    assert split_outputs(content) == (content, ())


@pytest.mark.parametrize(
    "text",
    [
        b"[",
        b'[{"name":"y","shape":[1,4],"blocks":[{"repeat":1,"parts":[["t1",24]]}]}]',
        b'[{"name":"y","shape":[1,24],"blocks":[{"repeat":1,"parts":[["t9",24]]}]}]',
        b'[{"name":"y","shape":[1,24],"blocks":[{"repeat":0,"parts":[["t2",24]]}]}]',
        b'[{"name":"y","shape":[1,24],"blocks":[]}]',
    ],
)
def test_a_join_that_does_not_fit_is_refused(text: bytes) -> None:
    net = Builder()
    content = net.content(part(net, net.input([1, 2, 3, 4]), 2))
    tree = flatbuffer.parse(content, "m")
    flatbuffer.set_metadata(tree, JOINS_KEY, text)
    with pytest.raises(SourceError, match=r"m is damaged: its metadata edgeq\.joins cannot"):
        read_joins(tree, "m")
