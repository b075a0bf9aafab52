from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgeq.converters.calibration.channel_groups import find_groups
from edgeq.converters.calibration.equalization import Way, equalize
from edgeq.converters.calibration.grouped_channels import KEPT
from edgeq.tflite import flatbuffer
from tests.converters.rewrites.tiny_graphs import Builder, run, schema

SIZE = 8


def layer(build: Builder, source: int, count: int, bias: int | None = None) -> int:
    """A pointwise convolution with random weights."""
    random = np.random.default_rng(len(build.graph.tensors))
    shape = list(build.graph.tensors[source].shape)
    weights = build.constant(random.normal(size=(count, 1, 1, shape[-1])))
    own = build.constant(random.normal(size=count)) if bias is None else bias
    made = build.add("CONV_2D", [source, weights, own], [*shape[:-1], count])
    options = build.graph.operators[-1].builtinOptions
    options.strideW = options.strideH = 1
    options.dilationWFactor = options.dilationHFactor = 1
    return made


def options(kind: str, **fields: Any) -> Any:
    made = getattr(schema, f"{kind}OptionsT")()
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def residual(build: Builder, x: int) -> int:
    return build.add("ADD", [x, layer(build, x, SIZE)], [1, 4, 4, SIZE])


def padded(build: Builder, x: int) -> int:
    """Zero channels behind, as BlazeFace has them before a residual ADD."""
    wide = build.constant([[0, 0], [0, 0], [0, 0], [0, 2]], "int32")
    made = build.add("PAD", [x, wide], [1, 4, 4, SIZE + 2])
    return build.add("ADD", [made, layer(build, x, SIZE + 2)], [1, 4, 4, SIZE + 2])


def joined(build: Builder, x: int) -> int:
    own = options("Concatenation", axis=-1)
    return build.add("CONCATENATION", [x, layer(build, x, 2)], [1, 4, 4, SIZE + 2], options=own)


def spread(build: Builder, x: int) -> int:
    own = options("DepthToSpace", blockSize=2)
    return build.add("DEPTH_TO_SPACE", [x], [1, 8, 8, SIZE // 4], options=own)


def resized(build: Builder, x: int) -> int:
    size = build.constant([8, 8], "int32")
    return build.add("RESIZE_BILINEAR", [x, size], [1, 8, 8, SIZE])


def gated(build: Builder, x: int) -> int:
    gate = build.add("LOGISTIC", [layer(build, x, SIZE)], [1, 4, 4, SIZE])
    return build.add("MUL", [gate, x], [1, 4, 4, SIZE])


def averaged(build: Builder, x: int) -> int:
    axes = build.constant([1, 2], "int32")
    own = options("Reducer", keepDims=True)
    return build.add("MEAN", [x, axes], [1, 1, 1, SIZE], options=own)


def sliced(build: Builder, x: int) -> int:
    """Half of the channels, as a residual path of fewer channels takes them."""
    ends = [build.constant(own, "int32") for own in ([0, 0, 0, 2], [1, 4, 4, 6], [1, 1, 1, 1])]
    return build.add("STRIDED_SLICE", [x, *ends], [1, 4, 4, 4])


def turned(build: Builder, x: int) -> int:
    """A transposed convolution is a layer, too."""
    random = np.random.default_rng(2)
    size = build.constant([1, 8, 8, SIZE], "int32")
    weights = build.constant(random.normal(size=(SIZE, 2, 2, SIZE)))
    given = [size, weights, x, build.constant(random.normal(size=SIZE))]
    own = options("TransposeConv", strideW=2, strideH=2)
    return build.add("TRANSPOSE_CONV", given, [1, 8, 8, SIZE], options=own, version=3)


def bent(build: Builder, x: int) -> int:
    return build.add("PRELU", [x, build.constant(np.linspace(-0.5, 2, SIZE))], [1, 4, 4, SIZE])


def attended(build: Builder, x: int) -> int:
    """Values of two heads, each position's a mix of all positions'."""
    heads = build.add("RESHAPE", [x, build.constant([1, 16, 2, 4], "int32")], [1, 16, 2, 4])
    turn = build.constant([0, 2, 1, 3], "int32")
    values = build.add("TRANSPOSE", [heads, turn], [1, 2, 16, 4])
    score = build.constant(np.random.default_rng(4).uniform(size=(1, 2, 16, 16)))
    mixed = build.add(
        "BATCH_MATMUL", [score, values], [1, 2, 16, 4], options=options("BatchMatMul")
    )
    back = build.add("TRANSPOSE", [mixed, turn], [1, 16, 2, 4])
    return build.add("RESHAPE", [back, build.constant([1, 4, 4, SIZE], "int32")], [1, 4, 4, SIZE])


def added(build: Builder, x: int) -> int:
    return build.add("SUB", [build.constant(np.arange(SIZE) + 1), x], [1, 4, 4, SIZE])


PASSING = (added, attended, averaged, bent, gated, joined, padded, residual, resized, sliced,
           spread, turned)  # fmt: skip


@pytest.mark.parametrize("between", PASSING)
def test_factors_pass_through(between: Callable[[Builder, int], int]) -> None:
    """With other factors for all groups, the model computes the same."""
    build, random = Builder(), np.random.default_rng(1)
    first = layer(build, build.input([1, 4, 4, 3]), SIZE)
    end = between(build, first)
    content = build.content(layer(build, end, 2))
    found = find_groups(flatbuffer.parse(content, "m"))
    assert {first, end} <= found.tensors
    channels = {
        index: np.stack([np.zeros(own.shape), random.uniform(0.1, 1, found.count)[own]])
        for index, own in found.groups.items()
    }
    made = equalize(content, channels, Way(1.0))
    assert made.factors[first].max() > 1.1
    values = random.normal(size=(1, 4, 4, 3))
    (ours,), (theirs,) = run(content, values), run(made.content, values)
    np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("reason", ["", "an output", "two readers", "another axis"])
def test_embeddings_give_factors(reason: str) -> None:
    build, random = Builder(), np.random.default_rng(1)
    peaks = np.array([1, 10, 1, 1, 1, 1, 1, 1])
    table = build.constant(random.normal(size=(8, SIZE)) * peaks)
    tokens = build.input([4, 4], "int32")
    own = options("Gather", axis=int(reason == "another axis"))
    found = build.add("GATHER", [table, tokens], [4, 4, SIZE], options=own)
    image = build.add("RESHAPE", [found, build.constant([1, 4, 4, SIZE], "int32")], [1, 4, 4, SIZE])
    ends = [layer(build, image, 2)]
    if reason == "an output":
        ends.append(found)
    if reason == "two readers":
        ends.append(build.add("ABS", [table], [8, SIZE]))
    content = build.content(*ends)
    channels = {index: np.stack([-3 * peaks, 3 * peaks]) for index in (found, image)}
    made = equalize(content, channels, Way(1.0))
    if reason:
        assert made.factors == {}
        return
    assert set(made.factors) == {found, image}
    assert made.factors[found][1] == 1 and (np.delete(made.factors[found], 1) > 4).all()
    values = random.integers(0, 8, (4, 4)).astype(np.int32)
    np.testing.assert_allclose(run(made.content, values)[0], run(content, values)[0], rtol=1e-4)


def added_scalar(build: Builder, x: int) -> int:
    return build.add("ADD", [x, build.constant(2.0)], [1, 4, 4, SIZE])


def squared(build: Builder, x: int) -> int:
    return build.add("MUL", [x, x], [1, 4, 4, SIZE])


def averaged_channels(build: Builder, x: int) -> int:
    """The last axis counts rows afterwards."""
    return build.add("MEAN", [x, build.constant([0, 3], "int32")], [4, 4])


def also_an_output(build: Builder, x: int) -> int:
    build.graph.outputs = [x]
    return x


@pytest.mark.parametrize("between", [added_scalar, squared, averaged_channels, also_an_output])
def test_units_stay(between: Callable[[Builder, int], int]) -> None:
    build = Builder()
    first = layer(build, build.input([1, 4, 4, 3]), SIZE)
    end = between(build, first)
    last = layer(build, end, 2) if end == first else end
    build.finish(*{last, *(getattr(build.graph, "outputs", None) or ())})
    found = find_groups(build.tree)
    assert (found.groups[first] == KEPT).all()


def test_layers_that_share_weights_are_left_alone() -> None:
    build = Builder()
    first = layer(build, build.input([1, 4, 4, 3]), SIZE)
    weights = int(build.graph.operators[-1].inputs[1])
    second = layer(build, first, 3)
    third = layer(build, second, SIZE)
    build.graph.operators[-1].inputs[1] = weights
    build.finish(layer(build, third, 2))
    found = find_groups(build.tree)
    assert found.tensors == frozenset()
    assert len(found.layers) == 2


def test_a_model_without_floats_has_no_groups() -> None:
    build = Builder()
    x = build.input([1, 2], "int32")
    build.finish(build.add("ADD", [x, x], [1, 2], "int32"))
    assert find_groups(build.tree).tensors == frozenset()
