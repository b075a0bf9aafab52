"""Task metrics, computed batch by batch, and their confidence intervals."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeq.errors import DataError, UsageError
from edgeq.values import Interval, MetricValue, PairedCounts

Outputs = Mapping[str, NDArray[Any]]

_Z95 = 1.959964  # two-sided 95 % quantile of the normal distribution


class Metric(Protocol):
    """The interface of every metric."""

    def add(self, outputs: Outputs, labels: NDArray[Any]) -> None:
        """Add a batch: outputs by name [batch, ...] in real units, labels [batch, ...]."""

    def value(self) -> MetricValue:
        """Return the metric over all batches."""


def first(outputs: Outputs) -> NDArray[Any]:
    """Return the output that single-output metrics use."""
    return next(iter(outputs.values()))


class TopK:
    """Share of samples whose label is among the k largest scores, in per cent."""

    def __init__(self, k: int):
        self.k = k
        self.right: list[NDArray[np.bool_]] = []
        self._output: str | None = None

    def add(self, outputs: Outputs, labels: NDArray[Any]) -> None:
        """Scores [batch, classes] (or [batch, 1] for a binary sigmoid) and class labels.

        Raises:
            DataError: the labels are not classes of an output.
        """
        self._output = self._output or pick_output(outputs, labels)
        scores = outputs[self._output]
        classes = class_labels(scores, labels)
        if classes is None:
            raise DataError(
                f"top{self.k} needs one class per sample; output {self._output!r} has the shape "
                f"{scores.shape[1:]} a sample, and its label is {_show_label(labels[0])}.",
                hint="Store class indices, or name another --metric.",
            )
        self.right.append(is_right(scores.reshape(len(labels), -1), classes, self.k))

    def value(self) -> MetricValue:
        """Accuracy in per cent."""
        right = np.concatenate(self.right)
        return MetricValue(f"top{self.k}", 100.0 * float(right.mean()), "percent", True)


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


class MeanError:
    """Mean squared or mean absolute error against labels of the output's shape."""

    def __init__(self, name: str, power: int):
        self.name, self.power = name, power
        self.total, self.count = 0.0, 0

    def add(self, outputs: Outputs, labels: NDArray[Any]) -> None:
        """Predictions and labels with the same number of elements."""
        predicted, wanted = (values.reshape(len(labels), -1) for values in (first(outputs), labels))
        if predicted.shape != wanted.shape:
            raise DataError(
                f"{self.name} needs labels like the output: a sample has {predicted.shape[1]} "
                f"values, its label {wanted.shape[1]}."
            )
        errors = predicted.astype(np.float64) - wanted.astype(np.float64)
        self.total += float(np.sum(np.abs(errors) ** self.power))
        self.count += predicted.size

    def value(self) -> MetricValue:
        """The mean, in the output's units (squared for mse)."""
        return MetricValue(self.name, self.total / self.count, "", False)


class MeanIoU:
    """Mean intersection over union of segmentation masks, over the classes that occur."""

    def __init__(self) -> None:
        self.confusion = np.zeros((0, 0), np.int64)

    def add(self, outputs: Outputs, labels: NDArray[Any]) -> None:
        """Scores [batch, height, width, classes] and masks [batch, height, width].

        One channel is a probability with threshold 0.5; beside several, 255 marks pixels to
        ignore, as in the usual data sets.

        Raises:
            DataError: the mask has a different size, or a value that is not a class.
        """
        scores = first(outputs)
        channels = scores.shape[-1]
        classes = max(channels, 2)
        flat = scores.reshape(-1, channels)
        if labels.size != len(flat):
            raise DataError(
                f"miou needs a mask of the output's size: {len(flat)} pixels predicted, "
                f"{labels.size} labelled."
            )
        mask = labels.reshape(-1).astype(np.int64)
        if channels == 1 and not ((flat >= 0) & (flat <= 1)).all():
            raise DataError(
                "miou takes one channel as a probability, and this output leaves 0 to 1.",
                hint="End the model in a sigmoid.",
            )
        predicted = (flat[:, 0] > 0.5).astype(np.int64) if channels == 1 else flat.argmax(axis=1)
        known = mask != 255 if channels > 1 else np.ones(len(mask), bool)
        strange = mask[known & ((mask < 0) | (mask >= classes))]
        if len(strange):
            raise DataError(
                f"A mask holds the value {strange[0]}, but the model's classes are 0 to "
                f"{classes - 1}.",
                hint="Beside several classes, mark pixels to ignore with 255.",
            )
        if self.confusion.size == 0:
            self.confusion = np.zeros((classes, classes), np.int64)
        cells = mask[known] * classes + predicted[known]
        self.confusion += np.bincount(cells, minlength=classes**2).reshape(classes, classes)

    def value(self) -> MetricValue:
        """Mean over classes in per cent."""
        hit = np.diag(self.confusion)
        union = self.confusion.sum(axis=0) + self.confusion.sum(axis=1) - hit
        share = hit[union > 0] / union[union > 0]
        return MetricValue("miou", 100.0 * float(share.mean()), "percent", True)


class Auc:
    """Area under the ROC curve of a binary score (Mann-Whitney, ties count half)."""

    def __init__(self) -> None:
        self.scores: list[NDArray[np.float64]] = []
        self.labels: list[NDArray[np.bool_]] = []

    def add(self, outputs: Outputs, labels: NDArray[Any]) -> None:
        """Scores [batch], [batch, 1] or [batch, 2] (the second column), labels 0 or 1."""
        scores = first(outputs).reshape(len(labels), -1).astype(np.float64)
        if scores.shape[1] > 2:
            raise DataError(f"auc needs one score per sample, the output has {scores.shape[1]}.")
        self.scores.append(scores[:, -1])
        self.labels.append(labels.reshape(-1) != 0)

    def value(self) -> MetricValue:
        """The area, 0 to 1."""
        scores, positive = np.concatenate(self.scores), np.concatenate(self.labels)
        if positive.all() or not positive.any():
            raise DataError("auc needs samples of both classes.")
        _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
        upper = np.cumsum(counts)
        ranks = (upper - (counts - 1) / 2)[inverse]
        ones = int(positive.sum())
        wins = float(ranks[positive].sum()) - ones * (ones + 1) / 2
        return MetricValue("auc", wins / (ones * (len(scores) - ones)), "", True)


class Custom:
    """The user's function of all outputs and labels; it returns one number, higher is better."""

    def __init__(self, name: str):
        self.name, self.function = name, _import_function(name)
        self.outputs: list[Outputs] = []
        self.labels: list[NDArray[Any]] = []

    def add(self, outputs: Outputs, labels: NDArray[Any]) -> None:
        """Keep everything: only the function knows what it needs."""
        self.outputs.append(outputs)
        self.labels.append(labels)

    def value(self) -> MetricValue:
        """Call the function with (dict of output name to [samples, ...], labels)."""
        joined = {
            name: np.concatenate([batch[name] for batch in self.outputs])
            for name in self.outputs[0]
        }
        try:
            result = float(self.function(joined, np.concatenate(self.labels)))
        except Exception as error:  # the user's code may raise anything
            raise UsageError(
                f"--metric {self.name} failed: {type(error).__name__}: {error}.",
                hint="It must take (outputs, labels), where outputs is a dict of arrays, and "
                "return one number.",
            ) from error
        return MetricValue(self.name, result, "", True)


def _import_function(text: str) -> Callable[..., Any]:
    module, _, name = text.partition(":")
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"--metric {text!r} cannot be imported: {error}.") from error
    return found


# The metric that a gate, a history and a comparison call accuracy.
ACCURACY = "top1"
METRICS: dict[str, Callable[[], Metric]] = {
    ACCURACY: lambda: TopK(1),
    "top5": lambda: TopK(5),
    "miou": MeanIoU,
    "mse": lambda: MeanError("mse", 2),
    "mae": lambda: MeanError("mae", 1),
    "auc": Auc,
}


def make_metric(name: str) -> Metric:
    """Make a metric by name, or the user's own from "module:function".

    Raises:
        UsageError: an unknown name, or a function that cannot be imported.
    """
    if ":" in name:
        return Custom(name)
    if name not in METRICS:
        raise UsageError(
            f"Unknown metric {name!r}; known: {', '.join(METRICS)} and module:function."
        )
    return METRICS[name]()


def default_metrics(outputs: Outputs, labels: NDArray[Any]) -> tuple[str, ...]:
    """Return the default metrics for the form of the first labels.

    Args:
        outputs: name to [batch, ...].
        labels: [batch, ...].
    """
    scores = outputs[pick_output(outputs, labels)]
    if class_labels(scores, labels) is not None:
        return ("top1", "top5") if scores.shape[-1] > 10 else ("top1",)
    is_mask = labels.dtype.kind in "iub" and scores.ndim == 4
    return ("miou",) if is_mask else ("mse", "mae")


# ---------------------------------------------------------------- intervals


def wilson_interval(right: int, count: int) -> tuple[float, float]:
    """95 % interval of a share in per cent (Wilson 1927)."""
    share, z2 = right / count, _Z95**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    spread = math.sqrt(share * (1 - share) / count + z2 / (4 * count**2)) * _Z95
    half = spread / (1 + z2 / count)
    return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)


def count_pairs(baseline: NDArray[np.bool_], candidate: NDArray[np.bool_]) -> PairedCounts:
    """Count samples by which model classified them correctly; both arrays [samples]."""
    return PairedCounts(
        both_right=int(np.sum(baseline & candidate)),
        only_baseline=int(np.sum(baseline & ~candidate)),
        only_candidate=int(np.sum(~baseline & candidate)),
        both_wrong=int(np.sum(~baseline & ~candidate)),
    )


def drop_interval(pairs: PairedCounts) -> Interval:
    """Return the accuracy drop in percentage points with its 95 % interval for paired samples.

    The interval is the adjusted Wald one of Agresti and Min, "Simple improved confidence
    intervals for comparing matched proportions" (Statistics in Medicine, 2005): half a sample
    is added to each cell of the two-by-two table.
    """
    lost, won = pairs.only_baseline, pairs.only_candidate
    count = pairs.both_right + pairs.both_wrong + lost + won
    total = count + 2
    shift = (lost - won) / total
    spread = math.sqrt(lost + won + 1 - (lost - won) ** 2 / total) / total
    return Interval(
        100.0 * (lost - won) / count,
        100.0 * max(-1.0, shift - _Z95 * spread),
        100.0 * min(1.0, shift + _Z95 * spread),
    )


def measure_all(
    names: Sequence[str], batches: Sequence[tuple[Outputs, NDArray[Any]]]
) -> tuple[MetricValue, ...]:
    """Several metrics over the same batches of (outputs, labels)."""
    values = []
    for metric in map(make_metric, names):
        for outputs, labels in batches:
            metric.add(outputs, labels)
        values.append(metric.value())
    return tuple(values)
