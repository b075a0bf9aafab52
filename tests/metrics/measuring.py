"""A metric over samples that arrive in two batches."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeq.metrics.catalogue import make_metric
from edgeq.metrics.metric import Metric


def filled(name: str, outputs: Any, labels: Any) -> Metric:
    """A metric that has taken in all samples; its value must not depend on how they were cut."""
    metric = make_metric(name)
    outputs, labels = np.asarray(outputs), np.asarray(labels)
    half = len(labels) // 2
    for part in (slice(None, half), slice(half, None)):
        output = "detections" if name.startswith("map") else "out"
        metric.add({output: outputs[part]}, labels[part])
    return metric


def measure(name: str, outputs: Any, labels: Any) -> float:
    return filled(name, outputs, labels).value().value
