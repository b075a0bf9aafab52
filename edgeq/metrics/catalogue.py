"""Metrics by name, the user's own ones, and the default for the form of the labels."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.errors import UsageError, did_you_mean
from edgeq.metrics.classification import F1, TopK, class_labels, pick_output
from edgeq.metrics.detection import COCO_IOUS, MeanAveragePrecision
from edgeq.metrics.keypoints import CorrectKeypoints
from edgeq.metrics.metric import DETECTIONS, Metric, Outputs
from edgeq.metrics.ranking import Auc, EqualErrorRate
from edgeq.metrics.regression import MeanError, RSquared
from edgeq.metrics.segmentation import MeanIoU
from edgeq.values import MetricValue

# The metric that a gate, a history and a comparison call accuracy.
ACCURACY = "top1"


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


METRICS: dict[str, Callable[[], Metric]] = {
    ACCURACY: lambda: TopK(1),
    "top5": lambda: TopK(5),
    "f1": F1,
    "auc": Auc,
    "eer": EqualErrorRate,
    "miou": MeanIoU,
    "map": lambda: MeanAveragePrecision("map", COCO_IOUS),
    "map@0.5": lambda: MeanAveragePrecision("map@0.5", (0.5,)),
    "pck@0.2": lambda: CorrectKeypoints(0.2),
    "mae": lambda: MeanError("mae"),
    "mse": lambda: MeanError("mse"),
    "rmse": lambda: MeanError("rmse"),
    "r2": RSquared,
}
# Families with a number of the user's.
_NUMBERED: tuple[tuple[str, Callable[[str], Metric]], ...] = (
    (r"top([1-9]\d*)", lambda number: TopK(int(number))),
    (r"map@(0\.\d*[1-9]\d*)", lambda iou: MeanAveragePrecision(f"map@{iou}", (float(iou),))),
    (r"pck@(0\.\d*[1-9]\d*)", lambda share: CorrectKeypoints(float(share))),
)

# Names from other libraries; written with "_" here, and read in any case with "-" and " ", too.
_OTHER_NAMES = {
    "acc": ACCURACY, "accuracy": ACCURACY, "top_1": ACCURACY, "top_1_accuracy": ACCURACY,
    "binary_accuracy": ACCURACY, "categorical_accuracy": ACCURACY,
    "sparse_categorical_accuracy": ACCURACY, "top_5": "top5", "top_5_accuracy": "top5",
    "f1_score": "f1", "macro_f1": "f1", "roc_auc": "auc", "auroc": "auc",
    "equal_error_rate": "eer", "iou": "miou", "mean_iou": "miou", "jaccard": "miou",
    "ap": "map", "map50_95": "map", "map_50_95": "map", "mean_average_precision": "map",
    "ap50": "map@0.5", "map50": "map@0.5", "map_50": "map@0.5", "map@50": "map@0.5",
    "pck": "pck@0.2", "mean_absolute_error": "mae", "mean_squared_error": "mse",
    "root_mean_squared_error": "rmse", "r2_score": "r2", "r_squared": "r2",
}  # fmt: skip


def edgeq_name(metric: str) -> str:
    """The name under which edgeq has a metric; an unknown name stays as it is."""
    flat = re.sub(r"[- ]", "_", metric.lower())
    return flat if flat in METRICS else _OTHER_NAMES.get(flat, metric)


def check_metric(name: str) -> None:
    """Refuse what `make_metric` would refuse; nothing is imported.

    Raises:
        UsageError: an unknown name.
    """
    if ":" not in name:
        make_metric(name)


def make_metric(name: str) -> Metric:
    """Make a metric by name, or the user's own from "module:function".

    Raises:
        UsageError: an unknown name, or a function that cannot be imported.
    """
    if ":" in name:
        return Custom(name)
    given, name = name, edgeq_name(name)
    if name in METRICS:
        return METRICS[name]()
    for pattern, make in _NUMBERED:
        if (found := re.fullmatch(pattern, name)) is not None:
            return make(found[1])
    guess = did_you_mean(given, (*METRICS, *_OTHER_NAMES))
    raise UsageError(
        f"Unknown metric {given!r}; known: {', '.join(METRICS)} and module:function.",
        hint=f"{guess}topN, map@IOU and pck@SHARE take other numbers, such as top3, map@0.75 and "
        "pck@0.1.",
    )


def default_metrics(outputs: Outputs, labels: NDArray[Any]) -> tuple[str, ...]:
    """Return the default metrics for the form of the first labels.

    Args:
        outputs: name to [batch, ...].
        labels: [batch, ...].
    """
    if DETECTIONS in outputs:
        return ("map", "map@0.5")
    scores = outputs[pick_output(outputs, labels)]
    if class_labels(scores, labels) is not None:
        return ("top1", "top5") if scores.shape[-1] > 10 else ("top1",)
    is_mask = labels.dtype.kind in "iub" and scores.ndim == 4
    return ("miou",) if is_mask else ("r2", "mae", "rmse")
