"""What a conversion is held to: the user's budgets, exactly."""

from __future__ import annotations

import math
from typing import Any

import pytest

from edgeq.errors import DataError, GateError
from edgeq.proof import check_gates
from edgeq.values import (
    Certificate,
    Conversion,
    ConvertOptions,
    DataRef,
    FileRef,
    FloatModel,
    Interval,
    OutputQuality,
    PairedCounts,
    Quality,
    TfliteModel,
)

FILE = FileRef("m.tflite", "0" * 64, 1)


def finished(
    *sqnrs: float, drop: Interval | None = None, is_measured: bool = True, **budget: Any
) -> Conversion:
    """A conversion with these figures and budgets."""
    outputs = tuple(OutputQuality(f"out{n}", sqnr, 0.0, 0.0) for n, sqnr in enumerate(sqnrs))
    labelled = (None, None, None) if drop is None else (90.0, 90.0, PairedCounts(80, 10, 10, 0))
    quality = Quality(100, True, outputs, None, *labelled, drop) if is_measured else None
    return Conversion(
        options=ConvertOptions(**budget),
        source=FloatModel(FILE, FILE, "tflite", "", (), ()),
        data=DataRef("train.npz", "npz", "0" * 64, 100, has_labels=False),
        test_data=None,
        model=TfliteModel(FILE, "int8", "int8", "channel", None),
        certificate=Certificate((), (), (), 0, 0, 0, (), (), None, (), None, 1),
        quality=quality,
        validity="valid",
        issues=(),
        versions=(),
    )


@pytest.mark.parametrize("measured", [20.0, 9.5, -3.0, 41.26])
def test_the_least_sqnr_is_held_to_the_last_digit(measured: float) -> None:
    check_gates(finished(measured, min_sqnr_db=measured))
    check_gates(finished(measured, min_sqnr_db=measured - 0.01))
    with pytest.raises(GateError) as caught:
        check_gates(finished(measured, min_sqnr_db=measured + 0.01))
    assert caught.value.exit_code == 3
    assert caught.value.message.startswith(f"SQNR is {measured:.1f} dB, below the ")
    assert caught.value.message.endswith(" dB asked for; nothing was written.")


def test_the_least_sqnr_is_of_the_worst_output() -> None:
    for sqnrs in ((40.0, 12.0), (12.0, 40.0), (40.0, 12.0, math.inf)):
        check_gates(finished(*sqnrs, min_sqnr_db=12))
        with pytest.raises(GateError, match=r"SQNR is 12\.0 dB, below the 12\.1 dB asked for"):
            check_gates(finished(*sqnrs, min_sqnr_db=12.1))


def test_identical_outputs_keep_every_least_sqnr() -> None:
    check_gates(finished(math.inf, min_sqnr_db=200))
    with pytest.raises(GateError):
        check_gates(finished(-math.inf, min_sqnr_db=0))


@pytest.mark.parametrize(
    ("drop", "is_kept"),
    [
        (Interval(1.0, 0.5, 1.5), True),  # exactly the budget
        (Interval(0.9, 0.5, 3.0), True),  # the upper end is a doubt, no failure
        (Interval(1.01, -0.5, 2.5), False),  # the lower end is inside
        (Interval(1.5, 1.2, 1.8), False),
        (Interval(0.0, -1.0, 1.0), True),
        (Interval(-2.0, -3.0, -1.0), True),  # better than the float model
    ],
)
def test_the_most_drop_is_about_the_measured_drop(drop: Interval, is_kept: bool) -> None:
    conversion = finished(30.0, drop=drop, max_drop_points=1.0)
    if is_kept:
        check_gates(conversion)
        return
    with pytest.raises(GateError) as caught:
        check_gates(conversion)
    assert caught.value.exit_code == 3
    assert caught.value.message == (
        f"Accuracy drops by {drop.value:.2f} points (95 % interval {drop.low:.2f} to "
        f"{drop.high:.2f}), more than the 1 asked for; nothing was written."
    )


def test_a_budget_of_nothing_is_a_budget() -> None:
    check_gates(finished(30.0, drop=Interval(0.0, -1.0, 1.0), max_drop_points=0.0))
    with pytest.raises(GateError, match="more than the 0 asked for"):
        check_gates(finished(30.0, drop=Interval(0.1, -1.0, 1.2), max_drop_points=0.0))
    with pytest.raises(GateError, match="below the 0 dB asked for"):
        check_gates(finished(-0.1, min_sqnr_db=0.0))


def test_a_drop_that_nobody_measured_keeps_no_budget() -> None:
    for conversion in (finished(30.0, max_drop_points=5.0),
                       finished(max_drop_points=5.0, is_measured=False)):  # fmt: skip
        with pytest.raises(DataError) as caught:
            check_gates(conversion)
        assert caught.value.message == (
            "--max-drop needs labelled samples, and train.npz has no class labels."
        )


def test_both_budgets_count() -> None:
    good = Interval(0.5, 0.0, 1.0)
    check_gates(finished(30.0, drop=good, min_sqnr_db=30, max_drop_points=0.5))
    with pytest.raises(GateError, match="SQNR"):
        check_gates(finished(29.0, drop=good, min_sqnr_db=30, max_drop_points=0.5))
    with pytest.raises(GateError, match="Accuracy"):
        check_gates(finished(30.0, drop=good, min_sqnr_db=30, max_drop_points=0.4))


def test_without_a_budget_nothing_is_held() -> None:
    check_gates(finished(-30.0, drop=Interval(90.0, 80.0, 95.0)))
