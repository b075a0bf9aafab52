"""Operators without effect go, activations are fused, known conditions resolved. All exact."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from edgeq.converters.rewrites.editor import Editor
from edgeq.converters.rewrites.folding import strided_slices
from edgeq.tflite import kernels

# A constant of more values makes the file larger.
_MOST_VALUES = 1 << 22
# The operand that changes nothing: (as the first one, as the second one); None where none does.
_NEUTRAL: dict[str, tuple[float | None, float | None]] = {
    "ADD": (0, 0), "SUB": (None, 0), "MUL": (1, 1), "DIV": (None, 1), "POW": (None, 1),
    "MAXIMUM": (-math.inf, -math.inf), "MINIMUM": (math.inf, math.inf),
}  # fmt: skip

# Operators that a layer can compute with its result, and the code of ActivationFunctionType.
_CODES = {"RELU": 1, "RELU_N1_TO_1": 2, "RELU6": 3}


def remove_identities(editor: Editor) -> int:
    """Remove operators that return one of their inputs unchanged."""
    done = 0
    for operator in list(editor.operators):
        kind, outputs = editor.kind(operator), editor.outputs(operator)
        if len(outputs) != 1:
            continue
        kept = _neutral_operand(editor, operator, kind)
        if kept is None and kind in _UNCHANGED and _UNCHANGED[kind](editor, operator):
            kept = editor.inputs(operator)[0]
        if kept is not None and _is_alike(editor, kept, outputs[0]):
            done += editor.replace(outputs[0], kept)
    return done


def _is_alike(editor: Editor, one: int, other: int) -> bool:
    """Whether two tensors have the same dtype and the same shape, which is static."""
    shape = editor.shape(one)
    return shape is not None and (shape, editor.dtype(one)) == (
        editor.shape(other), editor.dtype(other),
    )  # fmt: skip


def _neutral_operand(editor: Editor, operator: Any, kind: str) -> int | None:
    """The operand that an operation with a neutral constant returns."""
    if kind not in _NEUTRAL or editor.activation(operator):
        return None
    pair = editor.inputs(operator)
    for place, neutral in enumerate(_NEUTRAL[kind]):
        if neutral is not None and editor.scalar(pair[place]) == neutral:
            return pair[1 - place]
    return None


def _always(editor: Editor, operator: Any) -> bool:
    return True


def _is_alone(editor: Editor, operator: Any) -> bool:
    return len(editor.inputs(operator)) == 1 and not editor.activation(operator)


def _has_zeros(editor: Editor, operator: Any) -> bool:
    return editor.scalar(editor.inputs(operator)[1]) == 0


def _keeps_order(editor: Editor, operator: Any) -> bool:
    order = editor.value(editor.inputs(operator)[1])
    return order is not None and np.array_equal(order, np.arange(order.size))


def _takes_all(editor: Editor, operator: Any) -> bool:
    """Whether a STRIDED_SLICE walks along its input, which has the shape of its result."""
    inputs = editor.inputs(operator)
    values = [value for value in map(editor.value, inputs[1:]) if value is not None]
    shape = editor.shape(inputs[0])
    if shape is None or len(values) != 3 or (values[2] != 1).any():
        return False
    try:
        found = strided_slices(operator.builtinOptions, values, len(shape))
    except (ValueError, AttributeError):  # or it has no options
        return False
    return all(isinstance(item, slice) for item in found)


# Kinds that may return their first input, and whether one does whose result has the same shape.
_UNCHANGED: dict[str, Callable[[Editor, Any], bool]] = {
    "RESHAPE": _always, "SQUEEZE": _always, "EXPAND_DIMS": _always, "BROADCAST_TO": _always,
    "TILE": _always, "SLICE": _always, "CAST": _always, "TRANSPOSE": _keeps_order,
    "STRIDED_SLICE": _takes_all, "PAD": _has_zeros, "PADV2": _has_zeros,
    "MIRROR_PAD": _has_zeros, "CONCATENATION": _is_alone, "ADD_N": _is_alone,
}  # fmt: skip


def resolve_selects(editor: Editor) -> int:
    """Replace each SELECT with a constant condition by the operand that it always takes."""
    done = 0
    for operator in editor.of_kind("SELECT", "SELECT_V2"):
        (condition, one, other), (result,) = editor.inputs(operator), editor.outputs(operator)
        value = editor.scalar(condition)
        if value is not None:
            taken = one if value else other
            if _is_alike(editor, taken, result):
                done += editor.replace(result, taken)
        elif one == other and _is_alike(editor, one, result):
            done += editor.replace(result, one)
    return done


# The result of each comparison of a number with itself.
_OF_ITSELF = {"EQUAL": True, "LESS_EQUAL": True, "GREATER_EQUAL": True,
              "NOT_EQUAL": False, "LESS": False, "GREATER": False}  # fmt: skip


def resolve_comparisons(editor: Editor) -> int:
    """Replace the comparison of a tensor with itself: exact for all numbers but NaN.

    Keras asks `x != x` where a NaN among many values has to be returned; integers have no NaN.
    """
    done = 0
    for operator in editor.of_kind(*_OF_ITSELF):
        (one, other), (result,) = editor.inputs(operator), editor.outputs(operator)
        shape = editor.shape(result)
        if one == other and shape is not None and math.prod(shape) <= _MOST_VALUES:
            values = np.full(shape, _OF_ITSELF[editor.kind(operator)])
            done += editor.replace(result, editor.new_constant(editor.tensor_name(result), values))
    return done


def fuse_activations(editor: Editor) -> int:
    """Make each RELU part of the operator before it, if integer kernels compute both at once.

    The result is then rounded once, and no steps are spent on values below zero.
    """
    return sum(_fuse(editor, operator) for operator in editor.of_kind(*_CODES))


def _fuse(editor: Editor, operator: Any) -> bool:
    (before,), (result,) = editor.inputs(operator), editor.outputs(operator)
    source, kind = editor.producer(before), editor.kind(operator)
    if source is None or editor.only_reader(before) is None:
        return False
    if source.builtinOptions is None or editor.activation(source):
        return False
    layer = editor.kind(source)
    if any(kind not in kernels.fuses(layer, dtype) for dtype in ("int8", "int16")):
        return False
    if kernels.rule(layer, "int8") != "own" or not editor.replace(result, before):
        return False
    source.builtinOptions.fusedActivationFunction = _CODES[kind]
    return True
