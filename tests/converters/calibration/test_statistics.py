from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest

from edgeq.converters.calibration import statistics as statistics_module
from edgeq.converters.calibration.statistics import (
    BINS,
    HALF_BINS,
    ExactSum,
    Statistics,
    ascending_edges,
    bin_numbers,
    check_statistic,
    choose_ranges,
    in_ascending_order,
)
from edgeq.converters.calibration.worker import Observer
from edgeq.errors import DataError, UsageError

Samples = list[np.ndarray]


def see(samples: Samples, order: Any = None) -> Observer:
    observer = Observer(["t"], {0: (1,)}, has_histogram=True)
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
    """Two hundred samples of a Laplace distribution: most values are small, a few large."""
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


def test_bins_cover_the_values_between_their_edges() -> None:
    assert (HALF_BINS, BINS) == (4096, 8192)
    edges = ascending_edges()
    # 2^-32 times 1 + 1/64 ends the bin of zero, 64 bins make an octave, and there are 64 octaves.
    assert edges[4096:4099].tolist() == [0, 2.0**-32 * (1 + 1 / 64), 2.0**-32 * (1 + 2 / 64)]
    assert (edges[4096 + 32 * 64], edges[4096 + 33 * 64 + 16]) == (1, 2.5)
    assert (len(edges), edges[-1]) == (8193, 2.0**32)
    np.testing.assert_array_equal(edges, -edges[::-1])
    values = np.array([-3e9, -1.49, -1.01, -1e-9, 1e-9, 0.3, 1.01, 7.7, 3e9], np.float32)
    for value, number in zip(values, bin_numbers(values), strict=True):
        row = np.zeros(BINS, np.int64)
        row[number] = 1
        (place,) = np.flatnonzero(in_ascending_order(row))
        assert edges[place] <= value < edges[place + 1]


# ---------------------------------------------------------------- the statistics


def counted(*tensors: tuple[float, float, dict[float, int]]) -> Statistics:
    """Tensors of these extremes, and of values that occur so often.

    A value counts as the middle of its bin: 2^n and what is up to 1/64 above it as 2^n + 1/128.
    """
    histogram = np.zeros((len(tensors), BINS), np.int64)
    for row, (_, _, counts) in zip(histogram, tensors, strict=True):
        bins = bin_numbers(np.array(list(counts), np.float32))
        np.add.at(row, bins, list(counts.values()))
    low, high = (np.array([tensor[side] for tensor in tensors]) for side in (0, 1))
    names = tuple(f"t{number}" for number in range(len(tensors)))
    return Statistics(
        7, tuple(range(len(tensors))), names, low, high, low / 2, high / 2, histogram, {}, {}
    )


def ranges_of(statistic: str, *tensors: tuple[float, float, dict[float, int]]) -> list[Any]:
    found = choose_ranges(counted(*tensors), statistic)
    assert (found.statistic, found.sample_count) == (statistic, 7)
    return [(item.minimum, item.maximum) for item in found.tensors]


def test_a_percentile_cuts_half_of_the_rest_at_either_end() -> None:
    # 90 % leaves 5 % at either end: 1 of 20 values, and less than one of 19.
    far = {-8.0: 1, -1.0: 9, 2.0: 9, 8.0: 1}
    fewer = {-8.0: 1, -1.0: 9, 2.0: 8, 8.0: 1}
    found = ranges_of("percentile:90", (-8, 8, far), (-8, 8, fewer))
    assert found == [(-1.0078125, 2.015625), (-8, 8)]
    # 2 of 40: the second value from either end is the first to stay.
    more = {-8.0: 1, -4.0: 1, -1.0: 18, 2.0: 17, 4.0: 2, 8.0: 1}
    assert ranges_of("percentile:90", (-8, 8, more)) == [(-1.0078125, 4.03125)]
    with pytest.raises(DataError, match="the largest tensor has only 19 values"):
        ranges_of("percentile:90", (-8, 8, fewer), (-8, 8, {1.0: 3}))


def test_a_range_never_leaves_the_extremes() -> None:
    # The middle of the outermost bin is beyond the largest value.
    assert ranges_of("percentile:90", (-1, 1, {-1.0: 30, 1.0: 30})) == [(-1, 1)]
    assert ranges_of("mean-minmax", (-4, 8, {1.0: 1})) == [(-2, 4)]


# With values counted as 4.03125, N times 1.0078125: cutting at 1.0078125 costs the square of
# 3.0234375, 9.14117; not cutting costs 0.03125 squared and N twelfths of (4/255)^2, where it would
# be N twelfths of (1.0078125/255)^2. Both are the same at N = 475,971.
FAR = 4.0


@pytest.mark.parametrize(("count", "end"), [(475_900, FAR), (476_050, 1.0078125)])
@pytest.mark.parametrize("side", [-1, 1])
def test_mse_cuts_where_finer_steps_gain_more_than_clipping_costs(
    count: int, end: float, side: int
) -> None:
    # Zeros cost nothing, wherever the range ends.
    for size in (1.0, 1 / 16):
        values = {side * size * 4.0: 1, side * size: count, 0.0: 10**9}
        low, high = sorted((0.0, side * size * FAR))
        assert ranges_of("mse", (low, high, values)) == [tuple(sorted((0.0, side * size * end)))]


def test_mse_looks_for_an_end_down_to_a_quarter_of_the_extreme() -> None:
    for many in (0.5, 1.0):  # 1.0078125 is just a quarter of the extreme
        assert ranges_of("mse", (0, 4.03125, {4.0: 1, many: 10**9})) == [(0, 4.03125)]
    assert ranges_of("mse", (0, 4.03125, {4.0: 1, 1.02: 10**9})) == [(0, 1.0234375)]


@pytest.mark.parametrize(
    ("count", "found"),
    [
        (91_000, (-4, 4)),
        (92_000, (-4, 1.0078125)),
        (339_374, (-4, 1.0078125)),
        (339_375, (-1.0078125, 1.0078125)),
    ],
)
def test_mse_weighs_both_ends_together(count: int, found: tuple[float, float]) -> None:
    # Two lie far below and one above. 2 N twelfths of (8/255)^2, (5.0078125/255)^2 or
    # (2.015625/255)^2: cutting above pays from N = 91,621 on, below too from 339,375 on.
    values = {-4.0: 2, -1.0: count, 1.0: count, 4.0: 1}
    assert ranges_of("mse", (-4, 4, values)) == [found]


def linear(**counts: int) -> np.ndarray:
    """600 bins; those named bin_N are filled."""
    made = np.zeros(600)
    for name, count in counts.items():
        made[int(name.removeprefix("bin_"))] = count
    return made


def test_divergence_is_that_of_kullback_and_leibler() -> None:
    # 510 of 600 bins are kept, two in a level. The others are added to the first and the last:
    # 1 + 3, 3, 4 and 2 + 5, of 18 in all. The levels stand for 2, 2, 4 and 2, of 10 in all: two
    # filled bins share their sum, one alone keeps it.
    bins = linear(bin_10=3, bin_40=1, bin_41=3, bin_42=4, bin_549=2, bin_599=5)
    expected = (4 * math.log(40 / 36) + 3 * math.log(30 / 36) + 4 * math.log(40 / 72)
                + 7 * math.log(70 / 36)) / 18  # fmt: skip
    assert statistics_module._divergence(bins, 40, 550) == pytest.approx(expected)


def test_mass_that_no_level_stands_for_costs_sixteen() -> None:
    # The first kept bin is empty, so that the 3 outside stand alone; 3 of 6 are lost, and the
    # other 3 count as all: 3/6 * 16 + 3/6 * log(3/6).
    found = statistics_module._divergence(linear(bin_10=3, bin_41=3), 40, 550)
    assert found == pytest.approx(8 + 0.5 * math.log(0.5))
    assert statistics_module._divergence(linear(bin_10=3, bin_599=1), 40, 550) == 16.0


def entropy_plainly(low: float, high: float, counts: dict[float, int]) -> tuple[float, float]:
    """Every factor in turn, from all 2048 bins down to 128 in steps of 16."""
    values = [value for value in counts if value]
    bins, _ = np.histogram(values, 2048, (low, high), weights=[counts[v] for v in values])
    tried = []
    for kept in range(2048, 127, -16):
        first = round(-low * (1 - kept / 2048) / (high - low) * 2048)
        tried.append((statistics_module._divergence(bins, first, first + kept), -kept))
    kept = -min(tried)[1]
    return low * kept / 2048, high * kept / 2048


@pytest.mark.parametrize("low", [-0.5, -3.0, 0.0])
def test_entropy_keeps_the_factor_with_the_least_divergence(low: float) -> None:
    random = np.random.default_rng(3)
    drawn = random.gamma(2, 0.2, 4000) + low / 4
    drawn = drawn[(drawn > low) & (drawn < 3)]
    (row,) = counted((low, 6, dict(Counter(drawn.tolist()) | {0.0: 10**6, 5.9: 3}))).histogram
    ascending = in_ascending_order(row)
    edges = ascending_edges()
    middles = {
        0.0 if edges[place + 1] in (0, edges[4097]) else (edges[place] + edges[place + 1]) / 2:
        int(ascending[place]) for place in np.flatnonzero(ascending)
    }  # fmt: skip
    expected = entropy_plainly(low, 6.0, middles)
    found = ranges_of("entropy", (low, 6, dict(Counter(drawn.tolist()) | {0.0: 10**6, 5.9: 3})))
    assert found == [pytest.approx(expected)]
    assert found[0][1] < 4  # the three far values are cut


def test_entropy_keeps_what_is_nothing_but_zeros() -> None:
    assert ranges_of("entropy", (-1e-12, 1e-13, {0.0: 100})) == [(-1e-12, 1e-13)]


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
        "percentile:99.99 cuts nothing with 3 samples: the largest tensor has only 300 values."
    )


@pytest.mark.parametrize("text", ["median", "percentile", "percentile:", "percentile:100",
                                  "percentile:50", "percentile:nan", "mse:3"])  # fmt: skip
def test_an_unknown_statistic_lists_the_known_ones(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_statistic(text)
    assert caught.value.message == (
        f"Unknown statistic {text!r}; use auto, minmax, mean-minmax, mse, entropy or percentile:P "
        "with P between 50 and 100, such as percentile:99.99."
    )


@pytest.mark.parametrize("text", ["auto", "minmax", "mean-minmax", "mse", "entropy",
                                  "percentile:50.01", "percentile:99.999"])  # fmt: skip
def test_a_known_statistic_is_accepted(text: str) -> None:
    check_statistic(text)
