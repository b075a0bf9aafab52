from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeq.converters.rewrites.apply import rewrite
from edgeq.tflite import flatbuffer
from tests.converters.rewrites.tiny_graphs import Builder, kinds, run, schema

IDS = np.array([[-3, 0, 1, 7, 2**20]])


def cast(build: Builder, index: int, shape: list[int], source: int) -> int:
    options = schema.CastOptionsT()
    options.inDataType, options.outDataType = source, schema.TensorType.FLOAT32
    return build.add("CAST", [index], shape, options=options)


def comparison(kind: str, value: float, *, first: bool = False) -> bytes:
    """Integers that are cast to float and compared with a constant."""
    build = Builder()
    number = cast(build, build.input([1, 5], "int32"), [1, 5], schema.TensorType.INT32)
    pair = [number, build.constant(value)]
    return build.content(build.add(kind, pair[::-1] if first else pair, [1, 5], "bool"))


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.5, -2.5])
@pytest.mark.parametrize("kind", ["LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL"])
def test_integers_are_compared_as_integers(kind: str, value: float, first: bool) -> None:
    content = comparison(kind, value, first=first)
    made = rewrite(content)
    assert made.names == ("comparison of integers instead of floats (1)",)
    assert len(kinds(made.content)) == 1
    np.testing.assert_array_equal(run(made.content, IDS)[0], run(content, IDS)[0])


@pytest.mark.parametrize("kind", ["EQUAL", "NOT_EQUAL"])
def test_integers_are_tested_as_integers(kind: str) -> None:
    content = comparison(kind, 7.0)
    made = rewrite(content)
    assert kinds(made.content) == [kind]
    np.testing.assert_array_equal(run(made.content, IDS)[0], run(content, IDS)[0])


@pytest.mark.parametrize(("kind", "value"), [("EQUAL", 0.5), ("LESS", 2.0**24)])
def test_other_comparisons_stay_floats(kind: str, value: float) -> None:
    content = comparison(kind, value)
    assert rewrite(content).content is content


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("GREATER", 0.5, ["LOGICAL_AND", "LOGICAL_OR"]),
        ("EQUAL", 0.0, ["LOGICAL_AND", "LOGICAL_NOT", "LOGICAL_OR"]),
        ("LESS", 3.0, ["LOGICAL_AND", "SELECT_V2", "LESS", "LOGICAL_OR"]),  # always true
    ],
)
def test_booleans_are_not_compared(kind: str, value: float, expected: list[str]) -> None:
    build = Builder()
    one, other = build.input([1, 4], "bool"), build.input([1, 4], "bool", "y")
    both = build.add("LOGICAL_AND", [one, other], [1, 4], "bool")
    number = cast(build, both, [1, 4], schema.TensorType.BOOL)
    test = build.add(kind, [number, build.constant(value)], [1, 4], "bool")
    content = build.content(build.add("LOGICAL_OR", [test, other], [1, 4], "bool"))
    made = rewrite(content)
    assert kinds(made.content) == expected
    samples = [[True, True, False, False]], [[True, False, True, False]]
    np.testing.assert_array_equal(run(made.content, *samples)[0], run(content, *samples)[0])


def masked(*, turned: bool, source: str = "bool", value: Any = None) -> bytes:
    """`x * mask`, `x * (1 - mask)`, or a constant times it, in three dimensions."""
    build = Builder()
    x, flags = build.input([2, 1, 3]), build.input([1, 4, 3], source, "flags")
    code = schema.TensorType.BOOL if source == "bool" else schema.TensorType.INT32
    mask = cast(build, flags, [1, 4, 3], code)
    if turned:
        mask = build.add("SUB", [build.constant(1.0), mask], [1, 4, 3])
    factor = x if value is None else build.constant(value)
    shape = [2, 4, 3] if value is None else [1, 4, 3]
    product = build.add("MUL", [mask, factor], shape)
    return build.content(build.add("ADD", [product, x], [2, 4, 3]))


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("value", [None, -1e9])
def test_a_product_with_a_mask_is_a_choice(turned: bool, value: float | None) -> None:
    content = masked(turned=turned, value=value)
    made = rewrite(content)
    assert made.names == ("product with a mask as SELECT_V2 (1)",)
    assert kinds(made.content) == ["SELECT_V2", "ADD"]
    generator = np.random.default_rng(0)
    samples = generator.normal(size=(2, 1, 3)), generator.random((1, 4, 3)) > 0.5
    np.testing.assert_array_equal(run(made.content, *samples)[0], run(content, *samples)[0])


def test_a_product_with_numbers_stays() -> None:
    content = masked(turned=False, source="int32")
    assert rewrite(content).content is content


def lookup(*, rows: int = 5, limit: int = 0, kind: str = "SELECT", other: bool = False) -> bytes:
    """Keras 3's Embedding: negative indices count from the end."""
    build = Builder()
    index, table = build.input([1, 4], "int32"), build.constant(np.arange(10).reshape(5, 2))
    test = build.add("LESS", [index, build.constant(limit, "int32")], [1, 4], "bool")
    wrapped = build.add("ADD", [index, build.constant(rows, "int32")], [1, 4], "int32")
    chosen = build.add(kind, [test, wrapped, index], [1, 4], "int32")
    outputs = [build.add("GATHER", [table, chosen], [1, 4, 2])]
    if other:
        outputs.append(build.add("ABS", [chosen], [1, 4], "int32"))
    return build.content(*outputs)


@pytest.mark.parametrize("kind", ["SELECT", "SELECT_V2"])
def test_indices_of_embeddings_are_not_wrapped(kind: str) -> None:
    content = lookup(kind=kind)
    made = rewrite(content)
    assert made.names == ("wrapping of negative indices removed (1)",)
    assert kinds(made.content) == ["GATHER"]
    sample = [[0, 4, 2, 2]]
    np.testing.assert_array_equal(run(made.content, sample)[0], run(content, sample)[0])


@pytest.mark.parametrize("options", [{"rows": 4}, {"limit": 1}, {"other": True}])
def test_other_choices_of_indices_stay(options: dict[str, Any]) -> None:
    content = lookup(**options)
    assert rewrite(content).content is content


def test_an_embedding_of_pytorch_is_a_gather() -> None:
    build = Builder()
    index, table = build.input([3], "int32"), build.constant(np.arange(30).reshape(5, 2, 3))
    content = build.content(build.add("EMBEDDING_LOOKUP", [index, table], [3, 2, 3]))
    made = rewrite(content)
    assert made.names == ("EMBEDDING_LOOKUP as GATHER (1)",)
    assert kinds(made.content) == ["GATHER"]
    np.testing.assert_array_equal(run(made.content, [4, 0, 4])[0], run(content, [4, 0, 4])[0])


def test_one_comparison_that_stays_does_not_keep_others() -> None:
    build = Builder()
    index, numbers = build.input([1, 5], "int32"), build.input([1, 5], name="y")
    number = cast(build, index, [1, 5], schema.TensorType.INT32)
    tests = [
        build.add(kind, [source, build.constant(value)], [1, 5], "bool")
        for kind, source, value in (
            ("LESS", numbers, 0.0), ("EQUAL", number, 0.5), ("LESS", number, np.nan),
            ("LESS", number, 1.0),
        )
    ]  # fmt: skip
    content = build.content(*tests)
    made = rewrite(content)
    assert made.names == ("comparison of integers instead of floats (1)",)
    samples = IDS, np.array([[-1, 0, 1, 2, 3]])
    for own, expected in zip(run(made.content, *samples), run(content, *samples), strict=True):
        np.testing.assert_array_equal(own, expected)


def test_booleans_become_numbers_by_a_choice() -> None:
    build = Builder()
    flags = build.input([2, 3], "bool", "flags")
    mask = cast(build, flags, [2, 3], schema.TensorType.BOOL)
    content = build.content(build.add("SUM", [mask, build.constant([1], "int32")], [2]))
    made = rewrite(content)
    assert made.names == ("CAST of booleans as SELECT_V2 (1)",)
    samples = np.array([[True, False, True], [False, False, False]])
    np.testing.assert_array_equal(run(made.content, samples)[0], run(content, samples)[0])


def float_indices(*, masks: bool = False, squares: bool = False) -> bytes:
    """Keras casts a float input before an Embedding, and compares it with 0 for a mask."""
    build = Builder()
    number, table = build.input([1, 4]), build.constant(np.arange(10).reshape(5, 2))
    options = schema.CastOptionsT()
    options.inDataType, options.outDataType = schema.TensorType.FLOAT32, schema.TensorType.INT32
    index = build.add("CAST", [number], [1, 4], "int32", options=options)
    outputs = [build.add("GATHER", [table, index], [1, 4, 2])]
    if masks:
        outputs.append(build.add("NOT_EQUAL", [number, build.constant(0.0)], [1, 4], "bool"))
    if squares:
        outputs.append(build.add("SQUARE", [number], [1, 4]))
    return build.content(*outputs)


@pytest.mark.parametrize("masks", [False, True])
def test_a_float_input_of_indices_becomes_integer(masks: bool) -> None:
    content = float_indices(masks=masks)
    made = rewrite(content)
    assert "float input as int32 indices (1)" in made.names
    assert kinds(made.content) == ["GATHER", *["NOT_EQUAL"][: int(masks)]]
    tree = flatbuffer.parse(made.content, "the model")
    assert flatbuffer.interface(tree)[0][0].dtype == "int32"
    samples = np.array([[0, 4, 3, 1]])
    for found, expected in zip(run(made.content, samples), run(content, samples), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_float_input_that_is_also_a_number_stays() -> None:
    tree = flatbuffer.parse(rewrite(float_indices(squares=True)).content, "the model")
    assert flatbuffer.interface(tree)[0][0].dtype == "float32"
