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
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.errors import DataError, UsageError, did_you_mean
from edgeq.metrics import boxes
from edgeq.metrics.boxes import Decoding
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


def show_decoding(found: Decoding) -> str:
    """Return the text that `parse_decoding` reads back; defaults are left out."""
    parts = [
        f"{field.name}={getattr(found, field.name)}"
        for field in fields(found)
        if getattr(found, field.name) != field.default
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
                hint=f"{did_you_mean(key, _KEYS)}Parts are KEY=VALUE with {', '.join(_KEYS)}.",
            )
        if key in values:
            raise UsageError(f"--decode {text} states {key} twice.")
        if key in _WORDS and value not in _WORDS[key]:
            known = _WORDS[key]
            raise UsageError(
                f"--decode {text}: {key} is {value!r}.",
                hint=f"{did_you_mean(value, known)}Known: {', '.join(known)}.",
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
    """Return the boxes of each sample, see `edgeq.metrics.boxes.decode`.

    Raises:
        DataError: the outputs are not boxes and scores.
    """
    try:
        return boxes.decode(found, outputs, size)
    except ValueError as error:
        raise misfit(found, error) from error


def misfit(found: Decoding, error: ValueError) -> DataError:
    """Return the error for outputs that a decoding does not fit."""
    return DataError(
        f"--decode {show_decoding(found)} does not fit: {error}.",
        hint="It reads one output [boxes, 4 + classes] or its transpose, or two outputs [boxes, 4] "
        "and [boxes, classes].",
    )


def input_size(found: Decoding, inputs: Sequence[TensorSpec]) -> tuple[int, int]:
    """Return height and width of the model's input; 1 and 1 if boxes do not need them.

    Args:
        inputs: the model's; the first image among them counts.

    Raises:
        UsageError: boxes are in pixels, and no input is an image.
    """
    sizes = [spec.shape[1:3] for spec in inputs if len(spec.shape) == 4 and min(spec.shape[1:]) > 0]
    if found.unit == "pixels" and not sizes:
        raise UsageError(
            f"--decode {show_decoding(found)}: boxes are in pixels, and no input is an image of "
            "fixed size.",
            hint="Fix its size with convert --input-shape.",
        )
    height, width = sizes[0] if sizes else (1, 1)
    return height, width


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
    size = input_size(found, inputs)
    return lambda outputs: {DETECTIONS: decode(found, outputs, size), **outputs}
