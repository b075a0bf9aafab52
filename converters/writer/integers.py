"""The integers of weights, biases and other constants.

They equal those that TensorFlow's `mlir_quantize` stores (quantization_utils.cc, `QuantizeLegacy`),
except where its integers do not fit its scales: with a scale per tensor that was widened for a
large bias. With INT16 activations, they equal those of its `Calibrator`
(tools/optimize/quantization_utils.cc).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.converters.writer.parameters import Affine
from edgeq.tflite.quantmath import round_half_away

_NARROWEST = 1e-6  # a channel whose range is below it gets this range
_LEAST_PEAK = 1e-12  # of weights beside INT16 activations; 127 divided by it is finite
_INT32_PEAK = 2**31 - 1
BIAS_PEAK = _INT32_PEAK // 2  # leaves the accumulator room

Real = NDArray[Any]  # float32


@dataclass(frozen=True)
class Stored:
    """A constant as integers with their scales.

    Attributes:
        values: in the dtype that the kernel computes with; INT4 as int8 of -7..7.
        dtype: as the file names it.
        scales: float32, [1] or [channels].
        zero_point: one for all.
        axis: of the channels.
    """

    values: NDArray[Any]
    dtype: str
    scales: NDArray[np.float32]
    zero_point: int = 0
    axis: int = 0


def weight_peaks(weights: Real, axis: int | None) -> NDArray[np.float32]:
    """The largest magnitude of each channel; of all weights if there is no axis."""
    others = None if axis is None else tuple(i for i in range(weights.ndim) if i != axis)
    low, high = weights.min(axis=others, initial=0.0), weights.max(axis=others, initial=0.0)
    return np.asarray(np.maximum(-low, high), np.float32).reshape(-1)


def weight_scales(weights: Real, axis: int | None, peak: int = 127) -> NDArray[np.float32]:
    """Symmetric scales: the largest magnitude of each channel becomes `peak`.

    Args:
        weights: any shape.
        axis: of the channels; None for one scale in all.
        peak: 127 for INT8, 7 for INT4, 32767 for INT16.

    Returns:
        float32, [channels] or [1].
    """
    most = weight_peaks(weights, axis).astype(np.float64)
    most = np.where(2 * most > _NARROWEST, most, np.maximum(most, _NARROWEST / 2))
    return np.asarray(most.astype(np.float32) / np.float32(peak), np.float32)


def round_weights(
    weights: Real,
    scales: NDArray[np.float32],
    axis: int | None,
    peak: int = 127,
    peaks: NDArray[np.float32] | None = None,
) -> NDArray[Any]:
    """The integers of symmetric weights, -`peak`..`peak`; halves away from zero.

    Args:
        weights: any shape.
        scales: [1] or [channels].
        axis: of the channels.
        peak: the highest integer.
        peaks: the magnitudes that become it, where these count and not the rounded scales.
    """
    if peaks is not None:
        shape = [len(peaks) if i == axis else 1 for i in range(weights.ndim)]
        scaled = weights * (np.float32(peak) / peaks).reshape(shape)
    elif len(scales) == 1:
        # From the magnitude and not from the scale, which is rounded.
        most = np.float32(max(-weights.min(initial=0.0), weights.max(initial=0.0)))
        is_own = abs(float(most) / peak - float(scales[0])) <= 1e-6 * float(scales[0])
        inverse = np.float32(peak) / most if is_own and most > 0 else np.float32(1 / scales[0])
        scaled = weights * inverse
    else:
        shape = [1] * weights.ndim
        shape[axis or 0] = len(scales)
        inverses = (1.0 / scales.astype(np.float64)).astype(np.float32)
        scaled = weights * inverses.reshape(shape)
    dtype = np.int8 if peak <= 127 else np.int16
    return np.asarray(np.clip(round_half_away(scaled), -peak, peak), dtype)


def widen_peaks(peaks: NDArray[np.float32], bias: Real | None, scale: float) -> NDArray[np.float32]:
    """The magnitudes of the weights that become 127 with INT16 activations.

    Where the integer of a bias would exceed half of INT32, the weights get a wider scale, although
    the bias has INT64: some kernels add up in INT32. After quantization_utils.cc,
    `AdjustWeightsForBiasScale`.

    Args:
        peaks: the largest magnitudes, [1] or [channels].
        bias: [channels], real units; None without.
        scale: of the input.
    """
    if bias is not None:
        most = np.abs(bias).reshape(-1).astype(np.float64)
        if len(peaks) == 1:
            most = most.max(initial=0.0, keepdims=True)
        wider = 2 * most / _INT32_PEAK * float(np.float32(127) / np.float32(scale))
        steps = 0.5 * scale * (peaks / np.float32(127)).astype(np.float64)
        peaks = np.where(most >= steps * _INT32_PEAK, wider, peaks).astype(np.float32)
    return np.asarray(np.maximum(peaks, np.float32(_LEAST_PEAK)), np.float32)


def bias_scales(given: Affine, weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale of the accumulator: the input's times the weights', [1] or [channels]."""
    steps = np.float64(given.scale) * weights.astype(np.float64)
    return np.asarray(np.minimum(steps, np.finfo(np.float32).max), np.float32)


def fit_bias(
    bias: Real, given: Affine, scales: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weight scales that are wide enough for a bias, and the scales of the bias.

    A bias has the scale of the accumulator. Where its integer would exceed half of INT32, the
    weights get a wider scale.

    Args:
        bias: [channels], real units.
        given: the parameters of the input.
        scales: of the weights, [1] or [channels].

    Returns:
        Both float32, in the shape of `scales`.
    """
    steps = bias_scales(given, scales)
    most = np.abs(bias.astype(np.float64)).reshape(-1)
    if len(scales) == 1:
        most = most.max(initial=0.0, keepdims=True)
    is_large = most / steps.astype(np.float64) > BIAS_PEAK
    wider = most / BIAS_PEAK
    fitting = np.where(is_large, wider / given.scale, scales).astype(np.float32)
    return fitting, np.where(is_large, wider, steps).astype(np.float32)


def store_bias(bias: Real, steps: NDArray[np.float32], dtype: str = "int32") -> Stored:
    """A bias in steps of the accumulator.

    Args:
        bias: [channels], real units.
        steps: scales of the accumulator, [1] or [channels].
        dtype: "int32", or "int64" with INT16 activations.
    """
    inverse = (1.0 / steps.astype(np.float64)).astype(np.float32)
    scaled = bias.reshape(-1).astype(np.float32) * inverse
    most = np.iinfo(dtype).max
    whole = np.clip(round_half_away(scaled).astype(np.float64), -float(most), float(most))
    # float64 has no 2**63 - 1, and the cast of 2**63 gives any number.
    with np.errstate(invalid="ignore"):
        values = np.where(whole >= most, most, whole.astype(dtype)).astype(dtype)
    return Stored(values.reshape(bias.shape), dtype, steps)


def constant_range(values: Real) -> tuple[float, float]:
    """The range of a constant operand, with 0 in it."""
    return float(values.min(initial=0.0)), float(values.max(initial=0.0))


def store_constant(values: Real, own: Affine) -> Stored:
    """A constant operand in the parameters of a tensor; what is beyond them saturates."""
    limits = np.iinfo(own.dtype)
    if own.dtype == "int16":  # as the Calibrator does
        scaled = values * np.float32(1 / own.scale)
    else:
        scaled = values.astype(np.float64) / own.scale + own.zero_point
    whole = np.clip(round_half_away(scaled), limits.min, limits.max).astype(own.dtype)
    return Stored(whole, own.dtype, np.array([own.scale], np.float32), own.zero_point)
