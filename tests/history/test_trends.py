"""A metric over time, and two records side by side."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from edgeq.errors import RecordError, UsageError
from edgeq.history.store import History
from edgeq.history.trends import _change
from edgeq.history.values import METRICS, Figure, Filter, TrendPoint
from edgeq.render.history import show_sparks
from edgeq.values import BenchResult, Issue
from tests.history.conftest import COMPARE, EVAL, bench_result, write_bench

EMULATED = (Issue("bench.emulated", "error", "emulated"),)


def add(history: History, tmp_path: Path, *results: BenchResult) -> None:
    """One record a day."""
    for number, result in enumerate(results, 1):
        path = write_bench(tmp_path / f"{number}.json", result, f"2026-11-{number:02}T00:00:00Z")
        history.add([path])


def test_points_stand_in_the_order_they_were_made(history: History, tmp_path: Path) -> None:
    paths = [
        write_bench(tmp_path / f"{day}.json", bench_result(float(day)), f"2026-11-0{day}T00:00:00Z")
        for day in (3, 1, 2)
    ]
    history.add(paths)
    (series,) = history.trend("p50").series
    assert [(p.number, p.value, p.change) for p in series.points] == [
        (2, 1.0, None), (3, 2.0, 1.0), (1, 3.0, 1.0),
    ]  # fmt: skip
    assert (series.points[0].low, series.points[0].high) == (0.9, 1.1)


def test_what_cannot_be_compared_is_another_series(history: History, tmp_path: Path) -> None:
    add(
        history, tmp_path, bench_result(2.0), bench_result(3.0, threads=2),
        bench_result(4.0, device="pi5"), bench_result(5.0, model="old/net.tflite"),
    )  # fmt: skip
    found = history.trend("p50")
    assert [[p.value for p in series.points] for series in found.series] == [[2], [3], [4], [5]]
    # By its name, the model is one wherever it lay.
    named = history.trend("p50", Filter(model="net"))
    assert [[p.value for p in series.points] for series in named.series] == [[2, 5], [3], [4]]
    assert {series.model for series in named.series} == {"net.tflite"}
    there = history.trend("p50", Filter(device="pi5"))
    assert [[p.value for p in series.points] for series in there.series] == [[4]]
    sizes = history.trend("size", Filter(device="pi5"))
    assert [len(series.points) for series in sizes.series] == [1]


def test_an_invalid_point_is_kept_and_changes_nothing(history: History, tmp_path: Path) -> None:
    add(history, tmp_path, bench_result(2.0), bench_result(9.0, issues=EMULATED), bench_result(3.0))
    (series,) = history.trend("p50").series
    assert [(p.value, p.validity, p.change) for p in series.points] == [
        (2.0, "valid", None), (9.0, "invalid", None), (3.0, "valid", 1.0),
    ]  # fmt: skip


def test_last_is_of_each_series(history: History, tmp_path: Path) -> None:
    add(history, tmp_path, *(bench_result(float(n)) for n in range(1, 6)))
    (series,) = history.trend("p50", Filter(last=2)).series
    assert [(p.value, p.change) for p in series.points] == [(4.0, 1.0), (5.0, 1.0)]


def test_an_unknown_metric(history: History) -> None:
    with pytest.raises(UsageError) as caught:
        history.trend("speed")
    assert str(caught.value) == (
        "Unknown metric 'speed'; use one of accuracy-drop, accuracy, sqnr, size, p50, p90, "
        "speed-up, peak-memory. Did you mean 'speed-up'?"
    )


def test_a_difference_says_what_is_better_and_whether_it_is_clear(
    history: History, tmp_path: Path
) -> None:
    add(history, tmp_path, bench_result(2.0, fp32=4.0), bench_result(1.5, fp32=4.1))
    found = {(c.metric, c.after.role if c.after else ""): c for c in history.diff("1", "2").changes}
    p50 = found["p50", "model"]
    assert (p50.change, p50.change_percent, p50.is_better, p50.is_clear) == (-0.5, -25, True, True)
    baseline = found["p50", "baseline"]
    assert (baseline.is_better, baseline.is_clear) == (False, False)
    size = found["size", "model"]
    assert (size.change, size.is_better, size.is_clear) == (0, None, None)


def figure(
    metric: str, value: float, low: float | None = None, high: float | None = None
) -> Figure:
    return Figure(metric, "model", "m.tflite", "0", "pi", value, low, high, "valid", ())


@pytest.mark.parametrize(
    ("metric", "before", "after", "change", "percent", "is_better"),
    [
        ("accuracy-drop", 1.0, 2.0, 1.0, None, False),
        ("accuracy-drop", 2.0, 1.0, -1.0, None, True),
        ("accuracy", 90.0, 91.0, 1.0, None, True),
        ("accuracy", 91.0, 90.0, -1.0, None, False),
        ("sqnr", 20.0, 30.0, 10.0, None, True),
        ("sqnr", 30.0, 20.0, -10.0, None, False),
        ("size", 100.0, 150.0, 50.0, 50.0, False),
        ("size", 100.0, 80.0, -20.0, -20.0, True),
        ("p50", 2.0, 1.0, -1.0, -50.0, True),
        ("p90", 2.0, 3.0, 1.0, 50.0, False),
        ("speed-up", 2.0, 3.0, 1.0, 50.0, True),
        ("speed-up", 2.0, 1.0, -1.0, -50.0, False),
        ("peak-memory", 10.0, 12.0, 2.0, 20.0, False),
        ("size", 100.0, 100.0, 0.0, 0.0, None),
        ("p50", 0.0, 1.0, 1.0, None, False),
        ("sqnr", float("inf"), float("inf"), 0.0, None, None),
        ("sqnr", 30.0, float("inf"), float("inf"), None, True),
        ("sqnr", float("inf"), 30.0, float("-inf"), None, False),
    ],
)
def test_each_metric_knows_what_is_better(
    metric: str, before: float, after: float, change: float, percent: float | None,
    is_better: bool | None,
) -> None:  # fmt: skip
    found = _change(metric, figure(metric, before), figure(metric, after))
    assert (found.change, found.change_percent, found.is_better) == (change, percent, is_better)


def test_every_metric_has_its_direction() -> None:
    higher = {name for name, metric in METRICS.items() if metric.is_higher_better}
    assert higher == {"accuracy", "sqnr", "speed-up"}


@pytest.mark.parametrize(
    ("before", "after", "is_clear"),
    [
        ((1.0, 2.0), (2.1, 3.0), True),
        ((2.1, 3.0), (1.0, 2.0), True),
        ((1.0, 2.0), (2.03, 3.0), False),  # 2 % lie between two runs
        ((2.03, 3.0), (1.0, 2.0), False),
        ((1.0, 2.0), (2.0, 3.0), False),  # they touch
        ((2.0, 3.0), (1.0, 2.0), False),
        ((1.0, 4.0), (2.0, 3.0), False),
        ((None, None), (2.0, 3.0), None),
        ((1.0, 2.0), (None, None), None),
    ],
)
def test_a_change_is_clear_when_no_value_is_in_both_intervals(
    before: tuple[float, float], after: tuple[float, float], is_clear: bool | None
) -> None:
    found = _change("p50", figure("p50", 2.0, *before), figure("p50", 2.5, *after))
    assert found.is_clear == is_clear


def test_what_is_not_comparable_is_named(history: History, tmp_path: Path) -> None:
    add(
        history, tmp_path, bench_result(2.0), bench_result(1.5, device="pi5", threads=2),
        bench_result(1.0, issues=EMULATED),
    )  # fmt: skip
    changes = {c.metric: c for c in history.diff("1", "2").changes}
    assert changes["p50"].obstacle == "device pi4 against pi5; threads 1 against 2"
    assert changes["p50"].change is None
    assert changes["size"].obstacle is None
    changes = {c.metric: c for c in history.diff("3", "1").changes}
    assert changes["p50"].obstacle == "the first is invalid"


def test_other_data_is_not_comparable(history: History) -> None:
    history.add([EVAL, COMPARE])
    changes = {
        c.metric: c for c in history.diff("1", "2").changes if c.before is not None and c.after
    }
    assert changes["accuracy"].obstacle is None  # the same 50 samples of the same file
    assert changes["accuracy"].change == 0


def eval_on(device: str | None, tmp_path: Path, day: int) -> Path:
    """The stored record as one of a device, on a day of November."""
    plain = json.loads(EVAL.read_text())
    plain["evaluations"][0] |= {"device": device, "processor": device and "Cortex-A72"}
    plain["provenance"]["created"] = f"2026-11-{day:02}T00:00:00Z"
    path = tmp_path / f"eval-{day}.json"
    path.write_text(json.dumps(plain))
    return path


def test_accuracies_of_two_devices_are_two_series(history: History, tmp_path: Path) -> None:
    history.add([eval_on(device, tmp_path, n) for n, device in enumerate(("pi4", "local"), 1)])
    assert [len(series.points) for series in history.trend("accuracy").series] == [1, 1]
    changes = {change.metric: change for change in history.diff("1", "2").changes}
    assert changes["accuracy"].obstacle == "device pi4 against local"


def test_records_of_before_they_told_their_device_stay_comparable(
    history: History, tmp_path: Path
) -> None:
    history.add([eval_on(device, tmp_path, n) for n, device in enumerate((None, "local"), 1)])
    (series,) = history.trend("accuracy").series
    assert [point.number for point in series.points] == [1, 2]
    assert series.conditions[-1].shown == "local"
    changes = {change.metric: change for change in history.diff("1", "2").changes}
    assert (changes["accuracy"].obstacle, changes["accuracy"].change) == (None, 0)
    history.add([eval_on("pi4", tmp_path, 3)])  # now nobody can tell whose the first one is
    assert [len(series.points) for series in history.trend("accuracy").series] == [1, 1, 1]


def test_nothing_in_common(history: History, tmp_path: Path, made_doctor: Path) -> None:
    add(history, tmp_path, bench_result(2.0))
    history.add([made_doctor])
    with pytest.raises(RecordError) as caught:
        history.diff("1", "2")
    assert str(caught.value) == (
        "Record 1 (bench) and record 2 (doctor) have no figure in common. See what each has: "
        "edgeq history show ID"
    )


def sparks(*values: float) -> str:
    return show_sparks(
        [TrendPoint(1, "", "", None, (), "", "valid", value, None, None, None) for value in values]
    )


def test_identical_is_highest_and_nothing_alike_lowest() -> None:
    assert sparks(10.0, 20.0, math.inf, -math.inf) == "▁██▁"
    assert sparks(10.0, 10.0) == sparks(10.0) * 2
    assert sparks(0.0, 7.0, 3.5)[:2] == "▁█"
