"""Metrics of a binary score without a threshold: area under the ROC curve and equal error rate."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.errors import DataError
from edgeq.metrics.metric import Outputs, WeightedMetric, as_rows, first


class _BinaryScore(WeightedMetric):
    """Scores [batch], [batch, 1] or [batch, 2] (the second column), labels 0 or 1."""

    def _measure(self, outputs: Outputs, labels: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        scores, flat = as_rows(first(outputs), labels), as_rows(labels, labels)
        if scores.shape[1] > 2:
            raise DataError(
                f"{self.name} needs one score per sample, the output has {scores.shape[1]}."
            )
        if flat.shape[1] != 1 or not ((flat == 0) | (flat == 1)).all():
            strange = flat[~((flat == 0) | (flat == 1))]
            found = f"a label is {strange[0]}" if strange.size else f"a label has {flat.shape[1]}"
            raise DataError(f"{self.name} needs one label of 0 or 1 per sample, and {found}.")
        return scores[:, -1].astype(np.float64), flat[:, 0] == 1

    def _counts_below(
        self, weights: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the weights of positive and of negative samples at each score, lowest first.

        Returns:
            Both [draws, different scores]; NaN where a score is.
        """
        scores, positive = self.kept()
        order = np.argsort(scores, kind="stable")
        starts = np.flatnonzero(np.diff(scores[order], prepend=np.nan) != 0)
        sides = (
            np.add.reduceat((weights * side)[:, order], starts, axis=1)
            for side in (positive, ~positive)
        )
        at_score = tuple(np.full_like(s, np.nan) if np.isnan(scores).any() else s for s in sides)
        return at_score[0], at_score[1]

    def _undefined(self) -> str:
        return "it needs both classes, and scores that are numbers"


class Auc(_BinaryScore):
    """Area under the ROC curve of a binary score, 0 to 1 (Mann-Whitney, ties count half)."""

    name, unit = "auc", ""

    def evaluate(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """The area, 0 to 1."""
        positive, negative = self._counts_below(weights)
        lower = np.cumsum(negative, axis=1) - negative / 2
        wins = (positive * lower).sum(axis=1)
        pairs = positive.sum(axis=1) * negative.sum(axis=1)
        return np.asarray(np.divide(wins, pairs, out=np.full_like(wins, np.nan), where=pairs > 0))


class EqualErrorRate(_BinaryScore):
    """Error rate in per cent at the threshold where false accepts and false rejects are equal.

    Between two scores the rates are joined by a line.
    """

    name, is_higher_better = "eer", False

    def evaluate(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """The rate in per cent."""
        positive, negative = self._counts_below(weights)
        found = np.full(len(weights), np.nan)
        known = (positive.sum(axis=1) > 0) & (negative.sum(axis=1) > 0)
        zero = np.zeros((int(known.sum()), 1))
        # The threshold rises: more positives are rejected, fewer negatives accepted.
        rejected, accepted = (
            np.hstack((zero, np.cumsum(side, axis=1))) / side.sum(axis=1, keepdims=True)
            for side in (positive[known], negative[known])
        )
        gap = rejected - (1 - accepted)
        above = np.argmax(gap >= 0, axis=1)  # never 0: the first gap is -1
        rows = np.arange(len(gap))
        low, high = gap[rows, above - 1], gap[rows, above]
        share = -low / (high - low)
        before, after = rejected[rows, above - 1], rejected[rows, above]
        found[known] = 100.0 * (before + share * (after - before))
        return found
