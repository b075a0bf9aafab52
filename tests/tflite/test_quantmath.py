from __future__ import annotations

import math

import numpy as np
import pytest

from edgeq.errors import DataError
from edgeq.tflite import quantmath
from edgeq.values import TensorSpec

INT8 = TensorSpec("x", (1, 6), "int8", (0.5,), (-3,))
UINT8 = TensorSpec("x", (1, 6), "uint8", (0.25,), (128,))
PLAIN = TensorSpec("x", (1, 6), "float32")


@pytest.mark.parametrize(
    ("real", "spec", "expected"),
    [
        ([0.0, 0.5, -0.5, 1.0], INT8, [-3, -2, -4, -1]),
        # halves go away from zero, as in the QUANTIZE kernel, before the zero point is added
        ([0.25, -0.25, 0.75, -0.75], INT8, [-2, -4, -1, -5]),
        ([1000.0, -1000.0, 65.0, -62.5], INT8, [127, -128, 127, -128]),
        ([0.0, 31.75, -32.0, 100.0], UINT8, [128, 255, 0, 255]),
        ([1.5, -2.5], PLAIN, [1.5, -2.5]),
    ],
)
def test_quantize_follows_the_specification(
    real: list[float], spec: TensorSpec, expected: list[float]
) -> None:
    found = quantmath.quantize(np.array(real, np.float32), spec)
    assert found.dtype == np.dtype(spec.dtype)
    assert found.tolist() == expected


def test_the_largest_float_below_one_half_rounds_down() -> None:
    spec = TensorSpec("x", (1,), "int8", (1.0,), (0,))
    assert quantmath.quantize(np.array([0.49999997], np.float32), spec).tolist() == [0]


def test_quantize_refuses_nan() -> None:
    with pytest.raises(DataError) as caught:
        quantmath.quantize(np.array([0.0, np.nan], np.float32), INT8)
    assert str(caught.value) == (
        "Input 'x' contains NaN, which int8 cannot represent. "
        "Remove or repair the samples with NaN; numpy.isnan finds them."
    )


def test_dequantize_inverts_within_half_a_step() -> None:
    real = np.linspace(-60, 60, 999, dtype=np.float32)
    back = quantmath.dequantize(quantmath.quantize(real, INT8), INT8)
    assert back.dtype == np.float32
    assert np.max(np.abs(back - real)) <= 0.25


def test_dequantize_passes_unquantized_tensors_through() -> None:
    values = np.array([1, 2], np.int64)
    assert quantmath.dequantize(values, TensorSpec("x", (2,), "int64")) is values


def test_weights_are_symmetric_narrow_range_per_channel() -> None:
    weights = np.array([[1.0, -2.0, 0.5], [0.0, 0.0, 0.0]], np.float32)
    quantized, scales = quantmath.quantize_weights(weights, 0)
    assert quantized.tolist() == [[64, -127, 32], [0, 0, 0]]
    assert scales == pytest.approx([2 / 127, 1.0])


def test_weights_per_tensor_have_one_scale() -> None:
    quantized, scales = quantmath.quantize_weights(np.array([[1.0], [-4.0]], np.float32), None)
    assert quantized.tolist() == [[32], [-127]]
    assert scales == pytest.approx([4 / 127])


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        (1.0, 1.5, 0.5), (1.5, 1.0, 0.5), (-1.0, 1.0, 2.0), (0.0, -0.0, 0.0),
        (INF, INF, 0.0), (-INF, -INF, 0.0), (NAN, NAN, 0.0),
        (INF, -INF, INF), (INF, 1.0, INF), (1.0, -INF, INF),
        (NAN, 1.0, INF), (1.0, NAN, INF), (NAN, INF, INF), (-INF, NAN, INF),
    ],
)  # fmt: skip
def test_nan_is_infinitely_far_from_every_number(one: float, other: float, apart: float) -> None:
    for shape in ((), (1,), (1, 1)):
        values = (np.full(shape, value, np.float32) for value in (one, other))
        found = quantmath.difference(*values)
        assert (found.shape, found.max()) == (shape, apart)


def test_differences_of_integers_do_not_wrap() -> None:
    for dtype in (np.int8, np.uint8, np.int16):
        limits = np.iinfo(dtype)
        one, other = np.array([[limits.min, 7], [limits.max, 7]], dtype)
        for found in (quantmath.difference(one, other), quantmath.difference(other, one)):
            assert found.tolist() == [float(limits.max) - float(limits.min), 0.0]
    assert quantmath.difference(np.array([True]), np.array([False])).tolist() == [1.0]


@pytest.mark.parametrize(
    ("signal", "error", "expected"),
    [
        (100.0, 1.0, 20.0),
        (1.0, 10.0, -10.0),
        (5.0, 0.0, INF),
        (0.0, 1.0, -INF),
        (0.0, 0.0, INF),
        (5.0, INF, -INF),
        (5.0, NAN, -INF),
        (0.0, INF, -INF),
        (1e-3, 1e3, -60.0),
    ],
)
def test_sqnr(signal: float, error: float, expected: float) -> None:
    assert quantmath.sqnr_db(signal, error) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("low", "high", "scale", "zero_point"),
    [
        (0.0, 255.0, 1.0, -128),
        (-1.0, 1.0, 2 / 255, -1),  # -128 + 127.499999: the scale is a float32, as in the file
        (-2.55, 0.0, 0.01, 127),
        (5.1, 25.5, 0.1, -128),  # 0 is always inside
        (-64.0, 191.0, 1.0, -64),
    ],
)
def test_a_range_becomes_a_scale_and_a_zero_point(
    low: float, high: float, scale: float, zero_point: int
) -> None:
    found = quantmath.range_to_scale(low, high)
    assert found == (pytest.approx(scale), zero_point)


def test_an_empty_range_has_no_scale() -> None:
    with pytest.raises(ValueError, match=r"^the range 0 to 0 is empty$"):
        quantmath.range_to_scale(0.0, 0.0)


def test_a_range_wider_than_float32_has_a_scale() -> None:
    scale, zero_point = quantmath.range_to_scale(-3e38, 2.1e38)
    assert scale == pytest.approx(2e36)
    assert zero_point == 22
    scale, zero_point = quantmath.range_to_scale(-1e38, 1.55e38)
    assert (scale, zero_point) == (pytest.approx(1e36), -28)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_halves_are_rounded_away_from_zero(dtype: type) -> None:
    below = np.nextafter(dtype(0.5), dtype(0))
    values = np.array([0.5, -0.5, 1.5, -2.5, below, -below, 0.0, 7.49], dtype)
    found = quantmath.round_half_away(values)
    assert found.tolist() == [1, -1, 2, -3, 0, 0, 0, 7]
    assert found.dtype == dtype


def test_weights_have_a_scale_for_each_index_of_the_channel_axis() -> None:
    weights = np.array([[1.0, -2.0, 0.5], [0.5, 4.0, 0.0]], np.float32)
    quantized, scales = quantmath.quantize_weights(weights, 1)
    assert scales == pytest.approx([1 / 127, 4 / 127, 0.5 / 127])
    assert quantized.tolist() == [[127, -64, 127], [64, 127, 0]]


@pytest.mark.parametrize(
    ("values", "packed"),
    [([1, 2, -8, -1], [0x21, 0xF8]), ([[3], [-7], [5]], [0x93, 0x05]), ([7], [0x07]), ([], [])],
)
def test_int4_is_packed_low_half_first(values: list[int], packed: list[int]) -> None:
    given = np.array(values, np.int8)
    found = quantmath.pack_int4(given)
    assert (found.tolist(), found.dtype) == (packed, np.uint8)
    back = quantmath.unpack_int4(found)
    assert back[: given.size].tolist() == given.ravel().tolist()
    assert back.dtype == np.int8
    assert not back[given.size :].any()
    with pytest.raises(ValueError, match="read-only"):
        back[:1] = 0
