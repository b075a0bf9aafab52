from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from edgeq.converters.rewrites.apply import rewrite
from edgeq.converters.rewrites.functions import gelu
from edgeq.tflite import flatbuffer
from tests.converters.rewrites.tiny_graphs import Builder, kinds, run, schema

SHAPE = [1, 201]
VALUES = np.linspace(-30, 30, 201, dtype=np.float32).reshape(SHAPE)


class Formula(Builder):
    """Operators of one shape; numbers become constants."""

    def of(self, kind: str, *inputs: int | float, dtype: str = "float32") -> int:
        known = [self.constant(item) if isinstance(item, float) else item for item in inputs]
        return self.add(kind, known, SHAPE, dtype)


def gelu_with_tanh(build: Formula, x: int) -> int:
    """The operators that onnx2tf writes."""
    cube = build.of("MUL", build.of("MUL", x, x), x)
    inner = build.of("ADD", x, build.of("MUL", cube, 0.044715))
    tanh = build.of("TANH", build.of("MUL", inner, math.sqrt(2 / math.pi)))
    return build.of("MUL", build.of("MUL", x, 0.5), build.of("ADD", tanh, 1.0))


def gelu_with_erf(build: Formula, x: int) -> int:
    """erf as onnx2tf writes it: Abramowitz and Stegun, formula 7.1.26."""
    scaled = build.of("MUL", x, math.sqrt(0.5))
    size, sign = build.of("ABS", scaled), build.of("SIGN", scaled)
    part = build.of("DIV", 1.0, build.of("ADD", 1.0, build.of("MUL", size, 0.3275911)))
    total = build.of("MUL", part, 1.061405429)
    for number in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        total = build.of("MUL", build.of("ADD", total, number), part)
    power = build.of("EXP", build.of("MUL", build.of("MUL", size, size), -1.0))
    erf = build.of("MUL", sign, build.of("SUB", 1.0, build.of("MUL", total, power)))
    return build.of("MUL", x, build.of("MUL", build.of("ADD", erf, 1.0), 0.5))


def hard_swish(build: Formula, x: int) -> int:
    """The operators that onnx2tf and litert-torch write."""
    shifted = build.of("ADD", x, 3.0)
    build.graph.operators[-1].builtinOptions.fusedActivationFunction = 3
    return build.of("MUL", x, build.of("MUL", shifted, 1 / 6))


def elu(build: Formula, x: int) -> int:
    """The operators that litert-torch writes."""
    below = build.of("SUB", build.of("EXP", x), 1.0)
    is_above = build.of("GREATER_EQUAL", x, 0.0, dtype="bool")
    return build.of("SELECT", is_above, x, below)


def leaky_relu(build: Formula, x: int) -> int:
    """PReLU with one slope as litert-torch writes it."""
    below = build.of("RELU", build.of("MUL", x, -1.0))
    return build.of("SUB", build.of("RELU", x), build.of("MUL", below, 0.2))


_KNOWN = [(gelu_with_tanh, "GELU"), (gelu_with_erf, "GELU"), (hard_swish, "HARD_SWISH"),
          (elu, "ELU"), (leaky_relu, "LEAKY_RELU")]  # fmt: skip


@pytest.mark.parametrize(("formula", "expected"), _KNOWN)
def test_a_formula_becomes_its_operator(
    formula: Callable[[Formula, int], int], expected: str
) -> None:
    build = Formula()
    content = build.content(formula(build, build.input(SHAPE)))
    made = rewrite(content)
    assert made.names == ("activation as one operator (1)",)
    assert kinds(made.content) == [expected]
    difference = np.abs(run(made.content, VALUES)[0] - run(content, VALUES)[0])
    assert (difference <= 1e-5 * np.maximum(1, np.abs(VALUES))).all()


def test_the_two_forms_of_gelu_differ_by_the_stated_bound() -> None:
    x = np.linspace(-10, 10, 40001)
    difference = np.abs(gelu(x) - gelu(x, approximate=True)).max()
    assert 4.7e-4 < difference < 4.8e-4
    for formula, is_approximate in ((gelu_with_tanh, True), (gelu_with_erf, False)):
        build = Formula()
        tree = flatbuffer.parse(
            rewrite(build.content(formula(build, build.input(SHAPE)))).content, "m"
        )
        assert tree.subgraphs[0].operators[0].builtinOptions.approximate is is_approximate


def test_it_is_found_within_other_operators() -> None:
    build = Formula()
    x = build.of("ADD", build.input(SHAPE), 0.5)
    made = rewrite(build.content(build.of("MUL", hard_swish(build, x), 2.0)))
    assert kinds(made.content) == ["ADD", "HARD_SWISH", "MUL"]


def _quick_gelu(build: Formula, x: int) -> int:
    return build.of("MUL", x, build.of("LOGISTIC", build.of("MUL", x, 1.702)))


def _other_number(build: Formula, x: int) -> int:
    """HARD_SWISH with 1 / 5 instead of 1 / 6."""
    shifted = build.of("MINIMUM", build.of("MAXIMUM", build.of("ADD", x, 3.0), 0.0), 6.0)
    return build.of("MUL", x, build.of("MUL", shifted, 0.2))


def _far_branch(build: Formula, x: int) -> int:
    """HARD_SWISH up to 500, and 0 beyond."""
    is_far = build.of("GREATER", x, 500.0, dtype="bool")
    return build.of("SELECT_V2", is_far, 0.0, hard_swish(build, x))


def _inner_output(build: Formula, x: int) -> int:
    """HARD_SWISH with an inner tensor that something else reads."""
    result = hard_swish(build, x)
    return build.of("ADD", result, build.graph.operators[-2].outputs[0])


@pytest.mark.parametrize("formula", [_quick_gelu, _other_number, _inner_output])
def test_near_misses_stay(formula: Callable[[Formula, int], int]) -> None:
    build = Formula()
    assert rewrite(build.content(formula(build, build.input(SHAPE)))).names == ()


def test_only_the_inside_of_another_branch_is_replaced() -> None:
    build = Formula()
    content = build.content(_far_branch(build, build.input(SHAPE)))
    made = rewrite(content).content
    assert kinds(made) == ["GREATER", "HARD_SWISH", "SELECT_V2"]
    np.testing.assert_allclose(run(made, VALUES * 30)[0], run(content, VALUES * 30)[0], rtol=1e-5)


def test_a_constant_for_each_channel_prevents_it() -> None:
    build = Formula()
    x = build.input(SHAPE)
    factor = build.constant(np.linspace(0.1, 0.3, SHAPE[1]))
    shifted = build.add("ADD", [x, build.constant(3.0)], SHAPE, options=schema.AddOptionsT())
    build.graph.operators[-1].builtinOptions.fusedActivationFunction = 3
    gate = build.add("MUL", [shifted, factor], SHAPE)
    assert rewrite(build.content(build.of("MUL", x, gate))).names == ()
