from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgeq.converters.rewrites.apply import rewrite
from tests.converters.rewrites.tiny_graphs import Builder, kinds, run, schema

Make = Callable[[Builder, int], int]
X = np.array([[1.5, -2.25, 0.0], [0.5, 3.0, -1.0]], np.float32)


def binary(kind: str, value: Any, *, first: bool = False, activation: int = 0) -> Make:
    def make(build: Builder, x: int) -> int:
        pair = [x, build.constant(value)]
        options = None
        if activation:
            options = getattr(schema, f"{kind.capitalize()}OptionsT")()
            options.fusedActivationFunction = activation
        shape = np.broadcast_shapes((2, 3), np.shape(value))
        return build.add(kind, pair[::-1] if first else pair, shape, options=options)

    return make


def layout(kind: str, *values: Any, shape: tuple[int, ...] = (2, 3), options: Any = None) -> Make:
    def make(build: Builder, x: int) -> int:
        return build.add(
            kind,
            [
                x,
                *(
                    build.constant(v, "float32" if isinstance(v, float) else "int32")
                    for v in values
                ),
            ],
            shape,
            options=options,
        )

    return make


def cast(code: int, dtype: str) -> Make:
    def make(build: Builder, x: int) -> int:
        options = schema.CastOptionsT()
        options.inDataType, options.outDataType = 0, code
        made = build.add("CAST", [x], [2, 3], dtype, options=options)
        back = schema.CastOptionsT()
        back.inDataType, back.outDataType = code, 0
        return made if code == 0 else build.add("CAST", [made], [2, 3], options=back)

    return make


def model(make: Make) -> bytes:
    build = Builder()
    x = build.add("ABS", [build.input([2, 3])], [2, 3])
    result = make(build, x)
    shape = tuple(build.graph.tensors[result].shape)
    return build.content(build.add("COS", [result], shape))


@pytest.mark.parametrize("make", [
    binary("ADD", 0.0), binary("ADD", [0, 0, 0], first=True), binary("SUB", 0.0),
    binary("MUL", [[1.0]]), binary("DIV", 1.0), binary("POW", 1.0), binary("MAXIMUM", -np.inf),
    binary("MINIMUM", np.inf, first=True), layout("RESHAPE", [2, 3]), layout("TRANSPOSE", [0, 1]),
    layout("PAD", [[0, 0], [0, 0]]), layout("PADV2", [[0, 0], [0, 0]], 7.0),
    layout("SLICE", [0, 0], [2, -1]), layout("STRIDED_SLICE", [0, 0], [2, 3], [1, 1]),
    layout("TILE", [1, 1]), layout("CONCATENATION"), cast(0, "float32"),
])  # fmt: skip
def test_an_operator_without_effect_goes(make: Make) -> None:
    content = model(make)
    made = rewrite(content)
    assert made.names == ("operators without effect removed (1)",)
    assert kinds(made.content) == ["ABS", "COS"]
    np.testing.assert_array_equal(run(made.content, X)[0], run(content, X)[0])


@pytest.mark.parametrize("make", [
    binary("SUB", 0.0, first=True),  # 0 - x
    binary("DIV", 1.0, first=True), binary("ADD", [0, 0, 1]), binary("ADD", 0.0, activation=3),
    binary("MUL", np.ones((2, 2, 3))),  # makes the result larger
    binary("MAXIMUM", np.inf), layout("TRANSPOSE", [1, 0], shape=(3, 2)),
    layout("RESHAPE", [3, 2], shape=(3, 2)), layout("PAD", [[0, 1], [0, 0]], shape=(3, 3)),
    layout("STRIDED_SLICE", [-1, 0], [-3, 3], [-1, 1]),  # turns the rows round
    cast(2, "int32"),
])  # fmt: skip
def test_an_operator_with_an_effect_stays(make: Make) -> None:
    content = model(make)
    assert rewrite(content).content is content


def test_a_dynamic_shape_is_no_reason() -> None:
    build = Builder()
    x = build.add("ABS", [build.input([-1, 3])], [-1, 3])
    same = build.add("RESHAPE", [x, build.constant([3, -1], "int32")], [-1, 3])
    content = build.content(build.add("COS", [same], [-1, 3]))
    assert rewrite(content).content is content


@pytest.mark.parametrize("kind", ["SELECT", "SELECT_V2"])
@pytest.mark.parametrize("flags", [True, [[False] * 3] * 2])
def test_a_constant_condition_is_resolved(kind: str, flags: Any) -> None:
    build = Builder()
    x = build.input([2, 3])
    pair = [build.add("ABS", [x], [2, 3]), build.add("COS", [x], [2, 3])]
    chosen = build.add(kind, [build.constant(flags, "bool"), *pair], [2, 3])
    content = build.content(build.add("EXP", [chosen], [2, 3]))
    made = rewrite(content)
    assert made.names == ("SELECT with a constant condition resolved (1)",)
    assert kinds(made.content) == ["ABS" if np.all(flags) else "COS", "EXP"]
    np.testing.assert_array_equal(run(made.content, X)[0], run(content, X)[0])


def test_a_condition_that_varies_stays() -> None:
    build = Builder()
    x = build.input([2, 3])
    flags = build.constant([[True, False, True]] * 2, "bool")
    content = build.content(build.add("SELECT_V2", [flags, x, build.constant(0.5)], [2, 3]))
    assert rewrite(content).content is content


@pytest.mark.parametrize("kind, is_true", [("NOT_EQUAL", False), ("LESS", False),
                                           ("GREATER_EQUAL", True)])  # fmt: skip
def test_a_comparison_of_a_tensor_with_itself_is_known(kind: str, is_true: bool) -> None:
    build = Builder()
    x = build.input([2, 3])
    condition = build.add(kind, [x, x], [2, 3], "bool")
    missing = build.constant(np.full((2, 3), np.nan))
    pair = [x, missing] if is_true else [missing, x]
    chosen = build.add("SELECT_V2", [condition, *pair], [2, 3])
    content = build.content(build.add("EXP", [chosen], [2, 3]))
    made = rewrite(content)
    assert "comparison of a tensor with itself resolved (1)" in made.names
    assert kinds(made.content) == ["EXP"]
    np.testing.assert_array_equal(run(made.content, X)[0], run(content, X)[0])


def test_a_comparison_of_two_tensors_stays() -> None:
    build = Builder()
    x, y = build.input([2, 3]), build.input([2, 3], name="y")
    content = build.content(build.add("NOT_EQUAL", [x, y], [2, 3], "bool"))
    assert rewrite(content).content is content


LAYER = {"CONV_2D": ([2, 1, 1, 3], 2), "DEPTHWISE_CONV_2D": ([1, 1, 1, 3], 3)}


def layer(build: Builder, kind: str, x: int, *, fused: int = 0) -> int:
    """A layer with [1, 2, 2, ...] results that are negative, too."""
    random = np.random.default_rng(0)
    if kind not in LAYER:
        return build.add(kind, [x, build.constant(random.normal(size=(1, 2, 2, 3)))], [1, 2, 2, 3])
    shape, channels = LAYER[kind]
    inputs = [x, build.constant(random.normal(size=shape)), build.constant([0.1] * channels)]
    made = build.add(kind, inputs, [1, 2, 2, channels])
    options = build.graph.operators[-1].builtinOptions
    options.strideW = options.strideH = options.dilationWFactor = options.dilationHFactor = 1
    options.fusedActivationFunction = fused
    if kind == "DEPTHWISE_CONV_2D":
        options.depthMultiplier = 1
    return made


@pytest.mark.parametrize("kind", ["CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "SUB", "MUL"])
@pytest.mark.parametrize("activation", ["RELU", "RELU6", "RELU_N1_TO_1"])
def test_an_activation_becomes_part_of_the_operator_before(kind: str, activation: str) -> None:
    build = Builder()
    before = layer(build, kind, build.input([1, 2, 2, 3]))
    shape = tuple(build.graph.tensors[before].shape)
    content = build.content(build.add(activation, [before], shape))
    made = rewrite(content)
    assert made.names == ("activation fused into the operator before (1)",)
    assert kinds(made.content) == [kind]
    values = np.random.default_rng(1).normal(size=(1, 2, 2, 3)) * 4
    expected = run(content, values)[0]
    assert (expected == expected.min()).any() and np.ptp(expected) > 1
    np.testing.assert_array_equal(run(made.content, values)[0], expected)


def test_an_activation_stays_if_others_read_what_it_reads_or_no_kernel_fuses_it() -> None:
    build = Builder()
    x = build.input([1, 2, 2, 3])
    shared = layer(build, "CONV_2D", x)
    fused = layer(build, "CONV_2D", x, fused=3)
    cosine = build.add("COS", [x], [1, 2, 2, 3])
    ends = [
        build.add("RELU", [item], build.graph.tensors[item].shape)
        for item in (shared, fused, cosine)
    ]
    content = build.content(shared, *ends)
    assert rewrite(content).content is content
