"""Integers beside INT16 activations; `benchmarks/writer.py` compares whole files."""

from __future__ import annotations

import numpy as np
import pytest

from edgeq.converters.writer.integers import (
    BIAS_PEAK,
    bias_scales,
    round_weights,
    store_bias,
    widen_peaks,
)
from edgeq.converters.writer.parameters import Affine, from_range


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
