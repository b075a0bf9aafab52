from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from edgeq.converters.calibration_worker import Observer
from edgeq.converters.statistics import (
    BINS,
    HALF_BINS,
    ExactSum,
    Statistics,
    bin_numbers,
    check_statistic,
    choose_ranges,
)
from edgeq.errors import DataError, UsageError

Samples = list[np.ndarray]


def see(samples: Samples, order: Any = None) -> Observer:
    observer = Observer(["t"], frozenset({0}), has_histogram=True)
    for number in range(len(samples)) if order is None else order:
        observer.look(number, [samples[number]])
    observer.settle()
    return observer


def statistics(samples: Samples) -> Statistics:
    seen = see(samples)
    means = np.stack([total.totals() for total in seen.sums]) / len(samples)
    low, high = seen.halves[:, 0].min(axis=0), seen.halves[:, 1].max(axis=0)
    return Statistics(
        len(samples), (7,), ("t",), low, high, means[0], means[1], seen.histogram, {}, {}
    )


def chosen(samples: Samples, statistic: str) -> tuple[float, float]:
    (item,) = choose_ranges(statistics(samples), statistic).tensors
    assert (item.index, item.name) == (7, "t")
    return item.minimum, item.maximum


@pytest.fixture(scope="module")
def heavy() -> Samples:
    """Two hundred samples of a Laplace distribution: most values small, a few far out."""
    random = np.random.default_rng(1)
    return [random.laplace(size=4000).astype(np.float32) for _ in range(200)]


# ---------------------------------------------------------------- what the pass keeps


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, 0),
        (-0.0, HALF_BINS),
        (1e-20, 0),
        (2.0**-32, 0),
        (1.0, 32 * 64),
        (1.0 + 1 / 64, 32 * 64 + 1),
        (-1.0, HALF_BINS + 32 * 64),
        (1e30, HALF_BINS - 1),
    ],
)
def test_a_bin_is_the_leading_bits_of_the_value(value: float, expected: int) -> None:
    assert bin_numbers(np.array([value], np.float32)).tolist() == [expected]


def test_sums_are_exact_in_any_order() -> None:
    terms = np.array([1e30, 1.0, -1e30, 1e-40, 3.0, 2.0**-149], np.float32)
    found = set()
    for order in itertools.permutations(terms):
        total = ExactSum(1)
        for term in order:
            total.add(np.array([term], np.float32))
        found.add(float(total.totals()[0]))
    assert found == {4.0}


def test_neither_order_nor_lanes_change_a_statistic(heavy: Samples) -> None:
    few = heavy[:30]
    whole = see(few)
    shuffled = see(few, np.random.default_rng(0).permutation(30))
    first, second = see(few, range(0, 30, 3)), see(few, [n for n in range(30) if n % 3])
    second.merge(first)
    for other in (shuffled, second):
        np.testing.assert_array_equal(whole.histogram, other.histogram)
        np.testing.assert_array_equal(whole.halves, other.halves)
        np.testing.assert_array_equal(whole.channels[0], other.channels[0])
        for own, its in zip(whole.sums, other.sums, strict=True):
            np.testing.assert_array_equal(own.totals(), its.totals())


def test_memory_does_not_grow_with_the_samples(heavy: Samples) -> None:
    few, many = see(heavy[:5]), see(heavy)
    assert few.histogram.nbytes == many.histogram.nbytes == 8 * BINS
    assert few.sums[0].mantissas.nbytes == many.sums[0].mantissas.nbytes
    assert many._waiting == []


# ---------------------------------------------------------------- the statistics


def test_minmax_is_the_extremes(heavy: Samples) -> None:
    assert chosen(heavy, "minmax") == (np.min(heavy), np.max(heavy))


def test_mean_minmax_is_the_mean_of_each_samples_extremes(heavy: Samples) -> None:
    low = np.mean([np.min(item) for item in heavy], dtype=np.float64)
    high = np.mean([np.max(item) for item in heavy], dtype=np.float64)
    assert chosen(heavy, "mean-minmax") == pytest.approx((low, high), rel=1e-7)


@pytest.mark.parametrize("share", [99.0, 99.9, 99.99, 99.999])
def test_a_percentile_is_numpys_to_the_width_of_a_bin(heavy: Samples, share: float) -> None:
    tail = (100 - share) / 2
    expected = np.percentile(np.concatenate(heavy), [tail, 100 - tail])
    assert chosen(heavy, f"percentile:{share}") == pytest.approx(tuple(expected), rel=0.03)


def quantization_error(samples: Samples, low: float, high: float) -> float:
    values = np.concatenate(samples).astype(np.float64)
    step = (high - low) / 255
    levels = np.clip(np.rint((values - low) / step), 0, 255) * step + low
    return float(np.mean((values - levels) ** 2))


def test_mse_is_the_range_with_the_least_quantization_error(heavy: Samples) -> None:
    low, high = chosen(heavy, "mse")
    own = quantization_error(heavy, low, high)
    assert own < 0.65 * quantization_error(heavy, *chosen(heavy, "minmax"))
    for share in (0.7, 0.85, 1.15, 1.3):
        assert own <= 1.01 * quantization_error(heavy, low * share, high * share)


def test_entropy_leaves_out_far_values(heavy: Samples) -> None:
    low, high = chosen(heavy, "entropy")
    least, most = chosen(heavy, "minmax")
    assert least < low < 0 < high < most
    assert quantization_error(heavy, low, high) < quantization_error(heavy, least, most)


@pytest.mark.parametrize("statistic", ["minmax", "mse", "entropy", "percentile:99.9"])
def test_a_uniform_tensor_keeps_its_range(statistic: str) -> None:
    random = np.random.default_rng(2)
    samples = [random.uniform(0, 6, 4000).astype(np.float32) for _ in range(20)]
    low, high = chosen(samples, statistic)
    assert 0 <= low < 0.05
    assert 5.8 < high <= 6


def test_a_constant_tensor_keeps_its_value() -> None:
    samples = [np.full(50, 2.5, np.float32)] * 4
    assert {chosen(samples, name) for name in ("minmax", "mse", "entropy")} == {(2.5, 2.5)}


# ---------------------------------------------------------------- the wrong ways


def test_a_percentile_that_cuts_nothing_is_refused() -> None:
    samples = [np.arange(100, dtype=np.float32)] * 3
    with pytest.raises(DataError) as caught:
        chosen(samples, "percentile:99.99")
    assert caught.value.message == (
        "percentile:99.99 is beyond 3 samples: of the 300 values seen of the largest tensor, not "
        "one lies beyond it."
    )


@pytest.mark.parametrize("text", ["median", "percentile", "percentile:", "percentile:100",
                                  "percentile:50", "percentile:nan", "mse:3"])  # fmt: skip
def test_an_unknown_statistic_lists_the_known_ones(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_statistic(text)
    assert caught.value.message == (
        f"Unknown statistic {text!r}; known are auto, minmax, mean-minmax, mse, entropy and "
        "percentile:P with P between 50 and 100, such as percentile:99.99."
    )
