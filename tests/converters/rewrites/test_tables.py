from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgeq.converters.rewrites.apply import rewrite
from edgeq.converters.rewrites.tables import Table, fill_table, find_replaced, find_tables, look_up
from edgeq.errors import QuantizationError
from edgeq.tflite import flatbuffer, kernels, quantmath
from edgeq.values import TensorSpec
from tests.converters.rewrites.normal_forms import keras
from tests.converters.rewrites.tiny_graphs import Builder, run, schema

SHAPE = [1, 4, 64]
EVERY = np.arange(-128, 128).astype(np.int8).reshape(SHAPE)


def chain(*steps: tuple[Any, ...]) -> Any:
    """A model whose steps read "x", the number of an earlier step, or a constant."""
    build = Builder()
    known: dict[Any, int] = {"x": build.input(SHAPE)}
    for number, (kind, *inputs) in enumerate(steps):
        dtype = "bool" if kind.startswith(("GREATER", "LESS")) else "float32"
        indices = [known[i] if isinstance(i, int | str) else build.constant(i) for i in inputs]
        known[number] = build.add(kind, indices, SHAPE, dtype)
    return flatbuffer.parse(build.content(known[len(steps) - 1]), "m")


SOFTPLUS = (("EXP", "x"), ("ADD", 0, 1.0), ("LOG", 1))
MISH = (*SOFTPLUS, ("TANH", 2), ("MUL", "x", 3))
SWITCHED = (*SOFTPLUS, ("GREATER", "x", 20.0), ("SELECT", 3, "x", 2))


def _softplus(x: Any) -> Any:
    return np.log1p(np.exp(np.minimum(x, 50.0))) + np.maximum(x - 50, 0)


_FUNCTIONS: list[tuple[tuple[Any, ...], Callable[[Any], Any]]] = [
    (SOFTPLUS, _softplus),
    (MISH, lambda x: x * np.tanh(_softplus(x))),
    (SWITCHED, _softplus),
    # Both branches have kernels, but the range of the square is larger than what is chosen of it.
    ((("SQUARE", "x"), ("LESS", "x", 1.0), ("SELECT", 1, 0, "x")),
     lambda x: np.where(x < 1, x * x, x)),
    ((("SIN", "x"),), np.sin),
    ((("FLOOR", "x"),), np.floor),
    ((("ROUND", "x"),), np.rint),
    ((("SIGN", "x"),), np.sign),
    ((("ABS", "x"), ("POW", 0, 1.7)), lambda x: np.abs(x) ** 1.7),
    ((("ABS", "x"), ("ADD", 0, 1.0), ("DIV", "x", 1)), lambda x: x / (1 + np.abs(x))),
    ((("SQUARE", "x"), ("ADD", 0, 4.0), ("SQRT", 1), ("ADD", "x", 2), ("MUL", 3, 0.5)),
     lambda x: (x + np.sqrt(x * x + 4)) / 2),
]  # fmt: skip


@pytest.mark.parametrize(("steps", "function"), _FUNCTIONS)
def test_a_chain_becomes_a_table_that_is_only_rounded_once(
    steps: tuple[Any, ...], function: Callable[[Any], Any]
) -> None:
    tree = chain(*steps)
    (table,) = find_tables(tree)
    assert table.operators == tuple(range(len(steps)))
    assert find_replaced(tree, [table]) == set(table.operators)
    source = TensorSpec("x", tuple(SHAPE), "int8", (0.37,), (-11,))
    given = quantmath.dequantize(EVERY, source).astype(np.float64)
    scale, zero_point = quantmath.range_to_scale(function(given).min(), function(given).max())
    result = TensorSpec("y", tuple(SHAPE), "int8", (scale,), (zero_point,))
    entries = fill_table(tree, table, source, result)
    expected = quantmath.quantize(function(given).astype(np.float32), result)
    np.testing.assert_array_equal(entries, expected.reshape(-1))
    np.testing.assert_array_equal(_look_up(entries, source, result), expected)


def _look_up(entries: Any, source: TensorSpec, result: TensorSpec) -> Any:
    """A table on the interpreter, for all INT8 values."""
    build = Builder()
    x = build.input(SHAPE, "int8")
    y = build.tensor(SHAPE, "int8")
    for index, spec in ((x, source), (y, result)):
        parameters = schema.QuantizationParametersT()
        parameters.scale = np.array(spec.scales, np.float32)
        parameters.zeroPoint = np.array(spec.zero_points, np.int64)
        build.graph.tensors[index].quantization = parameters
    build.graph.operators += look_up(build.tree, build.graph, x, y, entries)
    return run(build.content(y), EVERY)[0]


def test_where_there_is_no_value_the_nearest_one_counts() -> None:
    tree = chain(("LOG", "x"), ("MUL", 0, 2.0))
    (table,) = find_tables(tree)
    source = TensorSpec("x", (), "int8", (0.1,), (0,))
    result = TensorSpec("y", (), "int8", (0.05,), (0,))
    entries = fill_table(tree, table, source, result)
    # The logarithm of 0 is -inf, that of negative numbers is not a number.
    np.testing.assert_array_equal(entries[:129], -128)
    np.testing.assert_array_equal(entries[[138, 148]], [0, round(2 * math.log(2) / 0.05)])
    with pytest.raises(
        QuantizationError, match=r"'t3' is not a number for any input from -12\.9 to"
    ):
        fill_table(tree, table, TensorSpec("x", (), "int8", (0.05,), (130,)), result)


@pytest.mark.parametrize(
    "steps",
    [
        (("EXP", "x"),),  # its kernel is a table
        (("ELU", "x"), ("MUL", 0, 2.0)),
        (("LOGISTIC", "x"), ("MUL", "x", 0)),
        (("ADD", "x", np.linspace(0, 1, 64)), ("MUL", 0, 2.0)),
    ],
)
def test_what_has_kernels_stays(steps: tuple[Any, ...]) -> None:
    assert find_tables(chain(*steps)) == ()


def test_what_older_runtimes_have_no_kernel_for_becomes_a_table() -> None:
    """ai-edge-litert 2.3 has INT8 kernels for both, tflite-runtime 2.14 has neither."""
    for kind in ("LOG", "SQRT"):
        assert kernels.takes(kind, "int8")
        assert find_tables(chain((kind, "x"))) == (Table(0, 1, (0,)),)


def test_another_runtime_may_lack_kernels() -> None:
    tree = chain(("EXP", "x"))
    assert find_tables(tree, lambda kind, dtype: kind != "EXP") == (Table(0, 1, (0,)),)


def test_a_constant_for_each_channel_begins_or_ends_a_table() -> None:
    tree = chain(("ADD", "x", np.linspace(0, 1, 64)), ("SIN", 0), ("MUL", 1, np.linspace(0, 1, 64)))
    (table,) = find_tables(tree)
    assert table.operators == (1,)


def test_operators_that_something_else_reads_stay() -> None:
    build = Builder()
    x = build.input(SHAPE)
    relu = build.add("RELU", [x], SHAPE)
    sine = build.add("SIN", [relu], SHAPE)
    total = build.add("SUM", [relu, build.constant([1, 2], "int32")], [1])
    cosine = build.add("COS", [sine], SHAPE)
    tree = flatbuffer.parse(build.content(sine, cosine, total), "m")
    tables = find_tables(tree)
    assert [(table.source, table.result, table.operators) for table in tables] == [
        (x, sine, (0, 1)), (x, cosine, (0, 1, 3)),
    ]  # fmt: skip
    assert find_replaced(tree, tables) == {1, 3}


def test_the_roots_of_a_normalization_are_not_a_table() -> None:
    build = Builder()
    made = rewrite(build.content(keras(build, build.input([1, 6, 8])))).content
    assert find_tables(flatbuffer.parse(made, "m")) == ()
