from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeq.converters.calibration.logits import expose_logits, seen_limits
from edgeq.converters.calibration.saturation import (
    find_limits,
    limit_ranges,
    needed,
    needed_rows,
    read_by_softmax,
)
from edgeq.converters.graph import operator_stepper
from edgeq.tflite import flatbuffer
from edgeq.values import FloatModel, Ranges, TensorRange
from tests.converters.rewrites.tiny_graphs import Builder, run
from tests.tiny_models import Operator, graph, model, operator, tensor


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([3.0, 1.0, -20.0], (-5.0, 3.0)),  # everything 8 below the largest is 0
        ([30.0, 1.0, -20.0], (1.0, 9.0)),  # and the largest may come down to 8 above the second
        ([[3.0, 1.0], [5.0, 4.0]], (-5.0, 5.0)),
        ([[2.0]], (2.0, 2.0)),
        ([3.0, 1.0, -1000.0], (-5.0, 3.0)),  # masked values need nothing
        ([3.0, -20.0, -1000.0], (-20.0, 3.0)),  # but may not meet the others
        ([30.0, -1000.0, -1000.0], (22.0, 30.0)),
    ],
)
def test_what_a_softmax_needs(row: list[float], expected: tuple[float, float]) -> None:
    assert needed(np.array(row, np.float32)) == pytest.approx(expected)


def test_each_row_is_seen_on_its_own() -> None:
    low, high = needed_rows(np.array([[30.0, 1.0, -20.0], [3.0, 1.0, -20.0]], np.float32))
    assert low.tolist() == [[1.0], [-5.0]]
    assert high.tolist() == [[9.0], [3.0]]


def test_clipping_to_what_a_softmax_needs_stays_below_half_a_step() -> None:
    values = np.random.default_rng(0).normal(scale=12, size=(500, 10)).astype(np.float32)
    for row in values:
        clipped = np.clip(row, *needed(row))
        assert np.abs(softmax(clipped) - softmax(row)).max() < 1 / 256


def gate(kind: int, *, is_output: bool = False) -> bytes:
    """`SPLIT(x) -> LOGISTIC, kind`; the split's second half may be an output itself."""
    split = schema.SplitOptionsT()
    split.numSplits = 2
    tensors = [tensor("x", [1, 4]), tensor("axis", [], schema.TensorType.INT32, buffer=1),
               *(tensor(name, [1, 2]) for name in ("a", "b", "p", "q"))]  # fmt: skip
    steps = [operator(0, [1, 0], [2, 3], split), operator(1, [2], [4]), operator(2, [3], [5])]
    main = graph(tensors, [0], [4, 5, *([3] if is_output else [])], steps)
    codes = [(Operator.SPLIT, 1), (Operator.LOGISTIC, 1), (kind, 1)]
    return model([main], codes, [np.array(1, np.int32)])


def limits_of(content: bytes) -> dict[int, tuple[float, float]]:
    return find_limits(flatbuffer.parse(content, "it"), {})


def test_limits_pass_through_a_split() -> None:
    found = limits_of(gate(Operator.TANH))
    assert found == {2: (-8.0, 8.0), 3: (-4.0, 4.0)}
    tensors = tuple(TensorRange(i, n, -9.0, 2.0) for i, n in ((2, "a"), (3, "b"), (4, "p")))
    ranges = Ranges("edgeq", "mse", 9, tensors, "")
    cut = limit_ranges(gate(Operator.TANH), ranges, {})
    assert [(item.minimum, item.maximum) for item in cut.tensors] == [
        (-8.0, 2.0), (-4.0, 2.0), (-9.0, 2.0)
    ]  # fmt: skip
    assert cut.statistic == "mse-saturated"


def gated_sum(kind: int, options: object) -> bytes:
    """`LOGISTIC(kind(a, b))` of operands that operators make."""
    tensors = [tensor(name, [1, 2]) for name in ("x", "z", "a", "b", "s", "y")]
    steps = [operator(0, [0], [2]), operator(0, [1], [3]), operator(1, [2, 3], [4], options),
             operator(2, [4], [5])]  # fmt: skip
    codes = [(Operator.NEG, 1), (kind, 1), (Operator.LOGISTIC, 1)]
    return model([graph(tensors, [0, 1], [5], steps)], codes)


SPANS = {2: (-30.0, 60.0), 3: (-10.0, 9.0)}
SUMS = [
    (Operator.ADD, schema.AddOptionsT(), np.add, {2: (-17.0, 18.0), 3: (-68.0, 38.0)}),
    (Operator.SUB, schema.SubOptionsT(), np.subtract, {2: (-18.0, 17.0), 3: (-38.0, 68.0)}),
]


@pytest.mark.parametrize(("kind", "options", "sum_up", "expected"), SUMS)
def test_operands_end_where_the_other_cannot_bring_the_sum_back(
    kind: int, options: object, sum_up: np.ufunc, expected: dict[int, tuple[float, float]]
) -> None:
    found = find_limits(flatbuffer.parse(gated_sum(kind, options), "it"), {}, SPANS)
    assert found == {4: (-8.0, 8.0), **expected}


@pytest.mark.parametrize("spans", [{2: (-30, 60), 3: (-40, 50)}, {2: (-9, 2), 3: (0, 30)}, SPANS])
@pytest.mark.parametrize(("kind", "options", "sum_up", "_"), SUMS)
def test_cutting_both_operands_leaves_what_the_sigmoid_gives(
    kind: int, options: object, sum_up: np.ufunc, _: object, spans: dict[int, tuple[float, float]]
) -> None:
    found = find_limits(flatbuffer.parse(gated_sum(kind, options), "it"), {}, spans)
    ends = {index: np.linspace(*span, 301) for index, span in spans.items()}
    a, b = np.meshgrid(ends[2], ends[3])
    cut = sum_up(np.clip(a, *found[2]), np.clip(b, *found[3]))
    limited = np.clip(sum_up(a, b), -8, 8)
    np.testing.assert_allclose(np.clip(cut, -8, 8), limited, atol=1e-9)


def test_without_spans_nothing_is_known_of_operands() -> None:
    plain = gated_sum(Operator.ADD, schema.AddOptionsT())
    assert limits_of(plain) == {4: (-8.0, 8.0)}


def test_a_fused_activation_limits_the_operands_of_a_sum() -> None:
    fused = schema.AddOptionsT()
    fused.fusedActivationFunction = schema.ActivationFunctionType.RELU
    found = find_limits(flatbuffer.parse(gated_sum(Operator.ADD, fused), "it"), {}, SPANS)
    assert found == {4: (-8.0, 8.0), 2: (-9.0, 18.0), 3: (-60.0, 38.0)}


@pytest.mark.parametrize(("kind", "value", "expected"), [
    ("RELU", None, (0.0, np.inf)), ("RELU6", None, (0.0, 6.0)),
    ("HARD_SWISH", None, (-3.0, np.inf)),
    ("MAXIMUM", -0.5, (-0.5, np.inf)), ("MINIMUM", [1.0, 3.0], (-np.inf, 3.0)),
])  # fmt: skip
def test_a_clamp_tells_nothing_apart_beyond_its_end(
    kind: str, value: Any, expected: tuple[float, float]
) -> None:
    build = Builder()
    before = build.add("NEG", [build.input([1, 2])], [1, 2])
    end = () if value is None else (build.constant(value),)
    assert limits_of(build.content(build.add(kind, [before, *end], [1, 2]))) == {before: expected}
    other = build.add("ABS", [build.input([1, 2], name="z")], [1, 2])
    assert limits_of(build.content(build.add("MAXIMUM", [before, other], [1, 2]))) == {}


def test_limits_pass_back_through_a_leaky_relu() -> None:
    build = Builder()
    options = schema.LeakyReluOptionsT()
    options.alpha = 0.25
    before = build.add("NEG", [build.input([1, 2])], [1, 2])
    leaky = build.add("LEAKY_RELU", [before], [1, 2], options=options)
    content = build.content(build.add("MAXIMUM", [leaky, build.constant(-0.5)], [1, 2]))
    assert limits_of(content) == {before: (-2.0, np.inf), leaky: (-0.5, np.inf)}
    values = np.array([[3.0, 1.0]])
    np.testing.assert_array_equal(run(content, values), run(content, values.clip(max=2.0)))
    assert limits_of(build.content(leaky)) == {}


@pytest.mark.parametrize("content", [gate(Operator.NEG), gate(Operator.TANH, is_output=True)])
def test_a_reader_that_tells_all_values_apart_leaves_the_range(content: bytes) -> None:
    assert 3 not in limits_of(content)


def test_ranges_within_the_limits_stay_the_same_object() -> None:
    ranges = Ranges("edgeq", "minmax", 1, (TensorRange(2, "a", -1.0, 1.0),), "")
    assert limit_ranges(gate(Operator.TANH), ranges, {}) is ranges


def test_outputs_are_taken_before_the_softmax(float_cnn: FloatModel) -> None:
    content = Path(float_cnn.file.path).read_bytes()
    tree, before = flatbuffer.parse(content, "it"), flatbuffer.parse(expose_logits(content), "it")
    assert [i.name for i in flatbuffer.interface(tree)[1]] == [
        i.name for i in flatbuffer.interface(before)[1]
    ]
    (logits,) = read_by_softmax(tree)
    assert flatbuffer.indices(before.subgraphs[0].outputs) == (logits,)
    images = np.random.default_rng(0).uniform(0, 255, (3, 1, 28, 28, 1)).astype(np.float32)
    results = []
    for own in (tree, before):
        stepper = operator_stepper.Stepper(own, {"image": images})
        stepper.run_to(len(own.subgraphs[0].operators))
        results.append(stepper.real(flatbuffer.indices(own.subgraphs[0].outputs)[0]))
    np.testing.assert_allclose(softmax(results[1]), results[0], atol=1e-5)
    assert seen_limits(content, {logits: (-5.0, 7.0)}) == {"class": (-5.0, 7.0)}


def test_a_model_without_a_final_activation_stays_as_it_is() -> None:
    tree = flatbuffer.parse(expose_logits(gate(Operator.RELU, is_output=True)), "it")
    assert flatbuffer.indices(tree.subgraphs[0].outputs) == (2, 5, 3)
