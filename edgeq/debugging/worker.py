"""The child process that compares two models.

On stdin one line of JSON {"float", "quantized", "inputs", "names", "labels", "result"}: paths of
both models, input name to `.npy` file, input name of the quantized model to the float model's,
`.npy` file of labels or null, and where the figures go; "metric" and "decoding" of the task or
null.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.accuracy.verdict import in_points
from edgeq.children import sandbox
from edgeq.converters.proof.layer_errors import Pair, Values, carried_db, worst
from edgeq.debugging.figures import measure_step
from edgeq.errors import EdgeqError
from edgeq.files.storage import to_plain
from edgeq.metrics.catalogue import make_metric
from edgeq.metrics.classification import class_labels
from edgeq.metrics.decoding import find_decoder
from edgeq.tflite import flatbuffer
from edgeq.values import Interval, MetricLoss, MetricValue

Array = NDArray[Any]


def inspect(pair: Pair, labels: Array | None, task: Task | None = None) -> list[dict[str, Any]]:
    """Figures of every matched operator, in execution order.

    Args:
        labels: of each sample, or None.
        task: what the metric of the task says; None to count classes.
    """
    figures, errors = {}, {}
    for step in pair.walk():
        figures[step.position] = measure_step(pair, step)
        errors[step.position] = step.own_error
    for position, outputs in pair.carry(worst(errors)):
        figures[position]["effect_sqnr_db"] = carried_db(pair, outputs)
        effect = _task_effect(pair.ends, outputs, labels)
        if task is not None and labels is not None:
            effect = {"lost_points": task.loss(pair.named(outputs), labels)}
        figures[position].update(effect)
    return list(figures.values())


class Task:
    """The metric of a task, and its value for the float model."""

    def __init__(self, pair: Pair, metric: str, decoding: str | None):
        inputs, _ = flatbuffer.interface(pair.tree)
        self._pair, self._metric, self._decode = pair, metric, find_decoder(decoding, inputs)
        self._baseline: float | None = None

    def loss(self, outputs: Mapping[str, Array], labels: Array) -> float:
        """How much worse the metric is with these outputs than the float model's, in points."""
        if self._baseline is None:
            self._baseline = self._score(self._pair.named(self._pair.ends), labels).value
        found = self._score(outputs, labels)
        lost = (self._baseline - found.value) * (1.0 if found.is_higher_better else -1.0)
        return in_points(MetricLoss(found.name, found.unit, Interval(lost, lost, lost))).value

    def _score(self, outputs: Mapping[str, Array], labels: Array) -> MetricValue:
        metric = make_metric(self._metric)
        metric.add(outputs if self._decode is None else self._decode(outputs), labels)
        return metric.value()


def _task_effect(ends: Values, outputs: Values, labels: Array | None) -> dict[str, float]:
    """Return how an error changes the classes of the first vector output."""
    index = next((i for i, values in ends.items() if values[0].size == values.shape[-1] > 1), None)
    if index is None:
        return {}
    wanted, given = (side[index].reshape(len(side[index]), -1) for side in (ends, outputs))
    before, after = wanted.argmax(axis=1), given.argmax(axis=1)
    found = {"changed_percent": 100 * float(np.mean(before != after))}
    classes = None if labels is None else class_labels(wanted, labels)
    if classes is not None and len(classes) == len(before):
        right = [float(np.mean(top == classes)) for top in (before, after)]
        found["lost_points"] = 100 * (right[0] - right[1])
    return found


def main() -> None:
    """Read a job and do it; the status is a sentence where it cannot be done."""
    sandbox.confine_as_planned()
    try:
        _work()
    except EdgeqError as error:
        sys.exit(error.message)
    except (RuntimeError, ValueError) as error:
        sys.exit(str(error).splitlines()[-1] if str(error) else repr(error))


def _work() -> None:
    job = json.loads(sys.stdin.readline())
    inputs = {name: np.load(path, allow_pickle=False) for name, path in job["inputs"].items()}
    real, made = (Path(job[name]).read_bytes() for name in ("float", "quantized"))
    pair = Pair(real, made, inputs, job["names"])
    labels = None if job["labels"] is None else np.load(job["labels"], allow_pickle=False)
    task = None if job["metric"] is None else Task(pair, job["metric"], job["decoding"])
    layers = inspect(pair, labels, task)
    unmatched = [
        pair.describe(position)[0]
        for position in range(len(pair.tree.subgraphs[0].operators))
        if position not in pair.matches
    ]
    report = {"layers": layers, "unmatched": unmatched}
    Path(job["result"]).write_bytes(json.dumps(to_plain(report)).encode())
