"""Scales and zero points, with the rounding of TensorFlow Lite's own quantizers.

INT8 follows `mlir_quantize` (see `quantmath.range_to_scale`), INT16 the 16x8 quantizer
(tools/optimize/quantization_utils.cc, `GetSymmetricQuantizationParams`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeq.tflite import flatbuffer, quantmath

_NARROWEST = 1e-6  # a range below it is widened
INT16_PEAK = 32767
# A float32 and its inverse, the largest and the smallest.
_MOST, _LEAST = (float(value) for value in (np.finfo("f4").max, np.finfo("f4").tiny))


class Affine(NamedTuple):
    """How a computed tensor is stored; real = scale * (stored - zero_point).

    Attributes:
        dtype: "int8", "int16", "uint8", or "float32", which has neither scale nor zero point.
        scale: exactly a float32.
        zero_point: in the dtype.
    """

    dtype: str
    scale: float = 0.0
    zero_point: int = 0


REAL = Affine("float32")


def from_range(low: float, high: float, dtype: str) -> Affine:
    """The parameters of a computed tensor.

    Args:
        low, high: its range in real units; widened to contain 0.
        dtype: "int8" (asymmetric) or "int16" (symmetric, zero point 0).
    """
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    if dtype == "int16":
        peak = np.float32(min(max(-low, high), _MOST))
        scale = float(max(peak / np.float32(INT16_PEAK), _LEAST))
        return Affine("int16", scale if peak else 1.0)
    if high - low < _NARROWEST:
        low, high = low - _NARROWEST, high + _NARROWEST
    return Affine("int8", *quantmath.range_to_scale(low, high))


def as_uint8(own: Affine) -> Affine:
    """The UINT8 form of INT8 parameters: the same scale, every integer 128 higher."""
    return Affine("uint8", own.scale, own.zero_point + 128)


def as_int8(own: Affine) -> Affine:
    """The INT8 form of UINT8 parameters."""
    return Affine("int8", own.scale, own.zero_point - 128)


def set_parameters(tensor: Any, own: Affine) -> None:
    """Give a schema tensor the dtype, scale and zero point; its stored values do not change."""
    tensor.type = flatbuffer.dtype_code(own.dtype)
    tensor.quantization = None
    if own.dtype != "float32":
        set_scales(tensor, np.array([own.scale], np.float32), np.array([own.zero_point], np.int64))


def set_scales(
    tensor: Any, scales: NDArray[np.float32], zero_points: NDArray[np.int64], axis: int = 0
) -> None:
    """Give a schema tensor scales [1] or [channels] with their zero points."""
    tensor.quantization = flatbuffer.schema().QuantizationParametersT()
    tensor.quantization.scale = scales
    tensor.quantization.zeroPoint = zero_points
    tensor.quantization.quantizedDimension = axis
