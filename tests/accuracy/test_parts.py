"""A large part does not hide what happened to a small one, and no sound output is accused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeq.accuracy import parts
from edgeq.accuracy.columns import Columns, plain_columns
from edgeq.accuracy.parts import PartMeter
from edgeq.values import PartQuality

Array = NDArray[np.float64]


def measure(ours: Array, theirs: Array, columns: Columns | None = None) -> tuple[PartQuality, ...]:
    meter = PartMeter("y", columns)
    for start in range(0, len(ours), 7):
        meter.add(ours[start : start + 7], theirs[start : start + 7])
    return meter.result()


def rounded(values: Array, step: float | None = None) -> Array:
    """As an ideal 8-bit tensor gives them back; that of a softmax has steps of 1/256."""
    step = step or max(np.ptp(np.append(values, 0)) / 255, 1e-30)
    return np.round(values / step) * step


def softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


RNG = np.random.default_rng(0)


def test_the_figure_is_of_the_spread_about_the_mean_of_each_column() -> None:
    ours = np.array([[1.0, 500.0], [3.0, 504.0]] * 10)
    theirs = ours + np.array([0.1, -0.3])
    (part,) = measure(ours, theirs)
    # Squared deviations of 1 and 4 beside squared errors of 0.01 and 0.09, 20 times each.
    assert part.sqnr_db == pytest.approx(10 * math.log10(5 / 0.1))
    assert part.spread == pytest.approx(math.sqrt(2.5))
    assert part.step == pytest.approx(503 / 255)
    assert (part.where, part.is_known, part.lost) == ("y", True, ())


def test_a_constant_at_the_mean_has_0_db() -> None:
    ours = RNG.normal(1000, 1, (400, 1))
    (part,) = measure(ours, np.full_like(ours, ours.mean()))
    assert part.sqnr_db == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_figure_does_not_hang_on_batches_or_offsets(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ours = rng.normal(0, 1, (50, 3))
    theirs = ours + rng.normal(0, 0.1, ours.shape)
    (plain,), (moved,) = measure(ours, theirs), measure(ours + 1e6, theirs + 1e6)
    assert plain.sqnr_db == pytest.approx(moved.sqnr_db, abs=1e-3)


def test_boxes_do_not_hide_scores() -> None:
    columns = Columns(np.arange(7), (0,) * 4 + (1,) * 3, ("boxes", "scores"))
    ours = np.hstack([RNG.uniform(0, 640, (100, 4)), RNG.uniform(0, 1, (100, 3))])
    boxes, scores = measure(ours, rounded(ours), columns)
    assert (boxes.where, scores.where) == ("y[:, 0:4]", "y[:, 4:7]")
    assert boxes.sqnr_db == pytest.approx(48, abs=1)
    assert scores.sqnr_db is not None and scores.sqnr_db < 0


def test_columns_of_unlike_spread_are_parts_without_a_graph() -> None:
    ours = RNG.normal(0, [1, 300, 1.5, 200], (100, 4))
    small, large = measure(ours, rounded(ours))
    assert (small.where, large.where) == ("y, 2 values of 4", "y, 2 values of 4")
    assert small.sqnr_db is not None and large.sqnr_db is not None
    assert small.sqnr_db < 10
    assert large.sqnr_db > 40


def test_a_channel_of_a_map_is_named_by_its_place() -> None:
    ours = RNG.normal(0, [500, 1, 1], (20, 4, 5, 3)).transpose(0, 3, 1, 2)
    columns = Columns(np.broadcast_to(np.arange(3)[:, None, None], (3, 4, 5)), (0,) * 3, ("y",))
    depth, rest = measure(ours, rounded(ours), columns)
    assert (depth.where, rest.where) == ("y[:, 0, :, :]", "y[:, 1:3, :, :]")


def test_one_class_of_many_is_named() -> None:
    ours = softmax(RNG.normal(0, 4, (300, 40)))
    theirs = rounded(ours)
    theirs[:, 17] = 0
    columns = Columns(np.arange(40), (0,) * 40, ("y",), frozenset({0}))
    (part,) = measure(ours, theirs, columns)
    assert part.sqnr_db is not None and part.sqnr_db > parts.LOST_DB
    (lost,) = part.lost
    assert lost.where == "y[:, 17]"
    assert lost.sqnr_db < 1
    assert lost.spread == pytest.approx(ours[:, 17].std())


def test_one_time_step_is_named() -> None:
    ours = RNG.normal(3, 1, (60, 12, 4))
    theirs = rounded(ours)
    theirs[:, 5] = 3
    (part,) = measure(ours, theirs)
    assert [lost.where for lost in part.lost] == ["y[:, 5, :]"]


def test_a_slice_that_a_part_does_not_reach_is_none_of_its() -> None:
    """The third of three rows is a part of its own."""
    ours = RNG.normal(0, np.array([[300.0], [300.0], [1.0]]), (60, 3, 2))
    columns = Columns(np.arange(6).reshape(3, 2), (0,) * 6, ("y",))
    large, small = measure(ours, rounded(ours), columns)
    assert (large.where, small.where) == ("y[:, 0:2, :]", "y[:, 2, :]")
    assert large.lost == small.lost == ()


def test_when_all_are_lost_the_part_is_and_no_column() -> None:
    ours = RNG.normal(0, 1, (60, 5))
    (part,) = measure(ours, np.zeros_like(ours))
    assert part.sqnr_db is not None and part.sqnr_db < parts.LOST_DB
    assert part.lost == ()


def hot(classes: int, rare: int = 0) -> Array:
    """A softmax that is mostly sure of one class; the last ones are seldom that."""
    logits = RNG.normal(0, 1, (200, classes))
    seen = classes - rare * (RNG.random(200) < 0.95)
    logits[np.arange(200), RNG.integers(0, seen)] += RNG.normal(9, 2, 200)
    return softmax(logits)


SCORES = {"1,000 classes": hot(1000), "rare classes": hot(20, 5), "two classes": hot(2)}
SOUND = {
    "logits": RNG.normal(0, np.exp(RNG.normal(0, 0.3, 500)), (100, 500)),
    "sparse heatmap": np.maximum(RNG.normal(-3, 1.5, (100, 16, 16, 2)), 0),
    "empty background": np.maximum(RNG.normal(0, 1, (100, 8, 8, 2)) * [1, 0], 0),
    "features": np.maximum(RNG.normal(-1, np.exp(RNG.normal(0, 0.7, 400)), (200, 400)), 0),
}


def require_sound(found: tuple[PartQuality, ...]) -> None:
    for part in found:
        assert part.sqnr_db is None or part.sqnr_db > parts.LOST_DB, part
        assert part.lost == (), part


@pytest.mark.parametrize("name", SOUND)
def test_ideal_rounding_is_never_accused(name: str) -> None:
    require_sound(measure(SOUND[name], rounded(SOUND[name])))


@pytest.mark.parametrize("name", SCORES)
def test_an_ideally_rounded_softmax_is_never_accused(name: str) -> None:
    ours = SCORES[name]
    count = ours.shape[1]
    columns = Columns(np.arange(count), (0,) * count, ("y",), frozenset({0}))
    require_sound(measure(ours, rounded(ours, 1 / 256), columns))


def test_a_class_of_a_thousand_alone_would_be_accused() -> None:
    ours = SCORES["1,000 classes"]
    theirs = rounded(ours, 1 / 256)
    alone = [measure(ours[:, [n]], theirs[:, [n]])[0].sqnr_db for n in range(0, 1000, 20)]
    assert np.median([0 if value is None else value for value in alone]) < parts.LOST_DB


def test_what_does_not_vary_has_no_figure() -> None:
    ours = np.full((20, 3), 7.0)
    (part,) = measure(ours, ours + 0.5)
    assert (part.sqnr_db, part.spread) == (None, 0.0)
    varies, constant = measure(
        np.hstack([RNG.normal(0, 1, (20, 2)), np.zeros((20, 2))]), np.zeros((20, 4)),
        Columns(np.arange(4), (0, 0, 1, 1), ("a", "b")),
    )  # fmt: skip
    assert varies.sqnr_db is not None
    assert constant.sqnr_db is None


def test_few_samples_do_not_tell_the_spread() -> None:
    ours = RNG.normal(0, 1, (9, 2))
    assert not measure(ours, ours)[0].is_known
    ours = RNG.normal(0, 1, (10, 2))
    assert measure(ours, ours)[0].is_known
    # Eight positions of one column are values enough.
    ours = RNG.normal(0, 1, (2, 8, 2))
    assert measure(ours, ours)[0].is_known


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_lost(value: float) -> None:
    ours = RNG.normal(0, 1, (30, 4))
    theirs = ours.copy()
    theirs[3, 2] = value
    (part,) = measure(ours, theirs)
    assert part.sqnr_db == -math.inf
    assert [lost.where for lost in part.lost] == ["y[:, 2]"]


def test_large_outputs_are_added_up_by_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = RNG.normal(5, [1, 200, 2], (20, 6, 7, 3))
    theirs = rounded(ours)
    plain = measure(ours, theirs)
    monkeypatch.setattr(parts, "_MOST_CELLS", 100)
    assert len(plain) == 2
    for ours_part, theirs_part in zip(plain, measure(ours, theirs), strict=True):
        assert ours_part.sqnr_db == pytest.approx(theirs_part.sqnr_db)
        assert ours_part.step == theirs_part.step
        assert ours_part.where == theirs_part.where


def test_an_output_of_another_shape_than_the_file_says_has_plain_columns() -> None:
    ours = RNG.normal(0, 1, (30, 5, 4))
    (part,) = measure(ours, rounded(ours), plain_columns("y", (6,)))
    assert part.where == "y"


def test_without_samples_there_are_no_parts() -> None:
    for columns in (None, plain_columns("y", (3,))):
        assert PartMeter("y", columns).result() == ()


# ---------------------------------------------------------------- limits, with figures set by hand


def given(*columns: tuple[float, float], samples: int = 20) -> tuple[Array, Array]:
    """Columns of values +spread and -spread, and the same with an error; each (spread, dB)."""
    signs = np.where(np.arange(samples) % 2, -1.0, 1.0)[:, np.newaxis]
    spreads, decibels = np.array(columns).T
    ours = signs * spreads
    return ours, ours + spreads * 10 ** (-decibels / 20)


def one_range(count: int) -> Columns:
    return Columns(np.arange(count), (0,) * count, ("y",), frozenset({0}))


def lost_of(ours: Array, theirs: Array) -> list[str]:
    (part,) = measure(ours, theirs, one_range(ours.shape[1]))
    return [lost.where for lost in part.lost]


@pytest.mark.parametrize(
    ("decibels", "rest", "is_lost"),
    [(9.9, 40.0, True), (10.1, 40.0, False), (5.0, 15.1, True), (5.0, 14.9, False)],
)
def test_a_column_is_lost_below_10_db_and_10_db_below_the_rest(
    decibels: float, rest: float, is_lost: bool
) -> None:
    assert lost_of(*given((1, rest), (1, decibels))) == (["y[:, 1]"] if is_lost else [])


@pytest.mark.parametrize(("samples", "lost"), [(9, []), (10, ["y[:, 0]"])])
def test_a_column_of_fewer_than_ten_values_is_not_lost(samples: int, lost: list[str]) -> None:
    assert lost_of(*given((1, 0), (1, 40), samples=samples)) == lost


@pytest.mark.parametrize(
    ("spread", "error", "is_lost"),
    [(2, 1.01, True), (2, 0.99, False), (1.01, 5, True), (0.99, 5, False)],
)
def test_what_8_bits_cannot_do_better_is_not_lost(
    spread: float, error: float, is_lost: bool
) -> None:
    """The step of 8 bits is 1, because another column goes from -127.5 to 127.5."""
    decibels = 20 * math.log10(spread / error)
    for unit in (1, 2, 0.5):
        found = lost_of(*given((127.5 * unit, 60), (spread * unit, decibels)))
        assert found == (["y[:, 1]"] if is_lost else [])


@pytest.mark.parametrize(("spread", "error"), [(2.0, 1.0), (1.0, 5.0)])
def test_what_is_just_a_step_of_8_bits_is_not_lost(spread: float, error: float) -> None:
    signs = np.where(np.arange(20) % 2, -1.0, 1.0)
    ours = np.stack([127.5 * signs, spread * signs], axis=1)
    assert lost_of(ours, ours + np.array([0.0, error])) == []


def test_a_column_beside_one_that_is_constant_is_named() -> None:
    ours, theirs = given((1, 0), (1, 0))
    ours[:, 0] = theirs[:, 0] = 0
    assert lost_of(ours, theirs) == ["y[:, 1]"]


def test_twenty_lost_columns_are_named_the_worst_first() -> None:
    small = [(1.0, -0.1 * number) for number in range(25)]
    assert lost_of(*given(*small, *[(100.0, 60.0)] * 5)) == [
        f"y[:, {number}]" for number in range(24, 4, -1)
    ]


@pytest.mark.parametrize(("ratio", "parts_"), [(7.9, 1), (8.1, 2)])
def test_spreads_more_than_8_times_apart_are_parts(ratio: float, parts_: int) -> None:
    found = measure(*given((1, 30), (ratio, 50)))
    assert [part.where for part in found] == (["y"] if parts_ == 1 else ["y[:, 0]", "y[:, 1]"])
    # Spreads in between join them.
    assert len(measure(*given((1, 30), (ratio, 50), (math.sqrt(ratio), 40)))) == 1


@pytest.mark.parametrize(("count", "parts_"), [(15, 2), (16, 1)])
def test_a_small_column_among_more_than_sixteen_is_no_part(count: int, parts_: int) -> None:
    assert len(measure(*given(*[(100.0, 40.0)] * count, (1.0, 40.0)))) == parts_


def test_constant_columns_belong_to_the_largest_part() -> None:
    ours, theirs = given((1, 30), (100, 30), (1, 30))
    ours[:, 2] = theirs[:, 2] = 7
    small, large = measure(ours, theirs)
    assert (small.where, large.where) == ("y[:, 0]", "y[:, 1:3]")


@pytest.mark.parametrize(("change", "varies"), [(4.9e-4, False), (5.1e-4, True)])
def test_a_change_beyond_the_precision_of_float32_is_one(change: float, varies: bool) -> None:
    ours, theirs = given((change, 20))
    (part,) = measure(ours + 1000, theirs + 1000)
    assert part.sqnr_db == (pytest.approx(20, abs=0.01) if varies else None)


def test_values_that_are_no_numbers_do_not_count() -> None:
    ours, theirs = given((1, 20), (1, 20), samples=12)
    ours[:2, 0] = theirs[:2, 0] = math.nan
    (part,) = measure(ours, theirs)
    assert (part.is_known, part.sqnr_db) == (True, pytest.approx(20))
    assert part.spread == pytest.approx(1)
    ours[2, 0] = theirs[2, 0] = math.inf
    (part,) = measure(ours, theirs)
    assert not part.is_known


def test_the_number_of_rows_added_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = RNG.normal(3, 1, (20, 2, 3))
    theirs = rounded(ours)
    plain = measure(ours, theirs)
    for cells in (6, 13):  # as many values as a sample has, and two samples at once
        monkeypatch.setattr(parts, "_MOST_CELLS", cells)
        (other,) = measure(ours, theirs)
        assert other.sqnr_db == pytest.approx(plain[0].sqnr_db)
        assert (other.spread, other.step) == pytest.approx((plain[0].spread, plain[0].step))


def test_places_are_named_as_python_indexes_them() -> None:
    """Small values are a row, a column, a block or scattered places of 2 x 3 values."""
    for places, where in (
        ([0, 1, 2], "y[:, 0, :]"), ([1, 4], "y[:, :, 1]"), ([1, 2, 4, 5], "y[:, :, 1:3]"),
        ([5], "y[:, 1, 2]"), ([0, 5], "y, 2 values of 6"),
    ):  # fmt: skip
        columns = [(1.0 if place in places else 100.0, 30.0) for place in range(6)]
        ours, theirs = (values.reshape(-1, 2, 3) for values in given(*columns))
        labels = np.arange(6).reshape(2, 3)
        found = measure(ours, theirs, Columns(labels, (0,) * 6, ("y",)))
        assert where in [part.where for part in found], where


def test_a_lost_slice_has_its_spread_about_the_means_of_the_columns() -> None:
    """The means of the first batch are far from those of all: 3 and 9 give 6."""
    middle = np.repeat([3.0, 9.0], 10)[:, np.newaxis, np.newaxis]
    ours = middle + np.where(np.arange(20) % 2, -1.0, 1.0)[:, np.newaxis, np.newaxis]
    ours = np.broadcast_to(ours, (20, 4, 2))
    theirs = ours + 0.01
    theirs[:, 1] = 6
    (part,) = measure(ours, theirs)
    (lost,) = part.lost
    assert lost.where == "y[:, 1, :]"
    assert (lost.spread, lost.sqnr_db) == (pytest.approx(math.sqrt(10)), pytest.approx(0, abs=1e-6))


def test_a_place_is_named_though_channels_come_first() -> None:
    ours = RNG.normal(0, 1, (60, 3, 5))
    theirs = rounded(ours)
    theirs[:, :, 2] = 0
    columns = Columns(np.broadcast_to(np.arange(3)[:, np.newaxis], (3, 5)), (0,) * 3, ("y",))
    (part,) = measure(ours, theirs, columns)
    assert [lost.where for lost in part.lost] == ["y[:, :, 2]"]


def test_a_column_that_is_no_number_hides_no_other() -> None:
    ours, theirs = given((1, 60), (1, 9), (1, 60))
    theirs[0, 0] = math.nan
    assert lost_of(ours, theirs) == ["y[:, 0]", "y[:, 1]"]
