"""How boxes are read from a detector's outputs, declared once as text like preprocessing.

boxes=cxcywh,unit=pixels,scores=sigmoid        boxes=xyxy,objectness=yes,iou=0.5

One output holds [boxes, 4 + classes] for each sample, or its transpose, with the objectness behind
the box if there is one; or two outputs hold [boxes, 4] and [boxes, classes]. The decoded boxes of
different classes may overlap; of one class, non-maximum suppression leaves the best. With
scores=listed, an output holds [boxes, 6], the score and the class behind the box, and nothing is
suppressed: such models choose their boxes themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.errors import DataError, UsageError
from edgeq.metrics.metric import DETECTIONS, Outputs
from edgeq.values import TensorSpec

_KEYS = ("boxes", "unit", "scores", "objectness", "background", "iou", "min_score", "at_most")
_WORDS = {
    "boxes": ("cxcywh", "xywh", "xyxy", "yxyx"),
    "unit": ("fraction", "pixels"),
    "scores": ("probability", "sigmoid", "softmax", "listed"),
    "objectness": ("no", "yes"),
    "background": ("none", "first", "last"),
}


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

    def text(self) -> str:
        """Return the text that `parse_decoding` reads back; defaults are left out."""
        parts = [
            f"{field.name}={getattr(self, field.name)}"
            for field in fields(self)
            if getattr(self, field.name) != field.default
        ]
        return ",".join(parts)


def parse_decoding(text: str) -> Decoding:
    """Read the value of `--decode`.

    Raises:
        UsageError: an unknown, repeated or missing part, or an invalid value.
    """
    values: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or key not in _KEYS:
            raise UsageError(
                f"--decode {text} has the unknown part {part.strip()!r}.",
                hint=f"Parts are KEY=VALUE with {', '.join(_KEYS)}.",
            )
        if key in values:
            raise UsageError(f"--decode {text} states {key} twice.")
        if key in _WORDS and value not in _WORDS[key]:
            raise UsageError(
                f"--decode {text}: {key} is {value!r}.", hint=f"Known: {', '.join(_WORDS[key])}."
            )
        values[key] = value
    if "boxes" not in values:
        raise UsageError(
            f"--decode {text} does not say what four values of a box are.",
            hint=f"Add boxes={'|'.join(_WORDS['boxes'])}.",
        )
    read: dict[str, Callable[[str], Any]] = {
        "iou": lambda value: _fraction(text, "iou", value),
        "min_score": lambda value: _fraction(text, "min_score", value),
        "at_most": lambda value: _count(text, value),
    }
    return Decoding(**{key: read.get(key, str)(value) for key, value in values.items()})


def _count(text: str, value: str) -> int:
    if not value.isdecimal() or not 1 <= int(value) <= 10_000:
        raise UsageError(f"--decode {text}: at_most is not a number from 1 to 10000.")
    return int(value)


def _fraction(text: str, key: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise UsageError(f"--decode {text}: {key} is not a number from 0 to 1.")
    return number


def decode(found: Decoding, outputs: Outputs, size: tuple[int, int]) -> NDArray[np.float64]:
    """Return the boxes of each sample.

    Args:
        found: how.
        outputs: name to [batch, ...] in real units.
        size: height and width of the model's input in pixels.

    Returns:
        [batch, at_most, 6]: class, x1, y1, x2, y2 as fractions of width and height, score; the
        best first, rows of class -1 are empty.

    Raises:
        DataError: the outputs are not boxes and scores.
    """
    boxes, scores = _split(found, outputs)
    corners = _corners(found, boxes, size)
    choose, probabilities = _suppress, scores
    if found.scores == "listed":
        choose = _list
    else:
        probabilities = _probabilities(found, scores)
    result = np.zeros((len(corners), found.at_most, 6))
    result[..., 0] = -1
    for sample, (of_boxes, of_classes) in enumerate(zip(corners, probabilities, strict=True)):
        kept = choose(found, of_boxes, of_classes)
        result[sample, : len(kept)] = kept
    return result


def find_decoder(
    text: str | None, inputs: Sequence[TensorSpec]
) -> Callable[[Outputs], Outputs] | None:
    """Return a function that puts the boxes before the outputs, as `detections`; None without text.

    Args:
        text: of `--decode`.
        inputs: the model's; the first image among them gives the size in pixels.

    Raises:
        UsageError: the text is wrong, or boxes are in pixels and no input is an image.
    """
    if text is None:
        return None
    found = parse_decoding(text)
    sizes = [spec.shape[1:3] for spec in inputs if len(spec.shape) == 4 and min(spec.shape[1:]) > 0]
    if found.unit == "pixels" and not sizes:
        raise UsageError(
            f"--decode {text}: boxes are in pixels, and no input is an image of fixed size.",
            hint="Fix its size with convert --input-shape.",
        )
    height, width = sizes[0] if sizes else (1, 1)
    return lambda outputs: {DETECTIONS: decode(found, outputs, (height, width)), **outputs}


def _split(found: Decoding, outputs: Outputs) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return boxes [batch, boxes, 4] and scores [batch, boxes, classes, after the objectness]."""
    shapes = {name: values.shape[1:] for name, values in outputs.items()}
    tables = [table for values in outputs.values() if (table := _as_table(values)) is not None]
    if len(outputs) == len(tables) == 1 and _has_scores(found, tables[0].shape[2]):
        joined = tables[0]
        return joined[..., :4], joined[..., 4:]
    if len(outputs) == len(tables) == 2 and tables[0].shape[1] == tables[1].shape[1]:
        places = [place for place, table in enumerate(tables) if table.shape[2] == 4]
        if len(places) == 1:
            return tables[places[0]], tables[1 - places[0]]
    raise DataError(
        f"--decode {found.text()} does not fit the outputs, whose shapes a sample are {shapes}.",
        hint="It reads one output [boxes, 4 + classes] or its transpose, or two outputs [boxes, 4] "
        "and [boxes, classes].",
    )


def _has_scores(found: Decoding, values: int) -> bool:
    return values == 6 if found.scores == "listed" else values > 4


def _as_table(values: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return [batch, boxes, values]: of two axes, boxes are the longer one."""
    table = values.astype(np.float64)
    if table.ndim == 4 and 1 in table.shape[1:]:
        axis = 1 + table.shape[1:].index(1)
        table = np.squeeze(table, axis)
    if table.ndim != 3:
        return None
    return table.swapaxes(1, 2) if table.shape[1] < table.shape[2] else table


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
        classes = powers / powers.sum(axis=-1, keepdims=True)
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
    places, kinds = np.nonzero(scores >= max(found.min_score, np.finfo(float).tiny))
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
    places = np.flatnonzero(scores[:, 0] >= max(found.min_score, np.finfo(float).tiny))
    places = places[np.argsort(-scores[places, 0], kind="stable")][: found.at_most]
    return np.column_stack((np.rint(scores[places, 1]), corners[places], scores[places, 0]))


def _ious(box: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of a box with others [boxes, 4]."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    areas = np.prod(np.maximum(others[:, 2:] - others[:, :2], 0), axis=1)
    union = np.prod(np.maximum(box[2:] - box[:2], 0)) + areas - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))
