"""Metrics of classes: top-k accuracy and F1."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.errors import DataError
from edgeq.metrics.metric import (
    Outputs,
    WeightedMetric,
    as_rows,
    mean_of_known,
    ratio,
    total,
)


class TopK(WeightedMetric):
    """Share of samples whose label is among the k largest scores, in per cent.

    Args:
        k: at least 1.
    """

    def __init__(self, k: int):
        super().__init__()
        self.name, self._k = f"top{k}", k
        self._output: str | None = None

    def _measure(self, outputs: Outputs, labels: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Scores [batch, classes] (or [batch, 1] for a binary sigmoid) and class labels."""
        self._output = self._output or pick_output(outputs, labels)
        scores = outputs[self._output]
        classes = class_labels(scores, labels)
        if classes is None:
            raise DataError(
                f"{self.name} needs one class per sample; output {self._output!r} has the shape "
                f"{scores.shape[1:]} a sample, and its label is {_show_label(labels[0])}.",
                hint="Store class indices, or name another --metric.",
            )
        return (is_right(as_rows(scores, labels), classes, self._k),)

    def evaluate(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Accuracy in per cent."""
        (right,) = self.kept()
        return 100.0 * ratio(weights, right, np.ones(len(right)))


class F1(WeightedMetric):
    """F1, the harmonic mean of precision and recall, in per cent.

    Class 1 of two classes; with more classes the mean over those that occur in labels or
    predictions (macro average, as in scikit-learn); with labels of several zeros and ones a sample
    (multi-label), the mean over the outputs, each with the threshold 0.5.
    """

    name = "f1"

    def __init__(self) -> None:
        super().__init__()
        self._output: str | None = None

    def _measure(self, outputs: Outputs, labels: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        self._output = self._output or pick_output(outputs, labels)
        scores = outputs[self._output]
        rows = as_rows(scores, labels)
        classes = class_labels(scores, labels)
        if classes is not None:
            width = max(rows.shape[1], 2)
            is_right(rows, classes)  # refuses other labels
            found = (rows[:, 0] > 0.5).astype(int) if rows.shape[1] == 1 else rows.argmax(axis=1)
            # A row of NaN predicts no class.
            predicted = (found[:, None] == np.arange(width)) & ~np.isnan(rows).any(1)[:, None]
            wanted = classes[:, None] == np.arange(width)
            return (predicted[:, 1:], wanted[:, 1:]) if width == 2 else (predicted, wanted)
        flat = as_rows(labels, labels)
        if flat.shape != rows.shape or not ((flat == 0) | (flat == 1)).all():
            raise DataError(
                f"{self.name} needs a class, or a 0 or 1 for each output, per sample; output "
                f"{self._output!r} has the shape {scores.shape[1:]} a sample, and its label is "
                f"{_show_label(labels[0])}.",
                hint="Store class indices, or rows of zeros and ones.",
            )
        if not ((rows >= 0) & (rows <= 1) | np.isnan(rows)).all():
            raise DataError(
                "f1 takes scores of several labels as probabilities; this output leaves 0 to 1.",
                hint="End the model in a sigmoid.",
            )
        return rows > 0.5, flat == 1

    def evaluate(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """F1 in per cent."""
        predicted, wanted = self.kept()
        hits = total(weights, predicted & wanted)
        named = total(weights, predicted) + total(weights, wanted)
        share = np.divide(2 * hits, named, out=np.full_like(hits, np.nan), where=named != 0)
        return 100.0 * mean_of_known(share)


def _show_label(label: NDArray[Any]) -> str:
    return str(label) if np.ndim(label) == 0 else f"of shape {np.shape(label)}"


def class_labels(scores: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.int64] | None:
    """Return labels as class indices, or None if they are not classes.

    Args:
        scores: an output [batch, ...].
        labels: [batch, ...]. Classes are integers, whole floats beside several scores, and
            one-hot rows; beside a single score they are 0 and 1, and the score a probability.
    """
    count, width = len(labels), scores.shape[-1] if scores.ndim > 1 else 1
    if scores.size != count * width or labels.dtype.kind not in "iubf":
        return None
    flat = labels.reshape(count, -1)
    if flat.shape[1] not in (1, width):  # before arrays as large as the labels are allocated
        return None
    if not np.isfinite(flat).all() or (flat != np.rint(flat)).any():
        return None
    if width > 1 and flat.shape[1] == width:
        is_one_hot = bool(((flat == 0) | (flat == 1)).all() and (flat.sum(axis=1) == 1).all())
        return flat.argmax(axis=1) if is_one_hot else None
    if width == 1:
        is_binary = bool(((flat == 0) | (flat == 1)).all()) and labels.dtype.kind != "f"
        is_probability = bool(((scores >= 0) & (scores <= 1)).all())
        return flat[:, 0].astype(np.int64) if is_binary and is_probability else None
    return flat[:, 0].astype(np.int64)


def pick_output(outputs: Outputs, labels: NDArray[Any] | None) -> str:
    """Return the output that class labels belong to: the first one with all their classes."""
    for name, scores in outputs.items():
        classes = None if labels is None else class_labels(scores, labels)
        if classes is not None and classes.max(initial=0) < max(scores.shape[-1], 2):
            return name
    return next(iter(outputs))


def is_right(scores: NDArray[Any], labels: NDArray[Any], k: int = 1) -> NDArray[np.bool_]:
    """Return which samples are classified correctly.

    Args:
        scores: [batch, classes]; a single column is a binary probability with threshold 0.5.
        labels: [batch], class indices.
        k: the label may be among the k largest; ties count for the lower class index, and a sample
            with NaN among its scores is never right.

    Raises:
        DataError: a label is not a class of the model.
    """
    classes = scores.shape[1]
    low, high = int(labels.min(initial=0)), int(labels.max(initial=0))
    if low < 0 or high >= max(classes, 2):
        raise DataError(
            f"A label is {low if low < 0 else high}, but the model's classes are 0 to "
            f"{max(classes, 2) - 1}.",
            hint="Labels are class indices that start at 0.",
        )
    if classes == 1:
        right = (scores[:, 0] > 0.5).astype(np.int64) == labels
    elif k == 1:
        right = scores.argmax(axis=1) == labels
    else:
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        right = (best == labels[:, None]).any(axis=1)
    return np.asarray(right & ~np.isnan(scores).any(axis=1))
