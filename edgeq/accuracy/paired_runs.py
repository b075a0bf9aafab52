"""Run exported files over labelled samples: one model, or two on the same samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice, tee
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.accuracy.inference import Arrays, Interface, read_interface, run_samples
from edgeq.accuracy.quality_meter import QualityMeter
from edgeq.converters.samples.open_samples import Samples, choose
from edgeq.device_runners.devices.device import Device
from edgeq.errors import DataError
from edgeq.metrics.catalogue import default_metrics, make_metric
from edgeq.metrics.decoding import find_decoder
from edgeq.metrics.intervals import interval_of, loss_interval
from edgeq.metrics.metric import Metric, Outputs, WeightedMetric, first
from edgeq.tflite.model_file import ModelFile, read_model
from edgeq.values import MetricLoss, MetricPair, MetricValue, Quality, TensorSpec

_MOST_LABEL_BYTES = 64 << 20

# A sample's inputs by name, and its label or None.
Pair = tuple[Arrays, Any]


def run_pairs(
    models: Sequence[tuple[Path | ModelFile, Interface]],
    pairs: Iterable[Pair],
    device: Device,
    **options: Any,
) -> Iterator[tuple[list[dict[str, NDArray[Any]]], NDArray[Any] | None]]:
    """Stream labelled samples through models side by side.

    Args:
        models: see `inference.run_samples`.
        options: of `measure.infer`.

    Yields:
        Each model's outputs by name [chunk, ...] in real units, and the labels [chunk, ...] or
        None.
    """
    for part in _parts(iter(pairs)):
        for_inputs, for_labels = tee(part)
        labels = (label for _, label in for_labels)
        inputs = (sample for sample, _ in for_inputs)
        for outputs in run_samples(models, inputs, device, **options):
            chunk = list(islice(labels, len(first(outputs[0]))))
            yield outputs, _stack_labels(chunk)


def _parts(pairs: Iterator[Pair]) -> Iterator[Iterator[Pair]]:
    """Yield all pairs, in several runs if labels are large: labels are kept for a whole run."""
    size = 0

    def until_full(start: Pair) -> Iterator[Pair]:
        nonlocal size
        for pair in chain((start,), pairs):
            yield pair
            size += getattr(pair[1], "nbytes", 0)
            if size >= _MOST_LABEL_BYTES:
                return

    for pair in pairs:
        size = 0
        yield until_full(pair)


def _stack_labels(labels: Sequence[Any]) -> NDArray[Any] | None:
    """One array.

    Raises:
        DataError: a label is NaN, or labels differ in shape.
    """
    if any(label is None for label in labels):
        return None
    if len({np.shape(label) for label in labels}) > 1:
        raise DataError("The labels have different shapes.", hint="Store one kind of label.")
    stacked = np.stack(labels)
    if stacked.dtype.kind == "f" and np.isnan(stacked).any():
        raise DataError("A label is NaN.", hint="Leave out the samples that have no label.")
    return stacked


class Scorer:
    """Metrics of one model: the user's, or the default for the form of the first label.

    Of the default ones, those that are not defined on the samples are left out: R² of constant
    labels.

    Args:
        names: of the metrics; empty for the default.
        decode: from a model's outputs to those that are scored.
    """

    def __init__(self, names: Sequence[str], decode: Callable[[Outputs], Outputs] | None = None):
        self._decode = decode
        self._metrics: list[Metric] = [make_metric(name) for name in names]
        self._are_chosen = bool(names)
        self.count = 0

    def add(self, outputs: Outputs, labels: NDArray[Any] | None) -> None:
        """Take in a batch.

        Raises:
            DataError: there are no labels, or they do not fit the metric.
        """
        if labels is None:
            raise DataError(
                "The data has no labels, so there is nothing to score against.",
                hint="Put labels into the data: y in an .npz, a label column, a folder per class.",
            )
        if self._decode is not None:
            outputs = self._decode(outputs)
        if not self._metrics:
            self._metrics = [make_metric(name) for name in default_metrics(outputs, labels)]
        for metric in self._metrics:
            metric.add(outputs, labels)
        self.count += len(labels)

    def values(self) -> tuple[MetricValue, ...]:
        """Return all metrics with their intervals, in the requested order.

        Raises:
            DataError: there were no samples, or a requested metric is not defined on them.
        """
        return tuple(map(_value_of, self.known()))

    def known(self) -> list[Metric]:
        """Return the requested metrics, or the default ones that are defined on the samples.

        Raises:
            DataError: there were no samples.
        """
        if self.count == 0:
            raise DataError("There are no samples to evaluate on.")
        if self._are_chosen:
            return self._metrics
        return [metric for metric in self._metrics if _is_defined(metric)]


def make_scorers(
    names: Sequence[str], decode: str | None, inputs: Sequence[TensorSpec]
) -> tuple[Scorer, Scorer]:
    """Return the scorers of a float model and its candidate.

    Args:
        names: see `Scorer`.
        decode: the text of `--decode`.
        inputs: the float model's.
    """
    decoder = find_decoder(decode, inputs)
    return Scorer(names, decoder), Scorer(names, decoder)


def pair_metrics(baseline: Scorer, candidate: Scorer) -> tuple[MetricPair, ...]:
    """Return the metrics of two models on the same samples.

    Metrics that are defined for one of them only are left out, unless they were requested.

    Raises:
        DataError: see `Scorer.values`.
    """
    theirs = {metric.value().name: metric for metric in candidate.known()}
    return tuple(
        MetricPair(_value_of(metric), _value_of(other), _loss_of(metric, other))
        for metric in baseline.known()
        if (other := theirs.get(metric.value().name)) is not None
    )


def _value_of(metric: Metric) -> MetricValue:
    value = metric.value()
    if not isinstance(metric, WeightedMetric):
        return value
    return replace(value, interval=interval_of(metric))


def _loss_of(baseline: Metric, candidate: Metric) -> MetricLoss | None:
    if not isinstance(baseline, WeightedMetric) or not isinstance(candidate, WeightedMetric):
        return None
    return MetricLoss(baseline.name, baseline.unit, loss_interval(baseline, candidate))


def measure_quality(
    baseline: Path,
    candidate: Path,
    pairs: Iterable[Pair],
    device: Device,
    *,
    is_held_out: bool = True,
    scorers: tuple[Scorer, Scorer] | None = None,
    **options: Any,
) -> Quality:
    """Compare both models on the same samples, output by output and sample by sample.

    Args:
        baseline: the float `.tflite`, whose names lead.
        candidate: the quantized one.
        pairs: samples in real units, preprocessed, with labels or None.
        scorers: fed with the outputs of baseline and candidate, for further metrics.

    Raises:
        DataError: no samples, or two different models; the labels do not fit a metric.
        DeviceError: a run failed.
    """
    real, made = read_model(baseline), read_model(candidate)
    leader = read_interface(real)
    follower = read_interface(made, leader)
    candidates = {follower.output_names[spec.name]: spec for spec in follower.outputs}
    meter = QualityMeter(leader.outputs, leader.columns, candidates)
    models = [(real, leader), (made, follower)]
    for found, labels in run_pairs(models, pairs, device, **options):
        meter.add(found[0], found[1], labels)
        for scorer, outputs in zip(scorers or (), found, strict=False):
            scorer.add(outputs, labels)
    if meter.count == 0:
        raise DataError("There are no samples to compare on.")
    quality = meter.result(is_held_out=is_held_out)
    return replace(quality, metrics=() if scorers is None else pair_metrics(*scorers))


def _is_defined(metric: Metric) -> bool:
    if not isinstance(metric, WeightedMetric):
        return True
    return not math.isnan(metric.evaluate(np.ones((1, metric.count)))[0])


def labelled_pairs(
    opened: Samples,
    count: int | None,
    seed: int,
    on_progress: Callable[[str, int, int | None], None],
    step: str,
) -> Iterator[Pair]:
    """Yield labelled samples and report the progress.

    Raises:
        DataError: a sample has NaN, which would count as a wrong answer of the model.
    """
    indices = None if count is None else choose(opened, count, seed)
    total = opened.count if indices is None else len(indices)
    for number, sample in enumerate(opened.iterate(indices)):
        on_progress(step, number, total)
        for name, values in sample.inputs.items():
            if values.dtype.kind == "f" and np.isnan(values).any():
                raise DataError(
                    f"Sample {sample.index} of {opened.ref.source} has NaN for input {name!r}.",
                    hint="Remove or repair the samples with NaN; numpy.isnan finds them.",
                )
        yield sample.inputs, sample.label
