"""The shipped samples for the models whose inputs are not whole images.

edgeq convert fmnist_two_input.keras --data edgeq.models.data:two_input_calibration
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgeq.models import path

Pixels: TypeAlias = NDArray[np.uint8]


def two_input_calibration() -> Iterator[tuple[dict[str, Pixels], int]]:
    """Yield 300 training samples: "upper" and "lower", each uint8 [14, 28, 1], and the class."""
    return _yield_halves("fashion_mnist_calibration.npz")


def two_input_test() -> Iterator[tuple[dict[str, Pixels], int]]:
    """Yield 2,000 test samples: "upper" and "lower", each uint8 [14, 28, 1], and the class."""
    return _yield_halves("fashion_mnist_test.npz")


def gru_calibration() -> Iterator[tuple[Pixels, int]]:
    """Yield 300 training samples: 28 rows of 28 pixels, uint8 [28, 28], and the class."""
    return _yield_rows("fashion_mnist_calibration.npz")


def gru_test() -> Iterator[tuple[Pixels, int]]:
    """Yield 2,000 test samples: 28 rows of 28 pixels, uint8 [28, 28], and the class."""
    return _yield_rows("fashion_mnist_test.npz")


def split_halves(images: Pixels) -> dict[str, Pixels]:
    """Cut images [..., 28, 28, 1] into "upper" and "lower", each [..., 14, 28, 1]."""
    return {"upper": images[..., :14, :, :], "lower": images[..., 14:, :, :]}


def drop_channel(images: Pixels) -> Pixels:
    """Take images [..., 28, 28, 1] as rows of pixels [..., 28, 28]."""
    return images[..., 0]


def _yield_halves(name: str) -> Iterator[tuple[dict[str, Pixels], int]]:
    for image, label in _yield_images(name):
        yield split_halves(image), label


def _yield_rows(name: str) -> Iterator[tuple[Pixels, int]]:
    for image, label in _yield_images(name):
        yield drop_channel(image), label


def _yield_images(name: str) -> Iterator[tuple[Pixels, int]]:
    with np.load(path(name)) as arrays:
        images, labels = arrays["x"], arrays["y"]
    for image, label in zip(images, labels, strict=True):
        yield image, int(label)
