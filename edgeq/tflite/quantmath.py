"""The arithmetic of affine quantization in plain numpy, bit-identical to the interpreter's.

Real and quantized values are related by `real = scale * (quantized - zero_point)`, the scheme of
Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference" (CVPR 2018), as the TensorFlow Lite 8-bit quantization specification fixes it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.errors import DataError
from edgeq.values import TensorSpec

_WIDEST = float(np.finfo(np.float32).max)


def quantize(real: NDArray[np.generic], spec: TensorSpec) -> NDArray[np.generic]:
    """Turn real values into the tensor's own integers, or cast when it is not quantized.

    Args:
        real: any shape; real units.
        spec: a per-tensor quantized spec, or one without scales.

    Returns:
        Same shape, dtype `spec.dtype`: round(real / scale) + zero_point (half away from zero, as
        the QUANTIZE kernel does), saturated to the dtype's range.

    Raises:
        DataError: a value is NaN, which no integer can represent.
    """
    dtype = np.dtype(spec.dtype)
    if not spec.scales:
        return real.astype(dtype)
    values = np.asarray(real, np.float32)
    if np.isnan(values).any():
        raise DataError(
            f"Input {spec.name!r} contains NaN, which {spec.dtype} cannot represent.",
            hint="Remove or repair the samples with NaN; numpy.isnan finds them.",
        )
    scaled: NDArray[Any] = np.asarray(values / np.float32(spec.scales[0]))
    scaled = round_half_away(scaled)
    scaled += np.float32(spec.zero_points[0])
    limits = np.iinfo(dtype)
    return np.clip(scaled, limits.min, limits.max, out=scaled).astype(dtype)


def dequantize(quantized: NDArray[np.generic], spec: TensorSpec) -> NDArray[np.generic]:
    """Turn a tensor's integers into real values; unquantized tensors pass through.

    Args:
        quantized: any shape, dtype `spec.dtype`.
        spec: a per-tensor quantized spec, or one without scales.

    Returns:
        float32 of the same shape when quantized, the array itself otherwise.
    """
    if not spec.scales:
        return quantized
    if quantized.dtype.itemsize > 2:
        quantized = quantized.astype(np.int32) - np.int32(spec.zero_points[0])
        real: NDArray[np.float32] = quantized.astype(np.float32)
    else:  # exact in float32 too, and a third of the time
        real = quantized.astype(np.float32)
        real -= np.float32(spec.zero_points[0])
    real *= np.float32(spec.scales[0])
    return real


def range_to_scale(low: float, high: float) -> tuple[float, int]:
    """Scale and zero point of an INT8 activation that covers a range.

    Both are those of TensorFlow's `mlir_quantize` with its legacy float scales
    (quantization_utils.cc, `DownCastScale`).

    Args:
        low, high: in real units; widened to contain 0, which is exact then.

    Returns:
        The scale, exactly a float32, and the zero point.

    Raises:
        ValueError: the range is empty.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if not low < high:
        raise ValueError(f"the range {low:g} to {high:g} is empty")
    if high - low > _WIDEST:  # the difference has no float32
        scale = np.float32(high / 255 - low / 255)
    else:
        scale = (np.float32(high) - np.float32(low)) / np.float32(255)
    zero = round_half_away(np.float64(np.float32(-128 - low / float(scale))))
    return float(scale), min(127, max(-128, int(zero)))


def round_half_away(values: Any) -> NDArray[Any]:
    """The nearest integers, halves away from zero as C's `round`, in the dtype of the values.

    Adding 0.5 would round the number before 0.5 up, so the number before 0.5 is added.

    Args:
        values: an array or a scalar of numpy, float32 or float64.
    """
    half = np.nextafter(values.dtype.type(0.5), values.dtype.type(0))
    return np.asarray(np.trunc(values + np.copysign(half, values)))


def quantize_weights(
    weights: NDArray[np.float32], channel_axis: int | None
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantize weights to INT8, symmetric and narrow range (-127..127).

    Args:
        weights: any shape, float32.
        channel_axis: one scale per index of this axis, or None for one scale in all.

    Returns:
        The integers, same shape, and float32 scales [channels] or [1]. An all-zero channel gets
        scale 1, so that dequantization stays finite.
    """
    axes = None
    if channel_axis is not None:
        axes = tuple(axis for axis in range(weights.ndim) if axis != channel_axis)
    peak = np.max(np.abs(weights), axis=axes, keepdims=True)
    scale = np.where(peak > 0, peak / np.float32(127), np.float32(1)).astype(np.float32)
    quantized = np.clip(np.rint(weights / scale), -127, 127).astype(np.int8)
    return quantized, scale.reshape(-1)


def difference(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    """Absolute difference value by value.

    Equal infinities and two NaN are the same; NaN is infinitely far from everything else, so that
    neither a maximum nor a limit passes over it.
    """
    ours, theirs = one.astype(np.float64), other.astype(np.float64)
    with np.errstate(invalid="ignore"):
        apart = np.abs(ours - theirs)
    is_same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    return np.where(is_same, 0.0, np.where(np.isnan(apart), np.inf, apart))


def sqnr_db(signal_energy: float, error_energy: float) -> float:
    """Signal-to-quantization-noise ratio in dB from two sums of squares.

    Returns:
        10 log10(signal / error); inf without error, -inf for an error without signal or without
        bounds.
    """
    if error_energy == 0:
        return math.inf
    if signal_energy == 0 or not math.isfinite(error_energy):
        return -math.inf
    return 10.0 * math.log10(signal_energy / error_energy)


def pack_int4(values: NDArray[np.int8]) -> NDArray[np.uint8]:
    """INT4 values two to a byte, the first in the low half; the inverse of `unpack_int4`.

    Args:
        values: -8..7, any shape; 0 fills the last byte up.
    """
    flat = values.reshape(-1)
    if len(flat) % 2:
        flat = np.append(flat, np.int8(0))
    halves = flat.view(np.uint8) & 0xF
    return np.asarray(halves[::2] | halves[1::2] << 4)


def unpack_int4(packed: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Two values a byte, the first in the low half, as int8 of -8..7 (read-only)."""
    halves = np.stack([packed << 4, packed], axis=-1).view(np.int8) >> 4
    values = np.ravel(halves)
    values.setflags(write=False)
    return values
