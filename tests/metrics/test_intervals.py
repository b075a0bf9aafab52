"""Intervals: bootstrap against formulas, coverage, pairs."""

from __future__ import annotations

import numpy as np
import pytest

from edgeq.metrics.intervals import interval_of, loss_interval
from edgeq.metrics.metric import WeightedMetric
from edgeq.metrics.regression import MeanError
from edgeq.values import Interval
from tests.metrics.measuring import filled


def weighted(name: str, outputs: object, labels: object) -> WeightedMetric:
    metric = filled(name, outputs, labels)
    assert isinstance(metric, WeightedMetric)
    return metric


def test_the_bootstrap_of_a_mean_is_that_of_the_normal_distribution() -> None:
    errors = np.random.default_rng(3).normal(0, 1, 4000)
    found = interval_of(weighted("mse", errors, np.zeros(4000)))
    half = 1.96 * np.std(errors**2) / np.sqrt(4000)
    assert found.value == pytest.approx(np.mean(errors**2))
    assert found.low == pytest.approx(found.value - half, abs=half / 10)
    assert found.high == pytest.approx(found.value + half, abs=half / 10)


def test_the_same_samples_give_the_same_interval() -> None:
    scores, labels = np.random.default_rng(0).random((2, 50))
    assert interval_of(weighted("mae", scores, labels)) == interval_of(
        weighted("mae", scores, labels)
    )


def test_a_share_of_samples_has_wilsons_interval() -> None:
    found = interval_of(weighted("top1", np.eye(2)[[0, 1] * 10], [0, 1] * 9 + [1, 0]))
    # 18 of 20: Wilson's interval is 69.9 to 97.2 per cent
    assert (found.value, round(found.low, 1), round(found.high, 1)) == (90.0, 69.9, 97.2)


@pytest.mark.parametrize("name", ["mae", "r2", "f1", "eer"])
def test_a_worse_candidate_loses(name: str) -> None:
    random = np.random.default_rng(1)
    labels = random.integers(0, 2, 600)
    good = np.clip(labels + random.normal(0, 0.4, 600), 0, 1)
    worse = np.clip(good + random.normal(0, 0.5, 600), 0, 1)
    lost = loss_interval(*(weighted(name, scores, labels) for scores in (good, worse)))
    won = loss_interval(*(weighted(name, scores, labels) for scores in (worse, good)))
    values = [weighted(name, scores, labels).value().value for scores in (good, worse)]
    assert lost.value == pytest.approx(abs(values[0] - values[1]))
    assert 0 < lost.low < lost.value < lost.high
    assert (won.value, won.low, won.high) == pytest.approx((-lost.value, -lost.high, -lost.low))


def test_pairs_see_what_two_intervals_do_not() -> None:
    random = np.random.default_rng(2)
    labels = random.normal(0, 1, 500)
    good = labels + random.normal(0, 1, 500)
    ours, theirs = (
        weighted("mae", good, labels),
        weighted("mae", labels + 1.02 * (good - labels), labels),
    )
    assert interval_of(ours).high > interval_of(theirs).low
    assert loss_interval(ours, theirs).low > 0


def test_no_difference_in_few_samples_proves_little() -> None:
    scores, labels = np.eye(2)[[0, 1] * 20], [0, 1] * 20
    same = weighted("f1", scores, labels)
    found = loss_interval(same, same)
    assert (found.value, found.low, found.high) == (0.0, -100 * 3.69 / 40, 100 * 3.69 / 40)
    few = weighted("f1", scores[:2], labels[:2])
    assert loss_interval(few, few).high == 100  # and not 184.5
    shares = [weighted("top1", scores, [0, wrong] * 20) for wrong in (1, 0)]
    assert loss_interval(*shares).value == 50
    # An error in the output's own unit has no such end.
    zero = weighted("mae", np.ones(5), np.ones(5))
    assert loss_interval(zero, zero) == Interval(0.0, 0.0, 0.0)


def test_the_interval_covers_the_true_loss_in_19_of_20_sets() -> None:
    random = np.random.default_rng(7)
    covered = 0
    for _ in range(200):
        errors = random.normal(0, 1, (2, 60))
        ours, theirs = MeanError("mse"), MeanError("mse")
        ours.add({"out": errors[0]}, np.zeros(60))
        theirs.add({"out": 1.5 * errors[1]}, np.zeros(60))
        found = loss_interval(ours, theirs)
        covered += found.low <= 1.25 <= found.high
    assert 178 <= covered <= 198
