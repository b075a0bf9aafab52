"""Which trials are inside a budget, and which one is best: figures alone, nothing is run."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from edgeq.tuning.choice import _is_pareto
from edgeq.tuning.search import Search, badness
from edgeq.values import ConvertOptions, Interval, Ratio, Recipe, Trial, TuneOptions

PLAIN = Recipe("minmax", False, "channel")


def trial(
    sqnr: float = 30.0,
    drop: float | None = None,
    *,
    size: int = 100,
    ms: float | None = None,
    sha256: str | None = "0",
    recipe: Recipe = PLAIN,
) -> Trial:
    interval = None if drop is None else Interval(drop, drop - 5, drop + 5)
    speed = None if ms is None else Ratio(1 / ms, 0.5 / ms, 2 / ms)
    return Trial(recipe, sha256, size, "s", sqnr, None, interval, speed, ms)


def search(*trials: Trial, rejected: tuple[Recipe, ...] = (), **budget: Any) -> Any:
    """What the budget is decided by, of a search."""
    own = SimpleNamespace(
        options=TuneOptions(ConvertOptions(**budget)), trials=list(trials), _rejected=set(rejected)
    )
    own.ranked = lambda: sorted((item for item in trials if item.sha256 is not None), key=badness)
    return own


@pytest.mark.parametrize(
    ("given", "budget", "is_kept"),
    [
        (trial(20.0), {"min_sqnr_db": 20.0}, True),
        (trial(19.99), {"min_sqnr_db": 20.0}, False),
        (trial(-math.inf), {"min_sqnr_db": 0.0}, False),
        (trial(math.inf), {"min_sqnr_db": 99.0}, True),
        (trial(drop=1.0), {"max_drop_points": 1.0}, True),  # the drop decides, not its interval
        (trial(drop=1.01), {"max_drop_points": 1.0}, False),
        (trial(drop=0.01), {"max_drop_points": 0.0}, False),
        (trial(drop=-3.0), {"max_drop_points": 0.0}, True),
        (trial(), {"max_drop_points": 1.0}, False),  # nobody measured it
        (trial(20.0, 1.0), {"min_sqnr_db": 20.0, "max_drop_points": 1.0}, True),
        (trial(19.0, 1.0), {"min_sqnr_db": 20.0, "max_drop_points": 1.0}, False),
        (trial(20.0, 1.1), {"min_sqnr_db": 20.0, "max_drop_points": 1.0}, False),
        (trial(99.0, 0.0, sha256=None), {"min_sqnr_db": 20.0}, False),
    ],
)
def test_a_budget_is_kept_to_the_last_digit(
    given: Trial, budget: dict[str, float], is_kept: bool
) -> None:
    assert Search.keeps_budget(search(**budget), given) == is_kept
    assert not Search.keeps_budget(search(rejected=(PLAIN,), **budget), given)


def test_accuracy_counts_before_sqnr() -> None:
    best, second, third = trial(10.0, 0.0), trial(40.0, 0.5), trial(30.0, 0.5)
    assert sorted([third, second, best], key=badness) == [best, second, third]
    assert sorted([trial(10.0), trial(40.0)], key=badness) == [trial(40.0), trial(10.0)]


def test_the_nearest_misses_the_budget_by_the_least() -> None:
    near, far = trial(10.0, 1.2), trial(40.0, 3.0)
    assert Search.nearest(search(far, near, max_drop_points=1.0)) == near
    inside, better = trial(10.0, 0.2), trial(20.0, 0.9)  # neither misses it: then it is the SQNR
    assert Search.nearest(search(inside, better, max_drop_points=1.0)) == better
    assert Search.nearest(search(trial(10.0), trial(30.0), min_sqnr_db=50)) == trial(30.0)
    assert Search.nearest(search(trial(sha256=None), min_sqnr_db=50)) is None


@pytest.mark.parametrize(
    ("own", "other", "is_pareto"),
    [
        (trial(30.0), trial(30.0), True),  # equals leave each other
        (trial(30.0), trial(31.0), False),
        (trial(31.0), trial(30.0), True),
        (trial(30.0, size=90), trial(31.0, size=100), True),  # each has something
        (trial(30.0, size=100), trial(31.0, size=100), False),
        (trial(30.0, size=101), trial(30.0, size=100), False),
        (trial(30.0, 0.5), trial(20.0, 0.5), True),
        (trial(30.0, 0.6), trial(30.0, 0.5), False),
        (trial(30.0, ms=2.0), trial(30.0, ms=1.0), False),
        (trial(30.0, ms=1.0), trial(30.0, ms=2.0), True),
        (trial(30.0, ms=2.0, size=90), trial(30.0, ms=1.0), True),
        (trial(30.0), trial(40.0, ms=1.0), True),  # of which speed is not known, is not compared
        (trial(30.0, sha256=None), trial(20.0), False),
        (trial(30.0), trial(40.0, sha256=None), True),
    ],
)
def test_what_another_is_better_than_in_all_is_no_choice(
    own: Trial, other: Trial, is_pareto: bool
) -> None:
    assert _is_pareto(own, [own, other]) == is_pareto
    assert _is_pareto(own, [other, own]) == is_pareto
