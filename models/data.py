"""The shipped samples for the models whose inputs are not whole images, and scenes with them.

edgeq convert fmnist_two_input.keras --data edgeq.models.data:two_input_calibration
edgeq convert scenes_unet.keras --data edgeq.models.data:masks_calibration
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgeq.models import path
from edgeq.models.scenes import Scene, compose

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


def boxes_calibration() -> Iterator[tuple[Pixels, NDArray[np.float32]]]:
    """Yield 300 scenes of training garments: uint8 [64, 64, 3], and boxes [4, 5], see `Scene`."""
    return ((scene.image, scene.boxes) for scene in calibration_scenes())


def boxes_test() -> Iterator[tuple[Pixels, NDArray[np.float32]]]:
    """Yield 2,000 scenes of test garments: uint8 [64, 64, 3], and boxes [4, 5], see `Scene`."""
    return ((scene.image, scene.boxes) for scene in test_scenes())


def masks_calibration() -> Iterator[tuple[Pixels, Pixels]]:
    """Yield 300 scenes of training garments: uint8 [64, 64, 3], and masks, uint8 [64, 64]."""
    return ((scene.image, scene.mask) for scene in calibration_scenes())


def masks_test() -> Iterator[tuple[Pixels, Pixels]]:
    """Yield 2,000 scenes of test garments: uint8 [64, 64, 3], and masks, uint8 [64, 64]."""
    return ((scene.image, scene.mask) for scene in test_scenes())


def weights_calibration() -> Iterator[tuple[Pixels, float]]:
    """Yield 300 scenes of training garments: uint8 [64, 64, 3], and the weight in kg."""
    return ((scene.image, scene.weight) for scene in calibration_scenes())


def weights_test() -> Iterator[tuple[Pixels, float]]:
    """Yield 2,000 scenes of test garments: uint8 [64, 64, 3], and the weight in kg."""
    return ((scene.image, scene.weight) for scene in test_scenes())


def calibration_scenes() -> Iterator[Scene]:
    """Yield 300 scenes of the 300 shipped training garments."""
    return compose(*_read("fashion_mnist_calibration.npz"), count=300, seed=1)


def test_scenes() -> Iterator[Scene]:
    """Yield 2,000 scenes of the 2,000 shipped test garments."""
    return compose(*_read("fashion_mnist_test.npz"), count=2000, seed=2)


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
    for image, label in zip(*_read(name), strict=True):
        yield image, int(label)


def _read(name: str) -> tuple[Pixels, NDArray[np.int64]]:
    with np.load(path(name)) as arrays:
        return arrays["x"], arrays["y"]
