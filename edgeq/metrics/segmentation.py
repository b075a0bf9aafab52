"""Metrics of masks: mean intersection over union."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.errors import DataError
from edgeq.metrics.metric import Outputs, WeightedMetric, first, mean_of_known, total

# Marks pixels that do not count, in the usual data sets.
_IGNORED = 255


class MeanIoU(WeightedMetric):
    """Mean intersection over union of segmentation masks, over the classes that occur.

    Scores are [batch, height, width, classes], masks [batch, height, width]. One channel is a
    probability with threshold 0.5, and 255 in its mask is 1; beside several, 255 marks pixels to
    ignore.
    """

    name = "miou"

    def _measure(self, outputs: Outputs, labels: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        scores = first(outputs)
        channels = scores.shape[-1]
        classes = max(channels, 2)
        flat = scores.reshape(len(labels), -1, channels)
        if labels.size != flat.shape[0] * flat.shape[1]:
            raise DataError(
                f"miou needs a mask of the output's size: {flat.shape[1]} pixels predicted, "
                f"{labels[0].size} labelled."
            )
        mask = labels.reshape(len(labels), -1).astype(np.int64)
        if channels == 1 and not ((flat >= 0) & (flat <= 1) | np.isnan(flat)).all():
            raise DataError(
                "miou takes one channel as a probability, and this output leaves 0 to 1.",
                hint="End the model in a sigmoid.",
            )
        known = np.ones(mask.shape, bool)
        if channels > 1:
            known = mask != _IGNORED
        elif not (mask == 1).any():  # black and white
            mask = np.where(mask == _IGNORED, 1, mask)
        strange = mask[known & ((mask < 0) | (mask >= classes))]
        if len(strange):
            raise DataError(
                f"A mask holds the value {strange[0]}, but the model's classes are 0 to "
                f"{classes - 1}.",
                hint=f"Beside several classes, mark pixels to ignore with {_IGNORED}.",
            )
        predicted = (flat[..., 0] > 0.5).astype(np.int64) if channels == 1 else flat.argmax(axis=2)
        predicted[np.isnan(flat).any(axis=2)] = classes  # NaN predicts no class
        hits = _count(np.where(known & (predicted == mask), mask, classes), classes)
        named = _count(np.where(known, predicted, classes), classes)
        wanted = _count(np.where(known, mask, classes), classes)
        return hits, named + wanted - hits

    def evaluate(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean over classes in per cent."""
        hits, union = (total(weights, part) for part in self.kept())
        share = np.divide(hits, union, out=np.full_like(hits, np.nan), where=union != 0)
        return 100.0 * mean_of_known(share)


def _count(values: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Return how often each class occurs in each row: [batch, classes]; others are left out."""
    offset = np.arange(len(values))[:, None] * (classes + 1)
    counts = np.bincount((values + offset).reshape(-1), minlength=len(values) * (classes + 1))
    return counts.reshape(len(values), classes + 1)[:, :classes]
