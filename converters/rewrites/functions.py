"""Operators in numpy and float64, to recognise formulas and to fill tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.converters.rewrites.editor import Editor
from edgeq.converters.rewrites.folding import FUNCTIONS

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


_SHARED = ("ABS", "ADD", "CEIL", "COS", "DIV", "EQUAL", "EXP", "FLOOR", "GREATER", "GREATER_EQUAL",
           "LESS", "LESS_EQUAL", "LOG", "LOGICAL_AND", "LOGICAL_NOT", "LOGICAL_OR", "MAXIMUM",
           "MINIMUM", "MUL", "NEG", "NOT_EQUAL", "POW", "RELU", "ROUND", "RSQRT", "SIGN", "SIN",
           "SQRT", "SQUARE", "SQUARED_DIFFERENCE", "SUB", "TANH")  # fmt: skip
# Operators that compute each value from the operands' values at the same place: functions of their
# options and operands.
ELEMENTWISE: dict[str, Callable[[Any, Sequence[Array]], Array]] = {
    **{kind: FUNCTIONS[kind] for kind in _SHARED},
    "ATAN2": lambda options, values: np.arctan2(*values),
    "CAST": lambda options, values: values[0].astype(np.float64),
    "ELU": lambda options, values: elu(values[0]),
    "FLOOR_DIV": lambda options, values: np.floor_divide(*values),
    "FLOOR_MOD": lambda options, values: np.mod(*values),
    "GELU": lambda options, values: gelu(values[0], bool(options and options.approximate)),
    "HARD_SWISH": lambda options, values: hard_swish(values[0]),
    "LEAKY_RELU": lambda options, values: np.where(values[0] < 0, options.alpha, 1) * values[0],
    "LOGISTIC": lambda options, values: np.asarray(1 / (1 + np.exp(-values[0]))),
    "PRELU": lambda options, values: np.where(values[0] < 0, values[1], 1) * values[0],
    "RELU6": lambda options, values: np.clip(values[0], 0, 6),
    "RELU_0_TO_1": lambda options, values: np.clip(values[0], 0, 1),
    "RELU_N1_TO_1": lambda options, values: np.clip(values[0], -1, 1),
    "SELECT": lambda options, values: np.where(*values),
    "SELECT_V2": lambda options, values: np.where(*values),
}
REDUCTIONS = frozenset({"MEAN", "SUM"})
LAYOUT = frozenset({"EXPAND_DIMS", "RESHAPE", "SQUEEZE", "TRANSPOSE"})


def is_elementwise(editor: Editor, operator: Any) -> bool:
    """Whether `evaluate` can compute an operator value by value."""
    kind = editor.kind(operator)
    if kind == "CAST":
        (source,), (result,) = editor.inputs(operator), editor.outputs(operator)
        return editor.dtype(source) == "bool" and editor.dtype(result) == "float32"
    return kind in ELEMENTWISE and editor.activation(operator) in _CLAMPS


def rearrange(editor: Editor, operator: Any, values: Array) -> Array:
    """The result of an operator of `LAYOUT`."""
    others = [editor.value(index) for index in editor.inputs(operator)[1:]]
    function = FUNCTIONS[editor.kind(operator)]
    return np.asarray(function(operator.builtinOptions, [values, *others]))


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

    Raises:
        one of folding.REFUSALS: the file is damaged, for example its shapes do not fit each other.
    """
    found, bare = dict(values), {}
    with np.errstate(all="ignore"):
        for operator in operators:
            kind, (result,) = editor.kind(operator), editor.outputs(operator)
            own = [
                found[index] if index in found else _constant(editor, index)
                for index in editor.inputs(operator)
            ]
            limits = _CLAMPS[editor.activation(operator)]
            options = operator.builtinOptions if limits is None else None
            function = ELEMENTWISE[kind] if kind in ELEMENTWISE else FUNCTIONS[kind]
            bare[result] = np.asarray(function(options, own))
            found[result] = bare[result] if limits is None else np.clip(bare[result], *limits)
    return found, bare


def _constant(editor: Editor, index: int) -> Array:
    values = editor.value(index)
    assert values is not None, f"tensor {index} is not known"
    return values.astype(np.float64) if values.dtype == np.float32 else values
