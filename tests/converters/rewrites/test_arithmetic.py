from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeq import api
from edgeq.accuracy.verdict import worst_sqnr_db
from edgeq.converters.rewrites.apply import rewrite
from tests.converters.rewrites.tiny_graphs import Builder, kinds, run, schema

VALUES = np.array([[-3.0, -1.0, -0.25, 0.0, 0.5, 2.0]], np.float32)
POSITIVE = np.array([[0.01, 0.3, 1.0, 2.0, 5.0, 40.0]], np.float32)


def unary(kind: str) -> bytes:
    build = Builder()
    return build.content(build.add(kind, [build.input([1, 6])], [1, 6]))


def binary(kind: str, constant: object, activation: int = 0) -> bytes:
    build = Builder()
    options = None
    if kind == "DIV":
        options = schema.DivOptionsT()
        options.fusedActivationFunction = activation
    inputs = [build.input([1, 6]), build.constant(constant)]
    return build.content(build.add(kind, inputs, [1, 6], options=options))


@pytest.mark.parametrize("kind", ["NEG", "SQUARE", "ZEROS_LIKE"])
def test_signs_and_squares_are_products(kind: str) -> None:
    content = unary(kind)
    made = rewrite(content)
    assert made.names == (f"{kind} as MUL (1)",)
    assert kinds(made.content) == ["MUL"]
    np.testing.assert_array_equal(run(made.content, VALUES)[0], run(content, VALUES)[0])


@pytest.mark.parametrize(
    ("exponent", "expected"),
    [(2.0, ["MUL"]), (3.0, ["MUL"] * 2), (4.0, ["MUL"] * 2), (0.5, ["SQRT"]), (-0.5, ["RSQRT"])],
)
def test_powers_are_products_or_roots(exponent: float, expected: list[str]) -> None:
    content = binary("POW", exponent)
    made = rewrite(content)
    assert made.names == ("POW as MUL, SQRT or RSQRT (1)",)
    assert kinds(made.content) == expected
    given = VALUES if exponent > 1 else POSITIVE
    np.testing.assert_allclose(run(made.content, given)[0], run(content, given)[0], rtol=1e-6)


@pytest.mark.parametrize("exponent", [1.7, -1.0, 5.0, [2.0, 2.0, 2.0, 2.0, 2.0, 3.0]])
def test_other_powers_stay(exponent: object) -> None:
    assert rewrite(binary("POW", exponent)).names == ()


@pytest.mark.parametrize("divisor", [3.0, [[1.0, -2.0, 3.0, 1e6, 1e-6, 7.0]]])
def test_a_division_by_constants_is_a_product(divisor: object) -> None:
    content = binary("DIV", divisor, activation=1)
    made = rewrite(content)
    assert made.names == ("DIV by a constant as MUL (1)",)
    assert kinds(made.content) == ["MUL"]
    found = run(made.content, VALUES)[0]
    assert found.min() == 0  # the fused RELU
    np.testing.assert_allclose(found, run(content, VALUES)[0], rtol=1e-6)


@pytest.mark.parametrize("divisor", [0.0, [1.0, 2.0, 0.0, 1.0, 1.0, 1.0], 1e-42, 1e38 * 3])
def test_a_division_without_a_reciprocal_stays(divisor: object) -> None:
    assert rewrite(binary("DIV", divisor)).names == ()


@pytest.mark.parametrize("is_constant", [True, False])
def test_a_division_by_a_tensor_is_a_product_with_its_reciprocal(is_constant: bool) -> None:
    build = Builder()
    divisor = build.input([1, 6])
    dividend = build.constant(VALUES) if is_constant else build.add("ABS", [divisor], [1, 6])
    options = schema.DivOptionsT()
    options.fusedActivationFunction = 3
    content = build.content(build.add("DIV", [dividend, divisor], [1, 6], options=options))
    made = rewrite(content)
    assert made.names == ("DIV as MUL by a reciprocal (1)",)
    assert kinds(made.content)[-2:] == ["DIV", "MUL"]
    found = run(made.content, POSITIVE)[0]
    assert found.max() <= 6
    np.testing.assert_allclose(found, run(content, POSITIVE)[0], rtol=1e-6)


def test_a_number_divided_by_a_tensor_stays() -> None:
    build = Builder()
    content = build.content(build.add("DIV", [build.constant(2.0), build.input([1, 6])], [1, 6]))
    assert rewrite(content).names == ()


def test_integers_stay() -> None:
    build = Builder()
    content = build.content(build.add("NEG", [build.input([1, 6], "int32")], [1, 6], "int32"))
    assert rewrite(content).names == ()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("RELU_0_TO_1", ["RELU", "MINIMUM"]), ("RELU_N1_TO_1", ["MAXIMUM", "MINIMUM"])],
)
def test_clips_have_kernels_in_16_bits_too(kind: str, expected: list[str]) -> None:
    content = unary(kind)
    made = rewrite(content)
    assert made.names == ("RELU_0_TO_1 and RELU_N1_TO_1 as MINIMUM (1)",)
    assert kinds(made.content) == expected
    np.testing.assert_array_equal(run(made.content, VALUES)[0], run(content, VALUES)[0])


@pytest.mark.parametrize(("scheme", "least_db"), [("int8", 35.0), ("int16x8", 75.0)])
def test_a_hard_sigmoid_is_full_integer(tmp_path: Path, scheme: str, least_db: float) -> None:
    """Its sum reaches 60, and only 0 to 1 needs the steps of 8 bits."""
    net = Builder()
    scaled = net.add("MUL", [net.input([1, 6]), net.constant(0.2)], [1, 6])
    shifted = net.add("ADD", [scaled, net.constant(0.5)], [1, 6])
    source = tmp_path / "net.tflite"
    source.write_bytes(net.content(net.add("RELU_0_TO_1", [shifted], [1, 6])))
    data = np.random.default_rng(0).normal(0, 100, (40, 6)).clip(-3, 300).astype(np.float32)
    made = api.convert(
        source, tmp_path / "made.tflite", scheme=scheme, data=data, effort="fast", io="float32"
    )
    assert made.certificate.problems == () and made.certificate.float_islands == 0
    assert made.quality is not None and worst_sqnr_db(made.quality) > least_db
