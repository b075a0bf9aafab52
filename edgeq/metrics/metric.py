"""The interface of task metrics: batches in, a value out, also for any weights of the samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeq.errors import DataError
from edgeq.values import MetricValue

Outputs = Mapping[str, NDArray[Any]]
# The output that `edgeq.metrics.decoding` adds: boxes.
DETECTIONS = "detections"


def first(outputs: Outputs) -> NDArray[Any]:
    """Return the output that single-output metrics use."""
    return next(iter(outputs.values()))


class Metric(Protocol):
    """The interface of every metric."""

    def add(self, outputs: Outputs, labels: NDArray[Any]) -> None:
        """Add a batch: outputs by name [batch, ...] in real units, labels [batch, ...]."""

    def value(self) -> MetricValue:
        """Return the metric over all batches."""


class WeightedMetric(ABC):
    """A metric that is a function of what it keeps of each sample, and of the samples' weights.

    `edgeq.metrics.intervals` draws the weights, so that every such metric has an interval, alone
    and in pairs.

    Attributes:
        name: as the user types it.
        unit: "percent", or "" for a plain number or the output's own unit.
        is_higher_better: the direction.
        count: samples taken in.
    """

    name: str
    unit = "percent"
    is_higher_better = True

    def __init__(self) -> None:
        self.count = 0
        self._kept: list[tuple[NDArray[Any], ...]] = []
        self._drawn: NDArray[np.float64] | None = None

    def add(self, outputs: Outputs, labels: NDArray[Any]) -> None:
        """Take in a batch.

        Raises:
            DataError: the labels do not fit the outputs.
        """
        self._kept.append(self._measure(outputs, labels))
        self.count += len(labels)
        self._drawn = None

    @abstractmethod
    def _measure(self, outputs: Outputs, labels: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Return what to keep of a batch: arrays [batch, ...]."""

    @abstractmethod
    def evaluate(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the metric for each row of weights.

        Args:
            weights: [draws, samples], how often each sample counts.

        Returns:
            [draws]; NaN where the metric is not defined.
        """

    def drawn(self, weights: Callable[[], Iterable[NDArray[np.float64]]]) -> NDArray[np.float64]:
        """Return the metric for each row of blocks of weights, computed once: [draws].

        Args:
            weights: yields the blocks; always the same for as many samples.
        """
        if self._drawn is None:
            self._drawn = np.concatenate([self.evaluate(block) for block in weights()])
        return self._drawn

    def value(self) -> MetricValue:
        """Return the metric over all samples.

        Raises:
            DataError: it is not defined for them.
        """
        found = float(self.evaluate(np.ones((1, self.count)))[0])
        if np.isnan(found):
            raise DataError(f"{self.name} is not defined on these samples: {self._undefined()}.")
        return MetricValue(self.name, found, self.unit, self.is_higher_better)

    def _undefined(self) -> str:
        return "a model's output or every label is empty or NaN"

    def kept(self) -> tuple[NDArray[Any], ...]:
        """Return what was kept of all samples: arrays [samples, ...]."""
        if len(self._kept) > 1:
            self._kept = [tuple(np.concatenate(part) for part in zip(*self._kept, strict=True))]
        return self._kept[0]


def ratio(
    weights: NDArray[np.float64], above: NDArray[Any], below: NDArray[Any]
) -> NDArray[np.float64]:
    """Return weighted sums over each other: [draws, ...]; NaN where the lower one is 0.

    Args:
        weights: [draws, samples].
        above, below: [samples, ...].
    """
    upper, lower = total(weights, above), total(weights, below)
    return np.divide(upper, lower, out=np.full_like(upper, np.nan), where=lower != 0)


def total(weights: NDArray[np.float64], values: NDArray[Any]) -> NDArray[np.float64]:
    """Return weighted sums [draws, ...] of values [samples, ...]."""
    return np.asarray(np.tensordot(weights, values.astype(np.float64), axes=1))


def mean_of_known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the last axis without NaN: [draws]; NaN where all are."""
    known = ~np.isnan(values)
    count = known.sum(axis=-1)
    sums = np.where(known, values, 0.0).sum(axis=-1)
    return np.asarray(np.divide(sums, count, out=np.full(sums.shape, np.nan), where=count != 0))


def as_rows(values: NDArray[Any], labels: Sequence[Any] | NDArray[Any]) -> NDArray[Any]:
    """Return values [batch, ...] as [batch, values of a sample]."""
    return values.reshape(len(labels), -1)
