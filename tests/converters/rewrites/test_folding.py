from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeq.converters.rewrites.apply import rewrite
from edgeq.tflite import flatbuffer
from tests.converters.rewrites.tiny_graphs import Builder, kinds, run, schema

FLOATS = np.array([[1.5, -2.25, 0.0, 7.0], [0.5, 3.0, -1.0, 2.5]], np.float32)
OTHERS = np.array([[2.0, 0.5, 0.0, -7.0], [4.0, 3.0, 1.0, 2.0]], np.float32)
ROW = np.array([2, 4, 0.5, 1], np.float32)
WHOLE = np.array([[7, -7, 5, 9], [-5, 8, 0, 1]], np.int32)
DIVISORS = np.array([[2, 2, -3, 4], [3, -3, 1, 1]], np.int32)
FLAGS = np.array([[True, False, True, False], [False, False, True, True]])


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def whole(value: int) -> np.ndarray:
    return np.array(value, np.int32)


def options(kind: str, **values: Any) -> Any:
    made = getattr(schema, f"{kind}OptionsT")()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def only(kind: str, operands: list[np.ndarray], shape: tuple[int, ...], dtype: str,
         own: Any = None) -> bytes:  # fmt: skip
    """A model that returns an operator's result on constants, as a column."""
    build = Builder()
    inputs = [build.constant(values, values.dtype.name) for values in operands]
    result = build.add(kind, inputs, shape, dtype, options=own, version=_VERSION.get(kind, 1))
    column = build.constant(ints(*shape, 1), "int32")
    return build.content(build.add("RESHAPE", [result, column], (*shape, 1), dtype))


_VERSION = {"BROADCAST_TO": 2}
CASES: dict[str, tuple[list[np.ndarray], tuple[int, ...], str, Any]] = {
    "ADD": ([FLOATS, ROW], (2, 4), "float32", options("Add", fusedActivationFunction=1)),
    "SUB": ([FLOATS, OTHERS], (2, 4), "float32", options("Sub", fusedActivationFunction=3)),
    "MUL": ([WHOLE, DIVISORS], (2, 4), "int32", None),
    "DIV": ([WHOLE, DIVISORS], (2, 4), "int32", None),
    "FLOOR_DIV": ([WHOLE, DIVISORS], (2, 4), "int32", None),
    "FLOOR_MOD": ([WHOLE, DIVISORS], (2, 4), "int32", None),
    "POW": ([np.abs(FLOATS), OTHERS], (2, 4), "float32", None),
    "MAXIMUM": ([FLOATS, ROW], (2, 4), "float32", None),
    "MINIMUM": ([FLOATS, ROW], (2, 4), "float32", None),
    "SQUARED_DIFFERENCE": ([FLOATS, OTHERS], (2, 4), "float32", None),
    "EQUAL": ([FLOATS, OTHERS], (2, 4), "bool", None),
    "NOT_EQUAL": ([FLOATS, OTHERS], (2, 4), "bool", None),
    "LESS": ([FLOATS, ROW], (2, 4), "bool", None),
    "LESS_EQUAL": ([FLOATS, ROW], (2, 4), "bool", None),
    "GREATER": ([FLOATS, ROW], (2, 4), "bool", None),
    "GREATER_EQUAL": ([FLOATS, ROW], (2, 4), "bool", None),
    "LOGICAL_AND": ([FLAGS, FLAGS[::-1].copy()], (2, 4), "bool", None),
    "LOGICAL_OR": ([FLAGS, FLAGS[::-1].copy()], (2, 4), "bool", None),
    "LOGICAL_NOT": ([FLAGS], (2, 4), "bool", None),
    "NEG": ([FLOATS], (2, 4), "float32", None),
    "ABS": ([FLOATS], (2, 4), "float32", None),
    "SIGN": ([FLOATS], (2, 4), "float32", None),
    "SQUARE": ([FLOATS], (2, 4), "float32", None),
    "SQRT": ([np.abs(FLOATS)], (2, 4), "float32", None),
    "RSQRT": ([ROW], (4,), "float32", None),
    "EXP": ([FLOATS], (2, 4), "float32", None),
    "LOG": ([ROW], (4,), "float32", None),
    "SIN": ([FLOATS], (2, 4), "float32", None),
    "COS": ([FLOATS], (2, 4), "float32", None),
    "TANH": ([FLOATS], (2, 4), "float32", None),
    "FLOOR": ([FLOATS], (2, 4), "float32", None),
    "CEIL": ([FLOATS], (2, 4), "float32", None),
    "ROUND": ([FLOATS], (2, 4), "float32", None),
    "RELU": ([FLOATS], (2, 4), "float32", None),
    "ZEROS_LIKE": ([FLOATS], (2, 4), "float32", None),
    "CAST": ([FLOATS], (2, 4), "int32", options("Cast", inDataType=0, outDataType=2)),
    "SELECT": ([FLAGS, FLOATS, OTHERS], (2, 4), "float32", None),
    "SELECT_V2": ([FLAGS, ROW, OTHERS], (2, 4), "float32", None),
    "RESHAPE": ([FLOATS, ints(4, -1)], (4, 2), "float32", None),
    "SQUEEZE": ([FLOATS[None]], (2, 4), "float32", options("Squeeze", squeezeDims=[0])),
    "EXPAND_DIMS": ([FLOATS, whole(-1)], (2, 4, 1), "float32", None),
    "TRANSPOSE": ([FLOATS, ints(1, 0)], (4, 2), "float32", None),
    "CONCATENATION": ([FLOATS, OTHERS], (2, 8), "float32", options("Concatenation", axis=-1)),
    "PACK": ([ROW, ROW + 1], (4, 2), "float32", options("Pack", axis=1, valuesCount=2)),
    "SLICE": ([FLOATS, ints(0, 1), ints(-1, 2)], (2, 2), "float32", None),
    "STRIDED_SLICE": (
        [FLOATS, ints(1, 3), ints(9, 0), ints(1, -2)], (2,), "float32",
        options("StridedSlice", shrinkAxisMask=1, endMask=2),
    ),
    "GATHER": ([FLOATS, ints(3, 0, 3)], (2, 3), "float32", options("Gather", axis=1)),
    "BROADCAST_TO": ([ROW, ints(3, 4)], (3, 4), "float32", None),
    "FILL": ([ints(2, 3), np.array(2.5, np.float32)], (2, 3), "float32", None),
    "TILE": ([FLOATS, ints(2, 1)], (4, 4), "float32", None),
    "RANGE": ([whole(3), whole(-5), whole(-3)], (3,), "int32", None),
    "RANK": ([FLOATS], (), "int32", None),
    "SHAPE": ([FLOATS], (2,), "int32", options("Shape", outType=2)),
    "PAD": ([FLOATS, np.array([[1, 0], [0, 2]], np.int32)], (3, 6), "float32", None),
    "PADV2": (
        [FLOATS, np.array([[1, 0], [0, 2]], np.int32), np.array(9, np.float32)], (3, 6), "float32",
        None,
    ),
    "REVERSE_V2": ([FLOATS, ints(1)], (2, 4), "float32", None),
    "BROADCAST_ARGS": ([ints(3, 1), ints(4)], (2,), "int32", None),
    "SUM": ([FLOATS, ints(1)], (2,), "float32", options("Reducer")),
    "MEAN": ([FLOATS, ints(0, 1)], (1, 1), "float32", options("Reducer", keepDims=True)),
    "REDUCE_PROD": ([FLOATS, ints(1)], (2,), "float32", options("Reducer")),
    "REDUCE_MAX": ([FLOATS, ints(1)], (2,), "float32", options("Reducer")),
    "REDUCE_MIN": ([FLOATS, ints(0)], (4,), "float32", options("Reducer")),
    "REDUCE_ANY": ([FLAGS, ints(1)], (2,), "bool", options("Reducer")),
    "REDUCE_ALL": ([FLAGS, ints(0)], (4,), "bool", options("Reducer")),
}  # fmt: skip


@pytest.mark.parametrize("kind", CASES)
def test_an_operator_on_constants_is_computed_as_its_kernel_does(kind: str) -> None:
    operands, shape, dtype, own = CASES[kind]
    content = only(kind, operands, shape, dtype, own)
    made = rewrite(content)
    assert made.names == ("constants folded (1)",)
    assert kinds(made.content) == ["RESHAPE"]
    (expected,), (found,) = run(content), run(made.content)
    np.testing.assert_allclose(found, expected, rtol=3e-7, atol=2e-7)
    assert len(np.unique(expected)) > 1 or kind in ("BROADCAST_TO", "FILL", "MEAN", "RANK",
                                                     "ZEROS_LIKE", "REDUCE_ANY")  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "operands", "own"),
    [
        ("SPLIT", [whole(1), FLOATS], options("Split", numSplits=2)),
        ("SPLIT_V", [FLOATS, ints(2, -1), whole(1)], options("SplitV", numSplits=2)),
    ],
)
def test_parts_are_folded(kind: str, operands: list[np.ndarray], own: Any) -> None:
    build = Builder()
    inputs = [build.constant(values, values.dtype.name) for values in operands]
    first = build.add(kind, inputs, [2, 2], options=own)
    second = build.tensor([2, 2])
    build.graph.operators[-1].outputs = [first, second]
    content = build.content(build.add("SUB", [first, build.input([2, 2])], [2, 2]),
                            build.add("ABS", [second], [2, 2]))  # fmt: skip
    made = rewrite(content)
    assert kinds(made.content) == ["SUB", "ABS"]
    for own_result, expected in zip(
        run(made.content, OTHERS[:, :2]), run(content, OTHERS[:, :2]), strict=True
    ):
        np.testing.assert_array_equal(own_result, expected)


REFUSED = {
    "an input that is not constant": lambda build: build.add(
        "ADD", [build.input([2, 2]), build.constant(np.ones((2, 2)))], [2, 2]
    ),
    "a division by zero": lambda build: build.add(
        "DIV", [build.constant([4], "int32"), build.constant([0], "int32")], [1], "int32"
    ),
    "a shape that does not fit": lambda build: build.add(
        "RESHAPE", [build.constant([1.0, 2.0]), build.constant([3], "int32")], [3]
    ),
    "a result that the file describes differently": lambda build: build.add(
        "ABS", [build.constant([1.0, 2.0])], [3]
    ),
    "a result of many megabytes": lambda build: build.add(
        "FILL", [build.constant([1 << 12, 1 << 12], "int32"), build.constant(1.0)], [-1, -1]
    ),
    "a huge result": lambda build: build.add(
        "TILE", [build.constant([1.0]), build.constant([1 << 28], "int32")], [-1]
    ),
    "a float beyond the integers": lambda build: build.add(
        "CAST", [build.constant([3e9])], [1], "int32", options=options("Cast", outDataType=2)
    ),
    "an index out of range": lambda build: build.add(
        "GATHER", [build.constant([1.0, 2.0]), build.constant([2], "int32")], [1]
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_not_folded(reason: str) -> None:
    build = Builder()
    result = REFUSED[reason](build)
    tensor = build.graph.tensors[result]
    shape = flatbuffer.indices(tensor.shape)
    content = build.content(build.add("ABS", [result], shape, flatbuffer.dtype(tensor)))
    assert rewrite(content).content is content


def test_an_output_stays_computed() -> None:
    build = Builder()
    content = build.content(build.add("ABS", [build.constant([1.0, 2.0])], [2]))
    assert rewrite(content).content is content


def test_a_zero_sized_shape_is_a_constant() -> None:
    build = Builder()
    x, empty = build.input([1, 1], "int32"), build.constant(np.zeros(0), "int32")
    filled = build.add("FILL", [empty, build.constant(3, "int32")], [], "int32")
    content = build.content(build.add("ADD", [x, filled], [1, 1], "int32"))
    made = rewrite(content)
    assert kinds(made.content) == ["ADD"]
    assert run(made.content, [[4]])[0].item() == 7
