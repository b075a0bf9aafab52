"""Metrics of values: mean errors in the output's units, and R²."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.errors import DataError
from edgeq.metrics.metric import (
    Outputs,
    WeightedMetric,
    as_rows,
    first,
    mean_of_known,
    ratio,
    total,
)

# R² keeps three numbers for each value of a sample.
_MOST_VALUES = 4096


class MeanError(WeightedMetric):
    """Mean absolute, mean squared or root mean squared error against labels of the output's shape.

    Args:
        name: "mae", "mse" or "rmse"; mae and rmse are in the output's units, mse in their square.
    """

    unit = ""
    is_higher_better = False

    def __init__(self, name: str):
        super().__init__()
        self.name = name
        self._power = 1 if name == "mae" else 2

    def _measure(self, outputs: Outputs, labels: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        predicted, wanted = paired_values(self.name, outputs, labels)
        sums = np.sum(np.abs(predicted - wanted) ** self._power, axis=1)
        return sums, np.full(len(sums), predicted.shape[1])

    def evaluate(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """The mean over all values of all samples."""
        found = ratio(weights, *self.kept())
        return np.sqrt(found) if self.name == "rmse" else found


class RSquared(WeightedMetric):
    """R², the share of the labels' variance that the model explains; 1 is perfect.

    With several values a sample it is the mean over those whose labels vary (uniform average, as in
    scikit-learn). A model that is worse than the labels' mean has a negative one.
    """

    name, unit = "r2", ""

    def __init__(self) -> None:
        super().__init__()
        self._origin: NDArray[np.float64] | None = None

    def _measure(self, outputs: Outputs, labels: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        predicted, wanted = paired_values(self.name, outputs, labels)
        if predicted.shape[1] > _MOST_VALUES:
            raise DataError(
                f"r2 takes at most {_MOST_VALUES} values a sample, and this output has "
                f"{predicted.shape[1]}.",
                hint="Use --metric rmse.",
            )
        # Squares of a small variation around a large offset would cancel.
        self._origin = wanted[0] if self._origin is None else self._origin
        return (predicted - wanted) ** 2, wanted - self._origin

    def evaluate(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """R² without a unit."""
        errors, wanted = self.kept()
        count = weights.sum(axis=1)[:, None]
        sums = total(weights, wanted)
        variation = total(weights, wanted**2) - sums**2 / count
        lost = total(weights, errors)
        # Constant labels vary by rounding.
        varies = variation > 1e-12 * total(weights, wanted**2)
        share = np.divide(lost, variation, out=np.full_like(lost, np.nan), where=varies)
        return 1.0 - mean_of_known(share)

    def _undefined(self) -> str:
        return "the labels do not vary, or an output is NaN"


def paired_values(
    name: str, outputs: Outputs, labels: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return predictions and labels as [batch, values of a sample].

    Raises:
        DataError: they differ in number.
    """
    predicted, wanted = (as_rows(values, labels) for values in (first(outputs), labels))
    if predicted.shape != wanted.shape:
        raise DataError(
            f"{name} needs labels like the output: a sample has {predicted.shape[1]} values, its "
            f"label {wanted.shape[1]}.",
            hint=f"Store {predicted.shape[1]} values for each sample, or class indices as whole "
            "numbers.",
        )
    return predicted.astype(np.float64), wanted.astype(np.float64)
