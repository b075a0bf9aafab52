"""Boxes from a detector's outputs, and the best of those that overlap.

Python packages contain this file as it is, so it imports nothing of edgeq.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Decoding:
    """How a detector's outputs become boxes.

    Attributes:
        boxes: four values of a box: centre and size (cxcywh), left top corner and size (xywh), or
            two corners (xyxy, yxyx).
        unit: of boxes: "fraction" of the image's width and height, or "pixels" of the input.
        scores: what a score needs to become a probability: nothing, a sigmoid, or a softmax over
            the classes; or "listed": one score and the number of the class.
        objectness: "yes" if a score of the box comes before those of the classes, which it
            multiplies; it takes the same sigmoid.
        background: a class for boxes without an object.
        iou: boxes of one class that overlap a better one by more are suppressed.
        min_score: boxes below it are dropped.
        at_most: boxes of a sample.
    """

    boxes: str
    unit: str = "fraction"
    scores: str = "probability"
    objectness: str = "no"
    background: str = "none"
    iou: float = 0.5
    min_score: float = 0.01
    at_most: int = 100

    @property
    def least(self) -> float:
        """The score from which on a box counts; a score of 0 never does."""
        return max(self.min_score, float(np.finfo(float).tiny))


@dataclass(frozen=True)
class Table:
    """A table of values inside an output, flat in row-major order.

    Attributes:
        output: its name.
        offset: place of the first value.
        row: places from a box to the next one.
        column: places from a value of a box to its next one.
        columns: values of a box.
    """

    output: str
    offset: int
    row: int
    column: int
    columns: int


def find_tables(found: Decoding, shapes: Mapping[str, Sequence[int]]) -> tuple[int, Table, Table]:
    """Return the number of boxes, and where the boxes and the scores are.

    Args:
        shapes: of one sample, by output name.

    Raises:
        ValueError: the outputs are not boxes and scores.
    """
    tables = [(name, size) for name, shape in shapes.items() if (size := _rows(shape)) is not None]
    if len(shapes) == len(tables) == 1:
        ((name, (rows, columns, is_turned)),) = tables
        if columns == 6 if found.scores == "listed" else columns > 4:
            row, column = (1, rows) if is_turned else (columns, 1)
            return (
                rows,
                Table(name, 0, row, column, 4),
                Table(name, 4 * column, row, column, columns - 4),
            )
    if len(shapes) == len(tables) == 2 and tables[0][1][0] == tables[1][1][0]:
        places = [place for place, (_, (_, columns, _)) in enumerate(tables) if columns == 4]
        if len(places) == 1:
            boxes, scores = (
                Table(name, 0, *((1, rows) if is_turned else (columns, 1)), columns)
                for name, (rows, columns, is_turned) in (tables[places[0]], tables[1 - places[0]])
            )
            return tables[0][1][0], boxes, scores
    shown = ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
    raise ValueError(f"the outputs ({shown}) are not boxes and scores")


def _rows(shape: Sequence[int]) -> tuple[int, int, bool] | None:
    """Boxes, values of a box, and whether the values come first: of two axes, boxes are longer."""
    sizes = list(shape)
    if len(sizes) == 3 and 1 in sizes:
        sizes.remove(1)
    if len(sizes) != 2:
        return None
    is_turned = sizes[0] < sizes[1]
    return (sizes[1], sizes[0], True) if is_turned else (sizes[0], sizes[1], False)


def decode(
    found: Decoding, outputs: Mapping[str, NDArray[Any]], size: tuple[int, int]
) -> NDArray[np.float64]:
    """Return the boxes of each sample.

    Args:
        found: how.
        outputs: name to [batch, ...] in real units.
        size: height and width of the model's input in pixels.

    Returns:
        [batch, at_most, 6]: class, x1, y1, x2, y2 as fractions of width and height, score; the
        best first, rows of class -1 are empty.

    Raises:
        ValueError: the outputs are not boxes and scores.
    """
    shapes = {name: values.shape[1:] for name, values in outputs.items()}
    count, *tables = find_tables(found, shapes)
    boxes, scores = (_read(outputs[table.output], count, table) for table in tables)
    corners = _corners(found, boxes, size)
    choose, probabilities = _suppress, scores
    if found.scores == "listed":
        choose = _list
    else:
        probabilities = _probabilities(found, scores)
    result = np.zeros((len(corners), found.at_most, 6))
    result[..., 0] = -1
    for sample in range(len(corners)):
        kept = choose(found, corners[sample], probabilities[sample])
        result[sample, : len(kept)] = kept
    return result


def _read(values: NDArray[Any], count: int, table: Table) -> NDArray[np.float64]:
    """A table as [batch, boxes, columns]."""
    rows, columns = np.arange(count)[:, None], np.arange(table.columns)
    places = table.offset + rows * table.row + columns * table.column
    return values.reshape(len(values), -1)[:, places].astype(np.float64)


def _corners(
    found: Decoding, boxes: NDArray[np.float64], size: tuple[int, int]
) -> NDArray[np.float64]:
    """Return x1, y1, x2, y2 as fractions."""
    if found.boxes == "yxyx":
        corners = boxes[..., [1, 0, 3, 2]]
    elif found.boxes == "xyxy":
        corners = boxes
    else:
        low = boxes[..., :2] - (boxes[..., 2:] / 2 if found.boxes == "cxcywh" else 0)
        corners = np.concatenate((low, low + boxes[..., 2:]), axis=-1)
    height, width = size
    return corners / [width, height, width, height] if found.unit == "pixels" else corners


def _probabilities(found: Decoding, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability of each class that is an object: [batch, boxes, classes]."""
    box, classes = np.ones((*scores.shape[:2], 1)), scores
    if found.objectness == "yes":
        box, classes = scores[..., :1], scores[..., 1:]
        box = box if found.scores == "probability" else _sigmoid(box)
    if found.scores == "sigmoid":
        classes = _sigmoid(classes)
    elif found.scores == "softmax":
        powers = np.exp(classes - classes.max(axis=-1, keepdims=True))
        # One after the other, as every language adds them.
        classes = powers / np.add.accumulate(powers, axis=-1)[..., -1:]
    if found.background == "first":
        classes = classes[..., 1:]
    elif found.background == "last":
        classes = classes[..., :-1]
    return box * classes


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * (1 + np.tanh(values / 2)))


def _suppress(
    found: Decoding, corners: NDArray[np.float64], scores: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the best boxes of a sample: [boxes, 6]; of equal scores the earlier one is first."""
    places, kinds = np.nonzero(scores >= found.least)
    order = np.argsort(-scores[places, kinds], kind="stable")
    places, kinds = places[order], kinds[order]
    kept: list[int] = []
    for kind in np.unique(kinds):
        candidates = np.flatnonzero(kinds == kind)
        for _ in range(found.at_most):
            if not len(candidates):
                break
            best, rest = candidates[0], candidates[1:]
            kept.append(int(best))
            overlap = _ious(corners[places[best]], corners[places[rest]])
            candidates = rest[overlap <= found.iou]
    chosen = np.sort(np.array(kept, int))[: found.at_most]
    rows, classes = places[chosen], kinds[chosen]
    return np.column_stack((classes, corners[rows], scores[rows, classes]))


def _list(
    found: Decoding, corners: NDArray[np.float64], scores: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the boxes that the model has chosen, the best first: [boxes, 6]."""
    places = np.flatnonzero(scores[:, 0] >= found.least)
    places = places[np.argsort(-scores[places, 0], kind="stable")][: found.at_most]
    return np.column_stack((np.rint(scores[places, 1]), corners[places], scores[places, 0]))


def _ious(box: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of a box with others [boxes, 4]."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    areas = np.prod(np.maximum(others[:, 2:] - others[:, :2], 0), axis=1)
    union = np.prod(np.maximum(box[2:] - box[:2], 0)) + areas - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))
