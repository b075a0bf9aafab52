"""Metrics of keypoints: the share that is near its label."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.errors import DataError
from edgeq.metrics.metric import Outputs, WeightedMetric, first, ratio


class CorrectKeypoints(WeightedMetric):
    """PCK, the share of keypoints nearer to their label than a share of the object's size.

    The size is the longer side of the box around the labelled keypoints of the sample. Labels are
    [batch, keypoints, 2] (x, y) or [batch, keypoints, 3] (x, y, visible: 0 leaves a keypoint out).
    Outputs hold x, y, or x, y and a score for each keypoint, in the labels' unit; or they are
    heatmaps [batch, height, width, keypoints], whose highest cell is the keypoint, with labels
    from 0 to 1 over the image's width and height.

    Args:
        share: of the size, e.g. 0.2 in PCK@0.2 (Yang and Ramanan, "Articulated human detection with
            flexible mixtures of parts", 2013).
    """

    def __init__(self, share: float):
        super().__init__()
        self.name, self._share = f"pck@{share:g}", share

    def _measure(self, outputs: Outputs, labels: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        if labels.ndim != 3 or labels.shape[2] not in (2, 3):
            raise DataError(
                f"{self.name} needs labels of x, y or x, y, visible for each keypoint, and a label "
                f"has the shape {labels.shape[1:]}.",
                hint="Store labels as [samples, keypoints, 2] or [samples, keypoints, 3].",
            )
        wanted = labels[..., :2].astype(np.float64)
        is_seen = labels[..., 2] > 0 if labels.shape[2] == 3 else np.ones(wanted.shape[:2], bool)
        distance = np.hypot(*np.moveaxis(self._points(first(outputs), wanted) - wanted, -1, 0))
        low, high = (
            edge(np.where(is_seen[..., None], wanted, outside), axis=1)
            for edge, outside in ((np.min, np.inf), (np.max, -np.inf))
        )
        size = np.max(high - low, axis=1)
        is_right = is_seen & (distance <= self._share * size[:, None])
        # One keypoint alone has no size.
        counts = is_seen & (size > 0)[:, None]
        return (is_right & counts).sum(axis=1), counts.sum(axis=1)

    def _points(self, output: NDArray[Any], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
        batch, count = wanted.shape[:2]
        if output.ndim == 4 and output.shape[3] == count and min(output.shape[1:3]) > 1:
            if np.nanmax(wanted, initial=0.0) > 1:
                raise DataError(
                    f"{self.name}: the output is heatmaps, and a label is {wanted.max():g}.",
                    hint="Divide labels by the image's width and height: they must be from 0 to 1.",
                )
            height, width = output.shape[1:3]
            cells = output.reshape(batch, -1, count).argmax(axis=1)
            rows, columns = np.divmod(cells, width)
            return np.stack([(columns + 0.5) / width, (rows + 0.5) / height], axis=-1)
        for values in (2, 3):
            if output.size == batch * count * values:
                return output.reshape(batch, count, values)[..., :2].astype(np.float64)
        raise DataError(
            f"{self.name}: a label has {count} keypoints, and the output has the shape "
            f"{output.shape[1:]} a sample, which is neither x, y (and a score) for each keypoint "
            "nor a heatmap for each.",
        )

    def evaluate(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Share of labelled keypoints in per cent."""
        return 100.0 * ratio(weights, *self.kept())
