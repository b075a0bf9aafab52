"""Products with a constant matrix become dense layers with the same results."""

from __future__ import annotations

import numpy as np
import pytest

from edgeq.converters.rewrites.apply import rewrite
from edgeq.tflite import flatbuffer
from tests.converters.rewrites.tiny_graphs import Builder, kinds, run, schema

RANDOM = np.random.default_rng(0)
NAME = "BATCH_MATMUL by a constant as FULLY_CONNECTED"


def product(build: Builder, x: int, matrix: int, shape: list[int], *, turned: bool = False) -> int:
    options = schema.BatchMatMulOptionsT()
    options.adjY = turned
    return build.add("BATCH_MATMUL", [x, matrix], shape, options=options)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("lead", [(), (1,), (1, 1)])
def test_a_product_with_a_constant_is_a_layer(turned: bool, lead: tuple[int, ...]) -> None:
    values = RANDOM.normal(size=(3, 4)).astype(np.float32)
    build = Builder()
    x = build.input([1, 2, 5, 3])
    stored = values.T if turned else values
    matrix = build.constant(stored.reshape(*lead, *stored.shape))
    content = build.content(product(build, x, matrix, [1, 2, 5, 4], turned=turned))
    made = rewrite(content)
    assert made.names == (f"{NAME} (1)",)
    assert kinds(made.content) == ["FULLY_CONNECTED"]
    given = RANDOM.normal(size=(1, 2, 5, 3)).astype(np.float32)
    np.testing.assert_allclose(run(made.content, given)[0], given @ values, rtol=1e-5, atol=1e-6)


def test_steps_share_a_matrix_and_get_their_bias() -> None:
    build = Builder()
    x = build.input([1, 3])
    matrix = build.constant(np.eye(3) * 2)
    first = product(build, x, matrix, [1, 3])
    shifted = build.add("ADD", [first, build.constant([1, 2, 3])], [1, 3])
    second = product(build, build.add("TANH", [shifted], [1, 3]), matrix, [1, 3])
    made = rewrite(build.content(second)).content
    assert kinds(made) == ["FULLY_CONNECTED", "TANH", "FULLY_CONNECTED"]
    layers = flatbuffer.parse(made, "").subgraphs[0].operators[::2]
    assert len({flatbuffer.indices(layer.inputs)[1] for layer in layers}) == 1
    given = np.array([[0.1, -0.2, -0.5]], np.float32)
    expected = 2 * np.tanh(2 * given + [1, 2, 3])
    np.testing.assert_allclose(run(made, given)[0], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "matrix", "made"),
    [([2, 5, 3], (2, 3, 4), [2, 5, 4]), ([5, 3], (1, 1, 3, 4), [1, 1, 5, 4])],
)
def test_other_products_are_left(
    shape: list[int], matrix: tuple[int, ...], made: list[int]
) -> None:
    """Several matrices; a matrix that adds a dimension to the result."""
    build = Builder()
    x = build.input(shape)
    content = build.content(product(build, x, build.constant(np.ones(matrix)), made))
    assert rewrite(content).content is content
