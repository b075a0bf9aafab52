"""Labels in another order of classes than the model's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeq.accuracy.quality_meter import QualityMeter
from edgeq.accuracy.renamed_classes import renamed_accuracy
from edgeq.accuracy.verdict import float_doubts, judge_comparison
from edgeq.values import TensorSpec

Classes = NDArray[np.int64]


def answers(labels: Classes, share: float, classes: int) -> Classes:
    """A model that is right for this share of the samples, and guesses for the others."""
    rng = np.random.default_rng(0)
    guessed = rng.integers(0, classes, len(labels))
    return np.where(rng.random(len(labels)) < share, labels, guessed)


def rename(labels: Classes) -> Classes:
    """The names in alphabetical order are those of another order."""
    return np.array([3, 1, 0, 4, 2, 5, 9, 8, 7, 6])[labels]


@pytest.mark.parametrize(
    ("share", "change", "found"),
    [
        (0.9, rename, 91.0),
        (0.9, lambda labels: labels, None),
        (0.5, lambda labels: labels, None),
        (0.0, lambda labels: labels, None),  # it guesses: no order is better
        (0.4, rename, 46.0),
        (0.9, lambda labels: np.where(labels < 2, 1 - labels, labels), 91.0),
        (0.9, lambda labels: np.minimum(labels, 5), None),  # several classes became one
    ],
)
def test_a_renaming_is_found_only_where_it_gains(
    share: float, change: Callable[[Classes], Classes], found: float | None
) -> None:
    labels = np.repeat(np.arange(10), 200)  # folder by folder
    renamed = renamed_accuracy(answers(labels, share, 10), change(labels))
    assert renamed is None if found is None else renamed == pytest.approx(found, abs=4)


def test_few_samples_prove_nothing() -> None:
    for count in (1, 2, 10, 20):
        labels = np.arange(count) % 10
        guessed = np.random.default_rng(0).permutation(labels)
        assert renamed_accuracy(guessed, labels) is None


def test_both_models_are_wrong_alike_and_the_verdict_is_check() -> None:
    labels = np.arange(600) % 10
    scores = np.eye(10, dtype=np.float32)[answers(labels, 0.95, 10)]
    meter = QualityMeter([TensorSpec("class", (1, 10), "float32")])
    meter.add({"class": scores}, {"class": scores}, rename(labels))
    quality = meter.result(is_held_out=True)
    (doubt,) = float_doubts(quality)
    assert doubt.code == "convert.class_order"
    assert quality.baseline_accuracy_percent == pytest.approx(20, abs=3)
    assert quality.renamed_accuracy_percent == pytest.approx(95.5, abs=4)
    verdict, reasons = judge_comparison(quality, None)
    assert verdict == "check"
    assert any("the labels have another order of classes" in reason for reason in reasons)
