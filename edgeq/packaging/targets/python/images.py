"""Images as the model was calibrated with them: Pillow's bilinear filter and Pillow's grey."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[Any]


def resize(height: int, width: int) -> Callable[[Array], Array]:
    """A step that brings images to a size; averages when it makes them smaller."""

    def step(image: Array) -> Array:
        if image.shape[:2] == (height, width):
            return image
        # Two steps: which one Pillow does first depends on its version.
        wide = _pixels(image)
        wide = wide.resize((width, wide.height), Image.Resampling.BILINEAR)
        resized = np.asarray(wide.resize((width, height), Image.Resampling.BILINEAR))
        return resized[:, :, np.newaxis] if image.shape[2:] == (1,) else resized

    return step


def letterbox(
    height: int,
    width: int,
    pad: int,
    find: Callable[[tuple[int, int], Sequence[int]], tuple[int, int, int, int]],
) -> Callable[[Array], Array]:
    """A step that brings images to a size, keeps their proportions and fills the rest with grey.

    Args:
        height, width: of the whole, in pixels.
        pad: grey value.
        find: `find_letterbox`, which edgeq has in another folder than packages.
    """

    def step(image: Array) -> Array:
        _pixels(image)
        top, left, inner_height, inner_width = find((height, width), image.shape)
        whole = np.full((height, width, *image.shape[2:]), pad, np.uint8)
        inside = resize(inner_height, inner_width)(image)
        whole[top : top + inner_height, left : left + inner_width] = inside
        return whole

    return step


def gray(image: Array) -> Array:
    """A step from RGB to ITU-R 601-2 luma."""
    if image.ndim == 2 or image.shape[2:] == (1,):
        return image
    return np.asarray(_pixels(image).convert("L"))[:, :, np.newaxis]


def _pixels(image: Array) -> Image.Image:
    is_image = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3))
    if image.dtype != np.uint8 or not is_image or not image.size:
        raise ValueError(
            f"An image is uint8, height x width x 1 or 3, not {image.dtype} of {image.shape}."
        )
    return Image.fromarray(
        np.ascontiguousarray(image[:, :, 0] if image.shape[2:] == (1,) else image)
    )
