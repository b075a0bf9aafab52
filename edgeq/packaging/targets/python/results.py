"""Results beside the output tensors: outputs that the file gives in parts, and boxes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Join:
    """An output whose parts are outputs of the file.

    Attributes:
        shape: without the batch dimension.
        blocks: its values in order: how often each part has its turn, and how many values each
            part has then.
    """

    name: str
    shape: tuple[int, ...]
    blocks: tuple[tuple[int, tuple[tuple[str, int], ...]], ...]

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts."""
        return tuple(name for _, parts in self.blocks for name, _ in parts)

    def join(self, real: Mapping[str, Array]) -> Array:
        """The whole output, from the real values of its parts."""
        blocks = [
            np.concatenate([real[name].reshape(repeat, count) for name, count in parts], axis=1)
            for repeat, parts in self.blocks
        ]
        return np.concatenate([block.reshape(-1) for block in blocks]).reshape(self.shape)


@dataclass(frozen=True)
class Box:
    """A found object.

    Attributes:
        index: number of its class.
        label: name of its class, "" if it has none.
        x1, y1, x2, y2: its left, top, right and bottom, as shares of the width and the height of
            the model's input.
        score: its probability.
    """

    index: int
    label: str
    x1: float
    y1: float
    x2: float
    y2: float
    score: float

    @property
    def sides(self) -> Array:
        """Left, top, right and bottom."""
        return np.array([self.x1, self.y1, self.x2, self.y2])


@dataclass(frozen=True)
class Letterbox:
    """The place of a picture in the model's input.

    Attributes:
        place: from its height and width to its top, left, height and width in the input.
        back: from sides [..., 4] as shares of the input, and its height and width, to shares of
            the picture, clipped to it.
    """

    place: Callable[[tuple[int, int]], tuple[int, int, int, int]]
    back: Callable[[Array, tuple[int, int]], Array]

    def move(self, boxes: Sequence[Box], size: tuple[int, int]) -> tuple[Box, ...]:
        """Boxes with sides as shares of a picture of this height and width."""
        found = []
        for box in boxes:
            x1, y1, x2, y2 = map(float, self.back(box.sides, size))
            found.append(replace(box, x1=x1, y1=y1, x2=x2, y2=y2))
        return tuple(found)


@dataclass(frozen=True)
class Boxes:
    """How boxes are read from the outputs.

    Attributes:
        name: in the results.
        find: from outputs by name [1, ...] to boxes [1, at most, 6]: class, x1, y1, x2, y2, score;
            rows of class -1 are empty.
        labels: of the classes; empty without names.
    """

    name: str
    find: Callable[[Mapping[str, Array]], Array]
    labels: Sequence[str] = ()

    def list(self, rows: Array) -> tuple[Box, ...]:
        """The boxes of rows [boxes, 6], the best first."""
        names = dict(enumerate(self.labels))
        return tuple(
            Box(int(row[0]), names.get(int(row[0]), ""), *map(float, row[1:]))
            for row in rows
            if row[0] >= 0
        )


def find_results(
    real: Mapping[str, Array], joins: tuple[Join, ...], boxes: Boxes | None
) -> dict[str, Array]:
    """Joined outputs and boxes by name.

    Args:
        real: output name to real values, without the batch dimension.
    """
    found = {item.name: item.join(real) for item in joins}
    if boxes is not None:
        parts = {name for item in joins for name in item.parts}
        whole = {**{name: real[name] for name in real if name not in parts}, **found}
        found[boxes.name] = boxes.find({name: own[np.newaxis] for name, own in whole.items()})[0]
    return found
