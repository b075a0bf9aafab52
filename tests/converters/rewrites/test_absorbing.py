from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeq.converters.graph.folding import find_unfolded
from edgeq.converters.rewrites.apply import rewrite
from tests.converters.rewrites.tiny_graphs import Builder, kinds, run, schema

GENERATOR = np.random.default_rng(0)
ROW = np.array([0.5, -2.0, 3.0], np.float32)
# Kind: shapes of the input, the weights and the result, of three channels each.
LAYERS = {
    "FULLY_CONNECTED": ([2, 4], [3, 4], [2, 3]),
    "CONV_2D": ([1, 5, 5, 2], [3, 3, 3, 2], [1, 3, 3, 3]),
    "DEPTHWISE_CONV_2D": ([1, 5, 5, 3], [1, 3, 3, 3], [1, 3, 3, 3]),
}


def layer(build: Builder, kind: str, *, bias: bool = True, activation: int = 0) -> int:
    given, weights, shape = LAYERS[kind]
    name = {"CONV_2D": "Conv2D", "DEPTHWISE_CONV_2D": "DepthwiseConv2D"}.get(kind, "FullyConnected")
    options = getattr(schema, f"{name}OptionsT")()
    options.fusedActivationFunction = activation
    if kind != "FULLY_CONNECTED":
        options.padding, options.strideH, options.strideW = 1, 1, 1
        options.dilationHFactor = options.dilationWFactor = options.depthMultiplier = 1
    inputs = [build.input(given), build.constant(GENERATOR.normal(size=weights))]
    inputs.append(build.constant(GENERATOR.normal(size=3)) if bias else -1)
    return build.add(kind, inputs, shape, options=options)


def then(build: Builder, index: int, kind: str, value: Any, *, first: bool = False,
         activation: int = 0) -> int:  # fmt: skip
    options = getattr(schema, f"{kind.capitalize()}OptionsT")()
    options.fusedActivationFunction = activation
    pair = [index, build.constant(value)]
    shape = list(build.graph.tensors[index].shape)
    return build.add(kind, pair[::-1] if first else pair, shape, options=options)


@pytest.mark.parametrize(
    ("kind", "bias"), [("FULLY_CONNECTED", False), *((kind, True) for kind in LAYERS)]
)
def test_a_batch_normalization_becomes_part_of_the_layer(kind: str, bias: bool) -> None:
    build = Builder()
    scaled = then(build, layer(build, kind, bias=bias), "MUL", ROW, first=True)
    content = build.content(then(build, scaled, "ADD", ROW + 1, activation=1))
    assert find_unfolded(content)
    made = rewrite(content)
    assert made.names == ("constants made part of weights (2)",)
    assert kinds(made.content) == [kind]
    assert find_unfolded(made.content) == ()
    sample = GENERATOR.normal(size=LAYERS[kind][0])
    expected = run(content, sample)[0]
    assert (expected == 0).any() and (expected > 0).any()
    np.testing.assert_allclose(run(made.content, sample)[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kind", "value"), [("SUB", [[2.0]]), ("DIV", ROW), ("ADD", [[ROW]])])
def test_other_arithmetic(kind: str, value: Any) -> None:
    build = Builder()
    name = "CONV_2D" if np.ndim(value) == 3 else "FULLY_CONNECTED"
    content = build.content(then(build, layer(build, name), kind, value))
    made = rewrite(content)
    assert kinds(made.content) == [name]
    sample = GENERATOR.normal(size=LAYERS[name][0])
    expected = run(content, sample)[0]
    np.testing.assert_allclose(run(made.content, sample)[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "arithmetic"),
    [
        ({"activation": 1}, {"kind": "MUL", "value": ROW}),  # is applied in between
        ({}, {"kind": "SUB", "value": ROW, "first": True}),
        ({}, {"kind": "ADD", "value": [[1.0], [2.0]]}),  # a constant for each row
        ({}, {"kind": "ADD", "value": [np.inf, 0, 0]}),
        ({}, {"kind": "ADD", "value": [0, -1e9, 0]}),  # a mask
        ({}, {"kind": "ADD", "value": ROW, "activation": 4}),  # TANH
    ],
)
def test_other_constants_stay(options: dict[str, Any], arithmetic: dict[str, Any]) -> None:
    build = Builder()
    content = build.content(then(build, layer(build, "FULLY_CONNECTED", **options), **arithmetic))
    assert rewrite(content).content is content


def test_a_layer_that_is_read_twice_stays() -> None:
    build = Builder()
    result = layer(build, "FULLY_CONNECTED")
    content = build.content(then(build, result, "MUL", ROW), build.add("ABS", [result], [2, 3]))
    assert rewrite(content).content is content


@pytest.mark.parametrize(
    ("stride", "size", "shift", "is_absorbed"),
    [(2, 2, 1.0, True), (1, 3, 1.0, False), (1, 3, 0.0, True), (1, 1, 1.0, True)],
)
def test_a_pointwise_depthwise_convolution_becomes_part_of_the_next_layer(
    stride: int, size: int, shift: float, is_absorbed: bool
) -> None:
    """A convolution that pads with zeros would see a border without the shift."""
    build = Builder()
    before = build.add("PRELU", [build.input([1, 4, 4, 3]), build.constant(ROW)], [1, 4, 4, 3])
    given = [before, build.constant(ROW.reshape(1, 1, 1, 3)), build.constant(shift * ROW)]
    scaled = build.add("DEPTHWISE_CONV_2D", given, [1, 4, 4, 3])
    weights = build.constant(GENERATOR.normal(size=(2, size, size, 3)))
    pair = [scaled, weights, build.constant([1.0, 2.0])]
    end = build.add("CONV_2D", pair, [1, 4 // stride, 4 // stride, 2])
    for operator in build.graph.operators[1:]:
        own = operator.builtinOptions
        own.strideH = own.strideW = own.dilationHFactor = own.dilationWFactor = 1
        own.depthMultiplier = 1
    own.strideH = own.strideW = stride
    content = build.content(end)
    made = rewrite(content)
    assert kinds(made.content) == ["PRELU", *["DEPTHWISE_CONV_2D"] * (not is_absorbed), "CONV_2D"]
    sample = GENERATOR.normal(size=(1, 4, 4, 3))
    np.testing.assert_allclose(
        run(made.content, sample)[0], run(content, sample)[0], rtol=1e-4, atol=1e-5
    )
