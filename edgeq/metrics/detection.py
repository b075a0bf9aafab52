"""Metrics of boxes: mean average precision as COCO defines it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.errors import DataError, UsageError
from edgeq.metrics.metric import DETECTIONS, Outputs, WeightedMetric, mean_of_known

COCO_IOUS = tuple(0.5 + 0.05 * step for step in range(10))
# COCO's own limits: recalls at which the precision is read, and boxes an image.
_RECALLS = np.linspace(0.0, 1.0, 101)
_MOST_BOXES = 100
_COLUMNS = "class, x1, y1, x2, y2"


@dataclass(frozen=True)
class _Class:
    """Detections of one class over all images, the best score first.

    Attributes:
        images: [detections], the image of each.
        is_hit, is_miss: [thresholds, detections]; neither for a detection that does not count.
        wanted: [images], labelled boxes that count.
    """

    images: NDArray[np.int64]
    is_hit: NDArray[np.bool_]
    is_miss: NDArray[np.bool_]
    wanted: NDArray[np.float64]


class MeanAveragePrecision(WeightedMetric):
    """Mean average precision over classes and thresholds of IoU, in per cent.

    The boxes are matched by pycocotools, the reference implementation (Lin et al., "Microsoft COCO:
    Common objects in context", 2014); at most 100 boxes an image count. Detections are
    [batch, boxes, 6]: class, x1, y1, x2, y2, score; labels are [batch, boxes, 5 or 6]: class, x1,
    y1, x2, y2 and 1 for a crowd, which detections may cover without penalty. A row of class -1 is
    empty. Both use one unit for x and one for y.

    Args:
        name: "map" or e.g. "map@0.5".
        ious: thresholds.
    """

    def __init__(self, name: str, ious: tuple[float, ...]):
        super().__init__()
        self.name, self._ious = name, ious
        self._classes: list[_Class] | None = None
        self._found: list[NDArray[np.float64]] = []
        self._labels: list[NDArray[np.float64]] = []

    def _measure(self, outputs: Outputs, labels: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        if DETECTIONS not in outputs:
            shapes = ", ".join(str(values.shape[1:]) for values in outputs.values())
            raise DataError(
                f"{self.name} needs boxes, and nothing says how to read them from outputs of the "
                f"shape {shapes} a sample.",
                hint="Say it with --decode, e.g. --decode boxes=cxcywh,unit=pixels.",
            )
        boxes = outputs[DETECTIONS]
        if labels.ndim != 3 or labels.shape[2] not in (5, 6):
            raise DataError(
                f"{self.name} needs labelled boxes ({_COLUMNS} and, for a crowd, 1), and a label "
                f"has the shape {labels.shape[1:]}.",
                hint="Name a COCO JSON file or a folder of YOLO text files with --labels.",
            )
        for rows, kept in ((boxes, self._found), (labels, self._labels)):
            for sample in rows.astype(np.float64):
                kept.append(sample[sample[:, 0] >= 0])
        self._classes = None
        return (np.zeros(len(labels)),)

    def evaluate(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean average precision in per cent."""
        if self._classes is None:
            self._classes = list(_match(self._found, self._labels, self._ious))
        precisions = [
            precision
            for found in self._classes
            for precision in _average_precisions(found, weights)
        ]
        if not precisions:
            return np.full(len(weights), np.nan)
        return 100.0 * mean_of_known(np.stack(precisions, axis=1))

    def _undefined(self) -> str:
        return "no sample has a labelled box"


def _average_precisions(
    found: _Class, weights: NDArray[np.float64]
) -> Iterator[NDArray[np.float64]]:
    """Yield the average precision of a class for each row of weights, by threshold: [draws].

    Only places of hits count: the best precision at a recall or a higher one is at a hit.
    """
    wanted = weights @ found.wanted
    of_boxes = weights[:, found.images]
    named = np.cumsum(of_boxes, axis=1)
    for is_hit, is_miss in zip(found.is_hit, found.is_miss, strict=True):
        counts = is_hit | is_miss
        counted = named if counts.all() else np.cumsum(of_boxes * counts, axis=1)
        hits = np.cumsum(of_boxes[:, is_hit], axis=1)
        precision = hits / np.maximum(counted[:, is_hit], np.finfo(float).tiny)
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        precision = np.hstack((precision, np.zeros((len(precision), 1))))
        result = np.full(len(weights), np.nan)
        for draw in np.flatnonzero(wanted > 0):
            places = np.searchsorted(hits[draw] / wanted[draw], _RECALLS, side="left")
            result[draw] = precision[draw, places].mean()
        yield result


def _match(
    found: list[NDArray[np.float64]], labels: list[NDArray[np.float64]], ious: tuple[float, ...]
) -> Iterator[_Class]:
    """Match detections with labels image by image; yield the classes that have labels."""
    for rows in _evaluate_with_coco(found, labels, ious):
        images = np.concatenate([np.full(len(row["dtScores"]), row["image_id"]) for row in rows])
        scores = np.concatenate([row["dtScores"] for row in rows])
        order = np.argsort(-scores, kind="stable")
        matched, ignored = (
            np.concatenate([row[key] for row in rows], axis=1)[:, order].astype(bool)
            for key in ("dtMatches", "dtIgnore")
        )
        wanted = np.zeros(len(labels))
        for row in rows:
            wanted[row["image_id"]] = np.count_nonzero(np.asarray(row["gtIgnore"]) == 0)
        yield _Class(
            images[order].astype(np.int64), matched & ~ignored, ~matched & ~ignored, wanted
        )


def _evaluate_with_coco(
    found: list[NDArray[np.float64]], labels: list[NDArray[np.float64]], ious: tuple[float, ...]
) -> Iterator[list[dict[str, Any]]]:
    """Yield pycocotools' matches of each labelled class, one entry for each image with boxes."""
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise UsageError(
            "mean average precision needs pycocotools, which is not installed.",
            hint='pip install "edgeq[detection]"',
        ) from error
    classes = sorted({int(row[0]) for rows in labels for row in rows})
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
        wanted, results = COCO(), COCO()
        wanted.dataset = _as_dataset(labels, classes)
        results.dataset = _as_dataset(found, classes)
        wanted.createIndex()
        results.createIndex()
        evaluator = COCOeval(wanted, results, "bbox")
        evaluator.params.iouThrs = np.array(ious)
        evaluator.params.areaRng = [[0, np.inf]]
        evaluator.params.areaRngLbl = ["all"]
        evaluator.params.maxDets = [_MOST_BOXES]
        evaluator.evaluate()
    images = len(labels)
    for place in range(len(classes)):
        rows = evaluator.evalImgs[place * images : (place + 1) * images]
        yield [row for row in rows if row is not None]


def _as_dataset(rows: list[NDArray[np.float64]], classes: list[int]) -> dict[str, Any]:
    """Return boxes in COCO's format; the sixth column is the score, or 1 for a crowd."""
    annotations: list[dict[str, Any]] = []
    for image, boxes in enumerate(rows):
        for kind, left, top, right, bottom, *last in boxes.tolist():
            width, height = max(right - left, 0.0), max(bottom - top, 0.0)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(kind),
                    "bbox": [left, top, width, height],
                    "area": width * height,
                    "iscrowd": int(last[0] == 1) if last else 0,
                    "score": last[0] if last else 0.0,
                }
            )
    return {
        "images": [{"id": image} for image in range(len(rows))],
        "categories": [{"id": kind} for kind in classes],
        "annotations": annotations,
    }
