"""Single integers and scales; `benchmarks/writer.py` compares whole files with TensorFlow's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeq.converters.writer.integers import (
    BIAS_PEAK,
    bias_scales,
    constant_range,
    fit_bias,
    round_weights,
    store_bias,
    store_constant,
    weight_peaks,
    weight_scales,
    widen_peaks,
)
from edgeq.converters.writer.parameters import Affine, as_int8, as_uint8, from_range


def real(values: Any) -> np.ndarray:
    return np.array(values, np.float32)


def test_the_peak_of_a_channel_is_its_largest_magnitude() -> None:
    weights = real([[[1, -3]], [[0.5, 2]]])
    assert weight_peaks(weights, 0).tolist() == [3, 2]
    assert weight_peaks(weights, 2).tolist() == [1, 3]
    assert weight_peaks(weights, None).tolist() == [3]
    assert weight_peaks(-weights, None).tolist() == [3]


@pytest.mark.parametrize("peak", [127, 7])
def test_the_peak_of_a_channel_becomes_the_highest_integer(peak: int) -> None:
    weights = real([[1, -3], [0.5, 2], [0, 3e-7], [0, 0], [6e-7, 0]])
    # Ranges below 1e-6 are widened to it: 5e-7 on each side.
    peaks = real([3, 2, 5e-7, 5e-7, 6e-7])
    assert weight_scales(weights, 0, peak).tolist() == (peaks / np.float32(peak)).tolist()
    assert weight_scales(weights, None, peak).tolist() == [np.float32(3) / np.float32(peak)]


def test_int8_is_the_default_of_scales() -> None:
    assert weight_scales(real([254]), None).tolist() == [2.0]


HALVES = real([[0.5, -0.5, 1.5, 126.5, 127.4, 300, -300]])


@pytest.mark.parametrize(
    ("scales", "axis"), [([1.0], None), ([1.0], 0), ([1.0] * 7, 1), ([2.0, *[1.0] * 6], 1)]
)
def test_weights_are_rounded_half_away_from_zero_and_saturate(
    scales: list[float], axis: int | None
) -> None:
    rounded = round_weights(HALVES, real(scales), axis)
    first = 0 if scales[0] == 2 else 1  # 0.25
    assert rounded.tolist() == [[first, -1, 2, 127, 127, 127, -127]]
    assert rounded.dtype == np.int8
    assert round_weights(HALVES, real(scales), axis, 7).tolist() == [[first, -1, 2, 7, 7, 7, -7]]
    wide = round_weights(HALVES, real(scales), axis, 32767)
    assert (wide.dtype, wide[0, 5:].tolist()) == (np.int16, [300, -300])


def test_the_scale_of_a_tensor_counts_unrounded_where_it_is_its_own() -> None:
    """Divided by the rounded scale, the second weight would be 92."""
    weights = real([2.4026875495910645, 1.7310700416564941])
    own = weight_scales(weights, None)
    assert round_weights(weights, own, None).tolist() == [127, 91]
    assert round_weights(-weights, own, None).tolist() == [-127, -91]
    assert round_weights(weights, 2 * own, None).tolist() == [64, 46]
    assert round_weights(weights, own, None, peaks=real([2 * weights[0]])).tolist() == [64, 46]


def test_peaks_of_channels_become_the_highest_integer() -> None:
    weights = real([[1, 2], [3, 4]])
    rounded = round_weights(weights, real([9, 9]), 1, peaks=real([127, 254]))
    assert rounded.tolist() == [[1, 1], [3, 2]]
    rounded = round_weights(weights, real([9, 9]), 0, 7, peaks=real([7, 14]))
    assert rounded.tolist() == [[1, 2], [2, 2]]


def test_a_channel_axis_is_where_it_is_said_to_be() -> None:
    weights = real([[1, 2], [3, 4]])
    assert round_weights(weights, real([1, 2]), 0).tolist() == [[1, 2], [2, 2]]
    assert round_weights(weights, real([1, 2]), 1).tolist() == [[1, 1], [3, 2]]


def test_a_bias_of_more_than_half_of_int32_widens_the_weights() -> None:
    given, scales = Affine("int8", 0.5), real([0.25, 0.25])
    bias = real([-(2.0**40), 8])
    fitting, steps = fit_bias(bias, given, scales)
    assert fitting.tolist() == [np.float32(2.0**41 / BIAS_PEAK), 0.25]
    assert steps.tolist() == [np.float32(2.0**40 / BIAS_PEAK), 0.125]
    stored = store_bias(bias, steps)
    assert (stored.dtype, stored.zero_point, stored.values.dtype) == ("int32", 0, np.int32)
    assert stored.values[0] == pytest.approx(-BIAS_PEAK, rel=1e-6)
    assert stored.values[1] == 64
    # With one scale in all, the largest bias counts.
    fitting, steps = fit_bias(bias, given, scales[:1])
    assert fitting.tolist() == [np.float32(2.0**41 / BIAS_PEAK)]
    assert steps.tolist() == [np.float32(2.0**40 / BIAS_PEAK)]
    small, same = fit_bias(real([0, -3]), given, scales)
    assert (small.tolist(), same.tolist()) == ([0.25, 0.25], [0.125, 0.125])


@pytest.mark.parametrize(("dtype", "peak"), [("int32", 2**31 - 1), ("int64", 2**63 - 1)])
def test_a_bias_is_rounded_half_away_from_zero_and_saturates(dtype: str, peak: int) -> None:
    stored = store_bias(real([[0.25, -0.25], [1e30, -1e30]]), real([0.5]), dtype)
    assert stored.values[0].tolist() == [1, -1]
    assert stored.values[1, 0] == peak
    assert stored.values[1, 1] in (-peak, -peak - 1)
    assert stored.values.dtype == dtype


def test_constants_take_the_parameters_of_a_tensor() -> None:
    assert constant_range(real([2, 3])) == (0.0, 3.0)
    assert constant_range(real([-2, -3])) == (-3.0, 0.0)
    values = real([0.25, -0.25, 0.0, 100, -100])
    stored = store_constant(values, Affine("int8", 0.5, 3))
    # 0.5 + 3 and -0.5 + 3, halves away from zero.
    assert stored.values.tolist() == [4, 3, 3, 127, -128]
    assert (stored.dtype, stored.scales.tolist(), stored.zero_point) == ("int8", [0.5], 3)
    wide = store_constant(values, Affine("int16", 0.5))
    assert (wide.dtype, wide.values.dtype) == ("int16", np.int16)
    assert wide.values.tolist() == [1, -1, 0, 200, -200]
    assert store_constant(real([1e9]), Affine("int16", 0.5)).values.tolist() == [32767]


@pytest.mark.parametrize(
    ("low", "high", "dtype", "scale", "zero"),
    [
        (-1.0, 1.55, "int8", 0.01, -28),
        (0.5, 2.55, "int8", 0.01, -128),  # widened to contain 0
        (-2.55, -1.0, "int8", 0.01, 127),
        (0.0, 0.0, "int8", 2e-6 / 255, 0),
        (-1.0, 32767.0, "int16", 1.0, 0),
        (-65534.0, 1.0, "int16", 2.0, 0),
        (0.0, 0.0, "int16", 1.0, 0),
    ],
)
def test_parameters_of_a_range(
    low: float, high: float, dtype: str, scale: float, zero: int
) -> None:
    found = from_range(low, high, dtype)
    assert (found.dtype, found.zero_point) == (dtype, zero)
    assert found.scale == pytest.approx(scale, rel=1e-6)
    if dtype == "int8":
        shifted = as_uint8(found)
        assert shifted == Affine("uint8", found.scale, zero + 128)
        assert as_int8(shifted) == found


@pytest.mark.parametrize("channels", [1, 2])
def test_a_bias_beyond_half_of_int32_widens_the_weights_beside_int16(channels: int) -> None:
    given = Affine("int16", 1e-5)
    peaks, bias = np.array([0.5, 1e-4], np.float32)[:channels], np.array([1e-3, 5e3], np.float32)
    widened = widen_peaks(peaks, bias, given.scale)
    steps = bias_scales(given, widened / np.float32(127))
    stored = store_bias(bias, steps, "int64").values
    assert stored[1] == pytest.approx(BIAS_PEAK, rel=1e-6)
    np.testing.assert_allclose(stored * steps, bias, rtol=2e-3)
    if channels == 2:
        assert widened[0] == peaks[0]
    weights = np.array([[0.5], [1e-4]], np.float32)
    axis = None if channels == 1 else 0
    rounded = round_weights(weights, widened / np.float32(127), axis, peaks=widened)
    assert rounded.ravel().tolist() == [1 if channels == 1 else 127, 0]


def test_channels_of_zeros_have_a_finite_scale_beside_int16() -> None:
    peaks = widen_peaks(np.zeros(2, np.float32), np.zeros(2, np.float32), 1e-4)
    assert np.isfinite(np.float32(127) / peaks).all()
    assert (bias_scales(Affine("int16", 1e-4), peaks / np.float32(127)) > 0).all()


@pytest.mark.parametrize("peak", [0.0, 1e-45, 1.0, 1e39])
def test_int16_scales_and_their_inverses_are_finite(peak: float) -> None:
    scale = np.float32(from_range(-peak, peak, "int16").scale)
    assert 0 < scale < np.inf
    assert 0 < np.float32(1) / scale < np.inf
