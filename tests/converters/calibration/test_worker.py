"""The statistics that the pass over the samples keeps of each tensor."""

from __future__ import annotations

import numpy as np
import pytest

from edgeq.converters.calibration.statistics import bin_numbers
from edgeq.converters.calibration.worker import Observer

SMALL, LARGE = 1.0, 100.0
Array = np.ndarray


def observer(count: int = 1) -> Observer:
    return Observer([f"t{n}" for n in range(count)], has_histogram=True)


def counts(seen: Observer, value: float, place: int = 0) -> int:
    """How often a value was counted."""
    seen.settle()
    return int(seen.histogram[place, bin_numbers(np.array([value], np.float32))[0]])


def combed(size: int, stride: int, position: int) -> Array:
    """Small values except every `stride`-th, from `position` on."""
    values = np.full(size, SMALL, np.float32)
    values[position::stride] = LARGE
    return values


@pytest.mark.parametrize("position", [0, 1, 2])
def test_every_position_of_a_large_tensor_has_its_turn(position: int) -> None:
    """Three times as many values as a sample adds, large ones only at every third position."""
    seen, values = observer(), combed(3 * 8192, 3, position)
    for number in range(3):
        seen.look(number, [values])
    assert (counts(seen, LARGE), counts(seen, SMALL)) == (8192, 2 * 8192)


@pytest.mark.parametrize(
    ("size", "counted"), [(1, 1), (8191, 8191), (8192, 8192), (8193, 4097), (16384, 8192),
                          (16385, 5462)]
)  # fmt: skip
def test_at_most_8192_values_are_counted_at_a_regular_stride(size: int, counted: int) -> None:
    seen = observer()
    seen.look(0, [np.full(size, SMALL, np.float32)])
    assert counts(seen, SMALL) == counted
    seen.settle()
    assert counts(seen, SMALL) == counted  # once


def test_tensors_are_counted_apart_and_extremes_of_all_values_are_kept() -> None:
    seen = observer(2)
    one, other = combed(8193, 8193, 1), np.full(5, -SMALL, np.float32)
    seen.look(0, [one, other])  # its stride is 2: the large value at position 1 is not counted
    assert counts(seen, LARGE) == 0
    assert counts(seen, -SMALL, 1) == 5
    assert seen.halves[0].tolist() == [[SMALL, -SMALL], [LARGE, -SMALL]]
    seen.look(2, [one, other])
    assert counts(seen, LARGE) == 0
    seen.look(1, [one, other])
    assert counts(seen, LARGE) == 1


def test_even_and_odd_samples_are_two_halves() -> None:
    seen = observer()
    for number, (low, high) in enumerate([(-1, 1), (-5, 2), (-2, 3), (0, 9)]):
        seen.look(number, [np.array([low, high, 0], np.float32)])
    assert seen.halves[:, :, 0].tolist() == [[-2.0, 3.0], [-5.0, 9.0]]
    assert [total.totals().tolist() for total in seen.sums] == [[-8.0], [15.0]]


def test_what_two_lanes_saw_is_what_one_would_have_seen() -> None:
    samples = np.random.default_rng(0).normal(size=(6, 40)).astype(np.float32)
    whole, lanes = observer(), (observer(), observer())
    for number, values in enumerate(samples):
        whole.look(number, [values])
        lanes[number // 3].look(number, [values])
    for seen in (whole, *lanes):
        seen.settle()
    lanes[0].merge(lanes[1])
    np.testing.assert_array_equal(lanes[0].halves, whole.halves)
    np.testing.assert_array_equal(lanes[0].histogram, whole.histogram)
    assert lanes[0].histogram.sum() == 240
    for ours, theirs in zip(lanes[0].sums, whole.sums, strict=True):
        np.testing.assert_array_equal(ours.totals(), theirs.totals())


def test_channels_are_watched_one_by_one_where_asked() -> None:
    seen = Observer(["t"], {0: (2,)})
    seen.look(0, [np.array([[1, -4], [3, -2]], np.float32)])
    seen.look(1, [np.array([[2, -9], [2, 5]], np.float32)])
    assert seen.channels[0].tolist() == [[1, -9], [3, 5]]
    assert seen.halves[:, :, 0].tolist() == [[-4.0, 3.0], [-9.0, 5.0]]
    heads = Observer(["t"], {0: (2, 1, 2)})
    heads.look(0, [np.arange(12, dtype=np.float32).reshape(1, 2, 3, 2)])
    assert heads.channels[0].tolist() == [[[[0, 1]], [[6, 7]]], [[[4, 5]], [[10, 11]]]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channelwise", [{}, {1: (3,)}, {1: (1, 3)}])
def test_what_is_not_finite_is_named(value: float, channelwise: dict[int, tuple[int, ...]]) -> None:
    seen = Observer(["good", "bad"], channelwise)
    with pytest.raises(RuntimeError) as caught:
        seen.look(7, [np.zeros(3, np.float32), np.array([[0, value, 1]], np.float32)])
    assert str(caught.value) == "tensor 'bad' holds NaN or infinity for sample 7."
