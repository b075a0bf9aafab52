"""What operators compute, in numpy and float64: to recognise formulas, and to fill tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.converters.rewrites.editor import Editor

Array = NDArray[Any]

# Codes of ActivationFunctionType: none, RELU, RELU_N1_TO_1, RELU6.
_CLAMPS = {0: None, 1: (0, np.inf), 2: (-1, 1), 3: (0, 6)}


def gelu(x: Array, approximate: bool = False) -> Array:
    """X times the normal distribution function, or its formula with tanh."""
    if approximate:
        return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))
    return np.asarray(0.5 * x * (1 + np.vectorize(math.erf, [float])(x / math.sqrt(2))))


def hard_swish(x: Array) -> Array:
    """X times a sigmoid of three straight lines."""
    return np.asarray(x * np.clip(x + 3, 0, 6) / 6)


def elu(x: Array) -> Array:
    """x, and exp(x) - 1 below zero."""
    return np.where(x < 0, np.expm1(np.minimum(x, 0)), x)


def _choose(options: Any, condition: Array, yes: Array, no: Array) -> Array:
    return np.where(condition, yes, no)


def _logistic(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


# Operators that compute each value from the operands' values at the same place: their options
# first, then the operands.
ELEMENTWISE: dict[str, Callable[..., Array]] = {
    "ABS": lambda o, x: np.abs(x),
    "ADD": lambda o, x, y: x + y,
    "ATAN2": lambda o, x, y: np.arctan2(x, y),
    "CEIL": lambda o, x: np.ceil(x),
    "COS": lambda o, x: np.cos(x),
    "DIV": lambda o, x, y: x / y,
    "ELU": lambda o, x: elu(x),
    "EQUAL": lambda o, x, y: x == y,
    "EXP": lambda o, x: np.exp(x),
    "FLOOR": lambda o, x: np.floor(x),
    "FLOOR_DIV": lambda o, x, y: np.floor(x / y),
    "FLOOR_MOD": lambda o, x, y: np.mod(x, y),
    "GELU": lambda o, x: gelu(x, bool(o and o.approximate)),
    "GREATER": lambda o, x, y: x > y,
    "GREATER_EQUAL": lambda o, x, y: x >= y,
    "HARD_SWISH": lambda o, x: hard_swish(x),
    "LEAKY_RELU": lambda o, x: np.where(x < 0, o.alpha * x, x),
    "LESS": lambda o, x, y: x < y,
    "LESS_EQUAL": lambda o, x, y: x <= y,
    "LOG": lambda o, x: np.log(x),
    "LOGICAL_AND": lambda o, x, y: np.logical_and(x, y),
    "LOGICAL_NOT": lambda o, x: np.logical_not(x),
    "LOGICAL_OR": lambda o, x, y: np.logical_or(x, y),
    "LOGISTIC": lambda o, x: _logistic(x),
    "MAXIMUM": lambda o, x, y: np.maximum(x, y),
    "MINIMUM": lambda o, x, y: np.minimum(x, y),
    "MUL": lambda o, x, y: x * y,
    "NEG": lambda o, x: -x,
    "NOT_EQUAL": lambda o, x, y: x != y,
    "POW": lambda o, x, y: np.power(x, y),
    "PRELU": lambda o, x, y: np.where(x < 0, y * x, x),
    "RELU": lambda o, x: np.maximum(x, 0),
    "RELU6": lambda o, x: np.clip(x, 0, 6),
    "RELU_0_TO_1": lambda o, x: np.clip(x, 0, 1),
    "RELU_N1_TO_1": lambda o, x: np.clip(x, -1, 1),
    "ROUND": lambda o, x: np.rint(x),
    "RSQRT": lambda o, x: 1 / np.sqrt(x),
    "SELECT": _choose,
    "SELECT_V2": _choose,
    "SIGN": lambda o, x: np.sign(x),
    "SIN": lambda o, x: np.sin(x),
    "SQRT": lambda o, x: np.sqrt(x),
    "SQUARE": lambda o, x: x * x,
    "SQUARED_DIFFERENCE": lambda o, x, y: (x - y) ** 2,
    "SUB": lambda o, x, y: x - y,
    "TANH": lambda o, x: np.tanh(x),
}
REDUCTIONS: dict[str, Callable[..., Array]] = {"MEAN": np.mean, "SUM": np.sum}
LAYOUT = frozenset({"EXPAND_DIMS", "RESHAPE", "SQUEEZE", "TRANSPOSE"})


def is_elementwise(editor: Editor, operator: Any) -> bool:
    """Whether `evaluate` can compute an operator value by value."""
    kind = editor.kind(operator)
    known = kind in ELEMENTWISE and editor.activation(operator) in _CLAMPS
    if kind == "CAST":
        (source,), (result,) = editor.inputs(operator), editor.outputs(operator)
        return editor.dtype(source) == "bool" and editor.dtype(result) == "float32"
    return known


def rearrange(editor: Editor, operator: Any, values: Array) -> Array:
    """The result of an operator of `LAYOUT`."""
    if editor.kind(operator) == "TRANSPOSE":
        order = editor.value(editor.inputs(operator)[1])
        return np.transpose(values, None if order is None else [int(axis) for axis in order])
    return values.reshape(editor.shape(editor.outputs(operator)[0]) or ())


def reduced_axes(editor: Editor, operator: Any) -> tuple[int, ...]:
    """The axes over which an operator of `REDUCTIONS` computes, from 0; empty if unknown."""
    source, axes = editor.inputs(operator)
    shape, numbers = editor.shape(source), editor.value(axes)
    if shape is None or numbers is None:
        return ()
    return tuple(sorted({int(axis) % len(shape) for axis in numbers.reshape(-1)}))


def evaluate(
    editor: Editor, operators: Sequence[Any], values: Mapping[int, Array]
) -> tuple[dict[int, Array], dict[int, Array]]:
    """Run operators of `ELEMENTWISE`, `REDUCTIONS` and `LAYOUT` in float64.

    Args:
        operators: in execution order.
        values: of the tensors that they read and that are neither constants nor computed by them.

    Returns:
        Tensor index to values, of all tensors that were given and computed; and the same of the
        results before their fused activation.
    """
    found, bare = dict(values), {}
    with np.errstate(all="ignore"):
        for operator in operators:
            kind, (result,) = editor.kind(operator), editor.outputs(operator)
            inputs = editor.inputs(operator)
            own = [found[i] if i in found else _constant(editor, i) for i in inputs]
            if kind in REDUCTIONS:
                axes, kept = reduced_axes(editor, operator), operator.builtinOptions.keepDims
                made = REDUCTIONS[kind](own[0], axis=axes, keepdims=bool(kept))
            elif kind in LAYOUT:
                made = rearrange(editor, operator, own[0])
            elif kind == "CAST":
                made = own[0].astype(np.float64)
            else:
                made = ELEMENTWISE[kind](operator.builtinOptions, *own)
            bare[result] = np.asarray(made)
            limits = _CLAMPS[editor.activation(operator)]
            found[result] = bare[result] if limits is None else np.clip(made, *limits)
    return found, bare


def _constant(editor: Editor, index: int) -> Array:
    values = editor.value(index)
    assert values is not None, f"tensor {index} is not known"
    return values.astype(np.float64) if values.dtype == np.float32 else np.asarray(values)
