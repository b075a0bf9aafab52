"""Compose scenes: one to four garments on a coloured background, with boxes, masks and a weight.

Equal garments and an equal seed give equal scenes, so no scene is stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_Pixels: TypeAlias = NDArray[np.uint8]

SIZE = 64  # pixels, both sides
MOST_OBJECTS = 4
# Kilograms of a pallet without garments, and of each kind of garment at a scale of 1.
PALLET = 1011.0
WEIGHTS = (0.4, 0.9, 0.8, 0.7, 2.0, 0.6, 0.5, 1.2, 1.5, 2.4)

_SCALES = 0.65, 1.15  # of a garment's 28 pixels
_OPAQUE = 24  # grey value from which a pixel belongs to the garment
_LEAST_VISIBLE = 0.7  # of each garment's pixels
_ATTEMPTS = 20  # to find such a place


@dataclass(frozen=True)
class Scene:
    """A picture and what is in it.

    Attributes:
        image: uint8 [64, 64, 3].
        mask: uint8 [64, 64]: 0 is the background, 1 to 10 a garment's class + 1.
        boxes: float32 [4, 5]: class, x1, y1, x2, y2 as fractions of the sides, of the visible
            pixels; a row of class -1 is empty.
        weight: of the pallet with its garments, kg; that of a garment grows with its area.
    """

    image: _Pixels
    mask: _Pixels
    boxes: NDArray[np.float32]
    weight: float


@dataclass(frozen=True)
class _Garment:
    kind: int
    scale: float
    picture: NDArray[np.float64]  # [size, size, 3]
    shape: NDArray[np.bool_]  # [size, size]


def compose(garments: _Pixels, kinds: NDArray[np.int64], count: int, seed: int) -> Iterator[Scene]:
    """Yield scenes.

    Args:
        garments: uint8 [N, 28, 28, 1].
        kinds: their classes, int64 [N].
        count: number of scenes.
        seed: of garments, places, colours and backgrounds.
    """
    random = np.random.default_rng(seed)
    for _ in range(count):
        yield _compose_one(garments, kinds, random)


def _compose_one(garments: _Pixels, kinds: NDArray[np.int64], random: np.random.Generator) -> Scene:
    canvas = _background(random)
    owners = np.full((SIZE, SIZE), -1)  # the garment that is visible
    placed: list[_Garment] = []
    for _ in range(random.integers(1, MOST_OBJECTS + 1)):
        chosen = random.integers(len(garments))
        garment = _dress(garments[chosen, ..., 0], int(kinds[chosen]), random)
        for _ in range(_ATTEMPTS):
            top, left = random.integers(SIZE - len(garment.shape) + 1, size=2)
            window = slice(top, top + len(garment.shape)), slice(left, left + len(garment.shape))
            if _stays_visible(owners, window, [*placed, garment]):
                canvas[window][garment.shape] = garment.picture[garment.shape]
                owners[window][garment.shape] = len(placed)
                placed.append(garment)
                break
    noise = random.normal(0, 4, canvas.shape)
    classes = np.array([garment.kind + 1 for garment in placed] + [0], np.uint8)
    return Scene(
        np.clip(canvas + noise, 0, 255).astype(np.uint8),
        classes[owners],
        _boxes(owners, placed),
        PALLET + sum(WEIGHTS[garment.kind] * garment.scale**2 for garment in placed),
    )


def _background(random: np.random.Generator) -> NDArray[np.float64]:
    """Soft colours: 3 x 3 random ones, enlarged."""
    light = random.uniform(0, 160)
    small = (light + random.uniform(0, 95, (3, 3, 3))).astype(np.uint8)
    large = Image.fromarray(small).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return np.asarray(large).astype(np.float64)


def _dress(grey: _Pixels, kind: int, random: np.random.Generator) -> _Garment:
    """A garment in another size and colour, perhaps mirrored."""
    scale = random.uniform(*_SCALES)
    side = round(len(grey) * scale)
    resized = Image.fromarray(grey).resize((side, side), Image.Resampling.BILINEAR)
    pixels = np.asarray(resized)[:, :: random.choice((-1, 1))]
    picture = pixels[..., np.newaxis] * random.uniform(0.4, 1.0, 3)
    return _Garment(kind, scale, picture, pixels >= _OPAQUE)


def _stays_visible(
    owners: NDArray[np.int64], window: tuple[slice, slice], garments: list[_Garment]
) -> bool:
    """Whether enough of each garment is visible when the last one is put there."""
    covered = owners.copy()
    covered[window][garments[-1].shape] = len(garments) - 1
    return all(
        np.count_nonzero(covered == number) >= _LEAST_VISIBLE * np.count_nonzero(garment.shape)
        for number, garment in enumerate(garments)
    )


def _boxes(owners: NDArray[np.int64], placed: list[_Garment]) -> NDArray[np.float32]:
    boxes = np.zeros((MOST_OBJECTS, 5), np.float32)
    boxes[:, 0] = -1
    for number, garment in enumerate(placed):
        rows, columns = np.nonzero(owners == number)
        corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        boxes[number] = [garment.kind, *(np.array(corners) / SIZE)]
    return boxes
