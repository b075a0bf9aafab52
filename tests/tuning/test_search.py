"""Which trials are inside a budget, and which one is best: figures alone, nothing is run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgeq.tuning.search import Search, badness
from edgeq.tuning.selection import Choice, _is_pareto
from edgeq.tuning.trial import is_hopeless
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
        options=TuneOptions(ConvertOptions(**budget)), trials=list(trials), _rejected=rejected
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


def test_a_dropped_trial_is_in_no_budget_and_behind_all_others() -> None:
    early = replace(trial(50.0, 0.0), dropped_after=128)
    assert not Search.keeps_budget(search(max_drop_points=1.0), early)
    assert sorted([early, trial(1.0, 30.0)], key=badness)[1] is early


@pytest.mark.parametrize(
    ("drop", "count", "most", "is_certain"),
    [
        (Interval(10.0, 6.0, 14.0), 512, 1.9, True),  # 10 - 2 * 4
        (Interval(10.0, 6.0, 14.0), 512, 2.0, False),
        (Interval(10.0, 6.0, 14.0), 511, 1.9, False),  # few samples are quickly run
        (Interval(10.0, 6.0, 14.0), 512, None, False),
        (None, 512, 1.9, False),
    ],
)
def test_only_what_is_far_outside_of_the_budget_is_hopeless(
    drop: Interval | None, count: int, most: float | None, is_certain: bool
) -> None:
    assert is_hopeless(drop, count, most) == is_certain


def test_a_wider_budget_tries_again_what_it_might_not_have_dropped() -> None:
    paired = {"both_right": 90, "both_wrong": 8, "only_baseline": 30, "only_candidate": 0}
    early = {"sha256": "0", "size_bytes": 1, "structure": "s", "sqnr_db": 9.0, "paired": paired,
             "dropped_after": 128}  # fmt: skip
    full = {**early, "dropped_after": None}
    for outcome, most, is_known in (
        (early, 1.0, True),
        (early, 20.0, False),
        (early, None, False),
        (full, 20.0, True),
        (full, None, True),
    ):
        own = SimpleNamespace(journal=SimpleNamespace(known=lambda *_, outcome=outcome: outcome))
        found = Search._known(own, "search", PLAIN, 1000, most)  # type: ignore[arg-type]
        assert found == (outcome if is_known else None)


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


def named(number: int, given: Trial) -> Trial:
    """With a recipe and a structure of its own, so that it has its own latency."""
    return replace(given, recipe=Recipe(f"{number}", False, "channel"), structure=f"{number}")


def choice(*trials: Trial, rejected: Mapping[Recipe, Trial], objective: str = "latency") -> Choice:
    """What is known once these were tried and measured, for a drop of 0.5 points."""
    own = search(*trials, rejected=rejected, max_drop_points=0.5)
    own.options = replace(own.options, objective=objective)
    own.is_rejected = lambda item: Search.is_rejected(own, item)
    own.proof_against = lambda item: Search.proof_against(own, item)
    own.is_float = lambda item: bool(item.recipe.keep_float)
    made = Choice(own, Path(), SimpleNamespace(), SimpleNamespace(), lambda *told: None)  # type: ignore[arg-type]
    made._speeds = {
        item.structure: (item.speedup, item.latency_ms)
        for item in trials
        if item.speedup is not None and item.latency_ms is not None
    }
    return made


def test_each_trial_says_why_it_was_not_chosen() -> None:
    chosen = named(0, trial(38.0, 0.0, ms=1.0))
    better = named(1, trial(39.0, 0.0, ms=1.0))
    all_float = replace(trial(99.0, 0.0, ms=1.0), recipe=Recipe("1", False, "channel", (), ("c",)))
    others = {
        "on the samples kept apart a drop of 0.70 points is above 0.5": better,
        "a drop of 0.60 points is above 0.5": named(2, trial(40.0, 0.6, ms=1.0)),
        "no file could be made": named(3, trial(sha256=None)),
        "dropped after 125 samples: a drop of 9.00 points is above 0.5": replace(
            named(8, trial(50.0, 9.0, size=1)), dropped_after=125
        ),
        "its latency was not measured: others came first": named(4, trial(37.0, 0.0)),
        "slower by 10 %": named(5, trial(40.0, 0.0, ms=1.1)),
        "it loses 0.10 points more": named(6, trial(40.0, 0.1, ms=1.02)),
        "its SQNR is lower": named(7, trial(37.0, 0.0, ms=1.02)),
        "larger by 1,000 bytes": named(8, trial(38.0, 0.0, ms=1.0, size=1100)),
        "it is not better in any figure": named(9, trial(38.0, 0.0, ms=1.0)),
        "nothing of it is in INT8": all_float,
    }
    rejected = {better.recipe: trial(39.0, 0.7)}
    table = choice(*others.values(), chosen, rejected=rejected).table(chosen)
    assert (table[0].recipe, table[0].rejected) == (chosen.recipe, None)
    assert {item.rejected: item.recipe for item in table[1:]} == {
        reason: item.recipe for reason, item in others.items()
    }


def test_what_the_samples_kept_apart_rejected_beats_nothing() -> None:
    chosen, better = named(0, trial(38.0, 0.0, ms=1.0)), named(1, trial(39.0, 0.0, ms=1.0))
    rejected = {better.recipe: trial(39.0, 0.7)}
    first, second = choice(better, chosen, rejected=rejected).table(chosen)
    assert (first.recipe, first.is_pareto, second.is_pareto) == (chosen.recipe, True, False)
    assert (first.is_refuted, second.is_refuted) == (False, True)
    first, second = choice(better, chosen, rejected={}).table(better)
    assert (first.recipe, first.is_pareto, second.is_pareto) == (better.recipe, True, False)


@pytest.mark.parametrize("objective", ["latency", "size"])
def test_of_equals_none_is_chosen_that_another_beats(objective: str) -> None:
    slow, large = trial(30.0, 0.0, ms=1.02), trial(30.0, 0.0, ms=1.0, size=101)
    best = named(3, trial(30.0, 0.0, ms=1.0))
    trials = [named(1, slow), named(2, large), best]
    made = choice(*trials, rejected={}, objective=objective)
    assert made._by_objective(trials)[0] == best
    assert made.table(best)[0].is_pareto
