"""Arithmetic in operators that have integer kernels: MUL, SQRT, RSQRT, MAXIMUM and MINIMUM.

NEG, SQUARE and POW have no INT8 kernels. That of DIV stops the inference where a divisor is zero as
an integer. Each rewrite is exact up to the rounding of float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeq.converters.rewrites.editor import Editor
from edgeq.tflite import flatbuffer

# Exponents that are products: x * x, x * (x * x), (x * x) * (x * x).
_PRODUCTS = (2.0, 3.0, 4.0)
_ROOTS = {0.5: "SQRT", -0.5: "RSQRT"}


def negate_by_product(editor: Editor) -> int:
    """NEG becomes MUL by -1: exact."""
    found = [operator for operator in editor.of_kind("NEG") if _is_real(editor, operator)]
    for operator in found:
        (source,) = editor.inputs(operator)
        factor = editor.new_constant("minus_one", np.array(-1, np.float32))
        _replace(editor, operator, "MUL", [source, factor])
    return len(found)


def zeros_by_product(editor: Editor) -> int:
    """ZEROS_LIKE of a tensor becomes MUL by 0: exact for finite values."""
    found = [operator for operator in editor.of_kind("ZEROS_LIKE") if _is_real(editor, operator)]
    for operator in found:
        (source,) = editor.inputs(operator)
        zero = editor.new_constant("zero", np.array(0, np.float32))
        _replace(editor, operator, "MUL", [source, zero])
    return len(found)


def square_by_product(editor: Editor) -> int:
    """SQUARE becomes MUL with the same operand twice: exact."""
    found = [operator for operator in editor.of_kind("SQUARE") if _is_real(editor, operator)]
    for operator in found:
        (source,) = editor.inputs(operator)
        _replace(editor, operator, "MUL", [source, source])
    return len(found)


def power_by_product(editor: Editor) -> int:
    """POW with the exponent 2, 3 or 4 becomes MUL, with 0.5 SQRT, with -0.5 RSQRT."""
    done = 0
    for operator in editor.of_kind("POW"):
        base, exponent = editor.inputs(operator)
        number, (result,) = editor.scalar(exponent), editor.outputs(operator)
        # A constant of more dimensions than the base makes the result larger.
        if not _is_real(editor, operator) or editor.shape(base) != editor.shape(result):
            continue
        if number in _ROOTS:
            _replace(editor, operator, _ROOTS[number], [base])
        elif number in _PRODUCTS:
            factors = [base, base]
            if number != 2:
                square = editor.new_like(base, f"{editor.tensor_name(result)}/square")
                editor.insert(operator, "MUL", factors, [square], options=_product())
                factors = [base if number == 3 else square, square]
            _replace(editor, operator, "MUL", factors)
        else:
            continue
        done += 1
    return done


def divide_by_product(editor: Editor) -> int:
    """DIV by a constant becomes MUL by its reciprocal: off by a rounding of float32."""
    done = 0
    for operator in editor.of_kind("DIV"):
        dividend, divisor = editor.inputs(operator)
        values = editor.value(divisor)
        if values is None or not _is_real(editor, operator):
            continue
        with np.errstate(all="ignore"):
            factors = (1 / values.astype(np.float64)).astype(np.float32)
        tiny = np.finfo(np.float32).tiny
        if not np.isfinite(factors).all() or (np.abs(factors) < tiny).any():
            continue
        made = editor.new_constant(f"{editor.tensor_name(divisor)}/reciprocal", factors)
        _replace(editor, operator, "MUL", [dividend, made], editor.activation(operator))
        done += 1
    return done


def divide_by_reciprocal(editor: Editor) -> int:
    """DIV by a tensor becomes MUL by its reciprocal, which can be a table of 256 values.

    Off by a rounding of float32. A number divided by a tensor stays: it is such a reciprocal.
    """
    done = 0
    for operator in editor.of_kind("DIV"):
        dividend, divisor = editor.inputs(operator)
        is_number = editor.scalar(dividend) is not None and editor.shape(dividend) in ((), (1,))
        if is_number or editor.value(divisor) is not None or not _is_real(editor, operator):
            continue
        one = editor.new_constant("one", np.array(1, np.float32))
        made = editor.new_like(divisor, f"{editor.tensor_name(divisor)}/reciprocal")
        options = flatbuffer.schema().DivOptionsT()
        editor.insert(operator, "DIV", [one, divisor], [made], options=options)
        _replace(editor, operator, "MUL", [dividend, made], editor.activation(operator))
        done += 1
    return done


def clip_by_minimum(editor: Editor) -> int:
    """RELU_0_TO_1 and RELU_N1_TO_1 become RELU or MAXIMUM by -1, and MINIMUM by 1: exact.

    They have no INT16 kernels, and tflite-micro has none at all.
    """
    found = [one for one in editor.of_kind("RELU_0_TO_1", "RELU_N1_TO_1") if _is_real(editor, one)]
    for operator in found:
        (source,), (result,) = editor.inputs(operator), editor.outputs(operator)
        raised = editor.new_like(result, f"{editor.tensor_name(result)}/raised")
        if editor.kind(operator) == "RELU_0_TO_1":
            editor.insert(operator, "RELU", [source], [raised])
        else:
            low = editor.new_constant("minus_one", np.array(-1, np.float32))
            editor.insert(operator, "MAXIMUM", [source, low], [raised], options=_extreme())
        one = editor.new_constant("one", np.array(1, np.float32))
        _replace(editor, operator, "MINIMUM", [raised, one])
    return len(found)


def _is_real(editor: Editor, operator: Any) -> bool:
    return editor.dtype(editor.outputs(operator)[0]) == "float32"


def _product(activation: int = 0) -> Any:
    options = flatbuffer.schema().MulOptionsT()
    options.fusedActivationFunction = activation
    return options


def _extreme() -> Any:
    return flatbuffer.schema().MaximumMinimumOptionsT()


def _replace(
    editor: Editor, operator: Any, kind: str, inputs: list[int], activation: int = 0
) -> None:
    """Let another operator compute what `operator` computes."""
    (result,) = editor.outputs(operator)
    made = editor.new_like(result)
    options = {"MUL": _product(activation), "MINIMUM": _extreme()}.get(kind)
    editor.insert(operator, kind, inputs, [made], options=options)
    editor.replace(result, made)
