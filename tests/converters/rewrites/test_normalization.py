from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgeq.converters.rewrites.apply import rewrite
from edgeq.converters.rewrites.editor import Editor
from edgeq.converters.rewrites.normalization import find_inner
from edgeq.tflite import flatbuffer
from tests.converters.rewrites.normal_forms import (
    BETA,
    FORMS,
    GAMMA,
    keras,
    litert_torch,
    onnx2tf,
    reduce,
    root_mean_square,
)
from tests.converters.rewrites.tiny_graphs import Builder, kinds, run, schema

_ROOT = ["ADD", "RSQRT", "MUL", "MUL", "RSQRT", "MUL"]
_STATISTICS = ["RESHAPE", "BATCH_MATMUL", "RESHAPE", *_ROOT]
_LAYER = ["MEAN", "SUB", *_STATISTICS, "MUL", "MUL", "ADD"]
_GROUPS = ["RESHAPE", "MEAN", "SUB", "MUL", "MEAN", *_ROOT, "MUL", "MUL", "ADD", "RESHAPE"]
_EXPECTED = {
    "root_mean_square": [*_STATISTICS, "MUL", "MUL"],
    "unit": [*_STATISTICS, "MUL"],
    "keras_groups": _GROUPS,
    "torch_groups": ["RESHAPE", *_LAYER, "RESHAPE"],
}


def samples() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [
        np.float32(scale * random.standard_normal((1, 6, 8)) + offset)
        for scale, offset in ((1, 0), (0.01, 0), (5, 3), (1, 20))
    ]


def check_equal(one: bytes, other: bytes, bound: float = 1e-5) -> None:
    for x in samples():
        expected, found = run(one, x)[0], run(other, x)[0]
        assert np.abs(found - expected).max() <= bound * np.abs(expected).max()


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_form_becomes_one(form: Callable[[Builder, int], int]) -> None:
    build = Builder()
    content = build.content(form(build, build.input([1, 6, 8])))
    made = rewrite(content)
    assert "normalization (1)" in made.names
    assert kinds(made.content) == _EXPECTED.get(form.__name__, _LAYER)
    # E[x^2] - E[x]^2 loses digits even in float32.
    check_equal(content, made.content, 1e-3 if form.__name__ == "old_keras" else 1e-5)
    assert rewrite(made.content).names == ()


def test_a_tensor_that_is_zero_stays_zero() -> None:
    build = Builder()
    made = rewrite(build.content(root_mean_square(build, build.input([1, 6, 8]))))
    np.testing.assert_array_equal(run(made.content, np.zeros((1, 6, 8)))[0], 0)


def test_a_fused_activation_and_a_residual_stay() -> None:
    build = Builder()
    x = build.input([1, 6, 8])
    normal = keras(build, x)
    build.graph.operators[-1].builtinOptions.fusedActivationFunction = 1
    content = build.content(build.add("ADD", [x, normal], [1, 6, 8]))
    made = rewrite(content).content
    assert kinds(made) == [*_LAYER, "ADD"]
    check_equal(content, made)


def test_a_normalization_of_a_normalization_is_two() -> None:
    build = Builder()
    content = build.content(onnx2tf(build, litert_torch(build, build.input([1, 6, 8]))))
    made = rewrite(content)
    assert made.names == ("normalization (2)",)
    assert kinds(made.content) == _LAYER * 2
    check_equal(content, made.content)


def _with_epsilon_outside(build: Builder, x: int) -> int:
    """x / (sqrt(variance) + epsilon)"""
    centred = build.add("SUB", [x, reduce(build, "MEAN", x, [2], [1, 6, 1])], [1, 6, 8])
    squares = reduce(build, "MEAN", build.add("SQUARE", [centred], [1, 6, 8]), [2], [1, 6, 1])
    root = build.add("SQRT", [squares], [1, 6, 1])
    divisor = build.add("ADD", [root, build.constant(0.1)], [1, 6, 1])
    return build.add("DIV", [centred, divisor], [1, 6, 8])


def _without_the_mean(build: Builder, x: int) -> int:
    """Keras's rms_scaling: divided by the standard deviation, but not centred."""
    squares = build.add(
        "SQUARED_DIFFERENCE", [x, reduce(build, "MEAN", x, [2], [1, 6, 1])], [1, 6, 8]
    )
    variance = reduce(build, "MEAN", squares, [2], [1, 6, 1])
    positive = build.add("ADD", [variance, build.constant(1e-3)], [1, 6, 1])
    return build.add("MUL", [x, build.add("RSQRT", [positive], [1, 6, 1])], [1, 6, 8])


def _of_other_axes(build: Builder, x: int) -> int:
    """The mean over one axis, the mean square over another."""
    centred = build.add("SUB", [x, reduce(build, "MEAN", x, [1], [1, 1, 8])], [1, 6, 8])
    variance = reduce(build, "MEAN", build.add("SQUARE", [x], [1, 6, 8]), [2], [1, 6, 1])
    positive = build.add("ADD", [variance, build.constant(1e-3)], [1, 6, 1])
    return build.add("MUL", [centred, build.add("RSQRT", [positive], [1, 6, 1])], [1, 6, 8])


def _of_absolute_values(build: Builder, x: int) -> int:
    """The mean of absolute values instead of squares."""
    mean = reduce(build, "MEAN", build.add("ABS", [x], [1, 6, 8]), [2], [1, 6, 1])
    positive = build.add("ADD", [mean, build.constant(1e-3)], [1, 6, 1])
    return build.add("MUL", [x, build.add("RSQRT", [positive], [1, 6, 1])], [1, 6, 8])


def _with_two_inputs(build: Builder, x: int) -> int:
    """Its gamma is computed from another input."""
    other = build.input([1, 6, 8], name="gamma")
    squares = build.add("SQUARE", [x], [1, 6, 8])
    positive = build.add("ADD", [reduce(build, "MEAN", squares, [2], [1, 6, 1]),
                                 build.constant(1e-3)], [1, 6, 1])  # fmt: skip
    scale = build.add("MUL", [build.add("RSQRT", [positive], [1, 6, 1]), other], [1, 6, 8])
    return build.add("MUL", [x, scale], [1, 6, 8])


@pytest.mark.parametrize(
    "form",
    [_with_epsilon_outside, _without_the_mean, _of_other_axes, _of_absolute_values,
     _with_two_inputs],
)  # fmt: skip
def test_near_misses_stay(form: Callable[[Builder, int], int]) -> None:
    build = Builder()
    content = build.content(form(build, build.input([1, 6, 8])))
    assert not any(name.startswith("normalization") for name in rewrite(content).names)


def test_an_inner_tensor_that_is_an_output_prevents_it() -> None:
    build = Builder()
    result = keras(build, build.input([1, 6, 8]))
    mean = build.graph.operators[0].outputs[0]
    assert "normalization (1)" not in rewrite(build.content(result, mean)).names


def test_a_dynamic_batch_stays() -> None:
    build = Builder()
    result = keras(build, build.input([-1, 6, 8]))
    for tensor in build.graph.tensors:
        if tensor.buffer == 0:
            tensor.shapeSignature = np.array([-1, *tensor.shape[1:]], np.int32)
    assert "normalization (1)" not in rewrite(build.content(result)).names


@pytest.mark.parametrize("damage", ["shape", "axis", "options", "constant"])
def test_a_damaged_file_stays(damage: str) -> None:
    build = Builder()
    result = keras(build, build.input([1, 6, 8]))
    mean, squares = build.graph.operators[0], build.graph.operators[2]
    if damage == "shape":
        build.graph.tensors[squares.outputs[0]].shape = [1, 6, 9]
    if damage == "axis":
        mean.inputs = [mean.inputs[0], build.constant([3], "int32")]
    if damage == "options":
        mean.builtinOptions = None
    if damage == "constant":
        build.graph.operators[4].inputs[1] = build.constant(np.ones((1, 7, 1)))
    assert "normalization (1)" not in rewrite(build.content(result)).names


def test_a_very_large_tensor_stays() -> None:
    build = Builder()
    x = build.input([1, 1 << 20, 8])
    centred = build.add("SUB", [x, reduce(build, "MEAN", x, [2], [1, 1 << 20, 1])], [1, 1 << 20, 8])
    square = build.add("MUL", [centred, centred], [1, 1 << 20, 8])
    root = build.add("RSQRT", [reduce(build, "MEAN", square, [2], [1, 1 << 20, 1])],
                     [1, 1 << 20, 1])  # fmt: skip
    assert rewrite(build.content(build.add("MUL", [centred, root], [1, 1 << 20, 8]))).names == ()


# ---------------------------------------------------------------- the inside, in INT16


def test_the_inside_is_found_and_nothing_around_it() -> None:
    build = Builder()
    x = build.add("ABS", [build.input([1, 6, 8])], [1, 6, 8])
    normal = keras(build, x)
    made = rewrite(build.content(build.add("COS", [normal], [1, 6, 8]))).content
    editor = Editor(flatbuffer.parse(made, "m"))
    inner = find_inner(editor)
    assert kinds(made) == ["ABS", *_LAYER, "COS"]
    assert inner.operators == set(range(1, 1 + len(_LAYER)))
    names = {editor.tensor_name(index).rpartition("/")[2] for index in inner.unities}
    assert names == {"unity", "correction"}


def test_the_ranges_leave_room_for_the_correction() -> None:
    build = Builder()
    made = rewrite(build.content(keras(build, build.input([1, 6, 8])))).content
    editor = Editor(flatbuffer.parse(made, "m"))
    inner = find_inner(editor)
    spans = dict.fromkeys(range(len(editor.graph.tensors)), (1.0, 1.0))
    (energy,) = set(inner.roots.values())
    spans[energy] = (1e-8, 4.0)
    spans |= dict.fromkeys(inner.roots, (0.5, 1e4))
    widened = inner.widen(spans)
    assert sorted(widened.values()) == [(0.0, 2.0), (0.0, 4.0), (0.0, 128.0), (0.0, 128.0)]


def test_what_only_looks_like_the_inside_is_not() -> None:
    build = Builder()
    x = build.input([1, 6, 8])
    root = build.add("RSQRT", [x], [1, 6, 8])
    part = build.add("MUL", [x, root], [1, 6, 8])
    again = build.add("RSQRT", [build.add("MUL", [part, x], [1, 6, 8])], [1, 6, 8])
    content = build.content(
        build.add("MUL", [x, build.add("MUL", [root, again], [1, 6, 8])], [1, 6, 8])
    )
    assert find_inner(Editor(flatbuffer.parse(content, "m"))).operators == frozenset()


# ---------------------------------------------------------------- the mean of a layer


def _layer(build: Builder, kind: str, activation: int = 0) -> tuple[int, int]:
    """A layer with eight channels at six places; its input and its result."""
    random = np.random.default_rng(3)
    options = (
        schema.FullyConnectedOptionsT() if kind == "FULLY_CONNECTED" else schema.Conv2DOptionsT()
    )
    options.fusedActivationFunction = activation
    shape = [6, 5]
    if kind == "CONV_2D":
        shape, options.strideW, options.strideH = [1, 6, 1, 5], 1, 1
        options.dilationWFactor = options.dilationHFactor = 1
    weights = random.standard_normal((8, 1, 1, 5) if kind == "CONV_2D" else (8, 5))
    x = build.input(shape)
    result = build.add(kind, [x, build.constant(weights), build.constant(BETA + 1)],
                       [*shape[:-1], 8], options=options)  # fmt: skip
    return x, result


def _normalize(build: Builder, x: int) -> int:
    shape = [int(size) for size in build.graph.tensors[x].shape]
    small = [*shape[:-1], 1]
    centred = build.add("SUB", [x, reduce(build, "MEAN", x, [-1], small)], shape)
    variance = reduce(build, "MEAN", build.add("SQUARE", [centred], shape), [-1], small)
    root = build.add("RSQRT", [build.add("ADD", [variance, build.constant(1e-3)], small)], small)
    return build.add(
        "MUL", [build.add("MUL", [centred, root], shape), build.constant(GAMMA)], shape
    )


@pytest.mark.parametrize("kind", ["FULLY_CONNECTED", "CONV_2D"])
def test_the_layer_before_subtracts_the_mean(kind: str) -> None:
    build = Builder()
    x, result = _layer(build, kind)
    content = build.content(_normalize(build, result))
    made = rewrite(content)
    assert "mean folded into the previous layer (1)" in made.names
    assert kinds(made.content) == [kind, *_STATISTICS, "MUL", "MUL"]
    shape = build.graph.tensors[x].shape
    given = np.random.default_rng(1).standard_normal(shape)
    expected, found = run(content, given)[0], run(made.content, given)[0]
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_a_convolution_in_groups_keeps_its_mean() -> None:
    build = Builder()
    options = schema.Conv2DOptionsT()
    options.strideW = options.strideH = options.dilationWFactor = options.dilationHFactor = 1
    weights = build.constant(np.random.default_rng(2).standard_normal((8, 1, 1, 1)))
    inputs = [build.input([1, 6, 1, 8]), weights, build.constant(BETA)]
    result = build.add("CONV_2D", inputs, [1, 6, 1, 8], options=options)
    content = build.content(_normalize(build, result))
    made = rewrite(content)
    assert "normalization (1)" in made.names
    assert not any(name.startswith("mean") for name in made.names)
    given = np.random.default_rng(1).standard_normal((1, 6, 1, 8))
    np.testing.assert_allclose(run(made.content, given)[0], run(content, given)[0], rtol=1e-4)


@pytest.mark.parametrize("reason", ["activation", "another reader", "an output"])
def test_the_layer_before_keeps_its_mean(reason: str) -> None:
    build = Builder()
    _, result = _layer(build, "FULLY_CONNECTED", activation=int(reason == "activation"))
    outputs = [_normalize(build, result)]
    if reason == "another reader":
        outputs.append(build.add("ABS", [result], [6, 8]))
    if reason == "an output":
        outputs.append(result)
    made = rewrite(build.content(*outputs))
    assert "normalization (1)" in made.names
    assert not any(name.startswith("mean") for name in made.names)


# ---------------------------------------------------------------- gamma and beta of a layer


def _dense(build: Builder, x: int, *, has_bias: bool = True) -> int:
    random = np.random.default_rng(5)
    options = schema.FullyConnectedOptionsT()
    options.keepNumDims = True
    bias = build.constant(random.standard_normal(4)) if has_bias else -1
    inputs = [x, build.constant(random.standard_normal((4, 8))), bias]
    return build.add("FULLY_CONNECTED", inputs, [1, 6, 4], options=options)


@pytest.mark.parametrize("has_bias", [True, False])
def test_the_layers_behind_take_gamma_and_beta(has_bias: bool) -> None:
    build = Builder()
    normal = keras(build, build.input([1, 6, 8]))
    content = build.content(_dense(build, normal, has_bias=has_bias), _dense(build, normal))
    made = rewrite(content)
    assert made.names == ("normalization (1)", "gamma and beta folded into the next layer (2)")
    assert kinds(made.content) == [*_LAYER[:-2], "FULLY_CONNECTED", "FULLY_CONNECTED"]
    check_equal(content, made.content)
    inner = find_inner(Editor(flatbuffer.parse(made.content, "m")))
    assert inner.operators == set(range(len(_LAYER) - 2))


@pytest.mark.parametrize("reason", ["another reader", "an output", "an activation", "no norm"])
def test_the_layers_behind_stay(reason: str) -> None:
    build = Builder()
    x = build.input([1, 6, 8])
    normal = keras(build, x)
    if reason == "an activation":
        build.graph.operators[-1].builtinOptions.fusedActivationFunction = 1
    if reason == "no norm":
        normal = build.add("MUL", [x, build.constant(GAMMA)], [1, 6, 8])
    outputs = [_dense(build, normal)]
    if reason == "another reader":
        outputs.append(build.add("ABS", [normal], [1, 6, 8]))
    if reason == "an output":
        outputs.append(normal)
    made = rewrite(build.content(*outputs))
    assert not any(name.startswith("gamma") for name in made.names)


@pytest.mark.parametrize("reason", ["one tensor", "not a square", "negative"])
def test_the_inside_of_another_root_is_not_found(reason: str) -> None:
    build = Builder()
    x, y = build.input([1, 6, 8]), build.input([1, 6, 8], name="y")
    other = {"one tensor": (x, x), "not a square": (x, y), "negative": (y, y)}[reason]
    squares = [build.add("MUL", pair, [1, 6, 8]) for pair in ((x, x), other)]
    kind = "SUB" if reason == "negative" else "ADD"
    content = build.content(build.add("SQRT", [build.add(kind, squares, [1, 6, 8])], [1, 6, 8]))
    assert not find_inner(Editor(flatbuffer.parse(content, "m"))).operators
