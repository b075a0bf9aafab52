"""An image in the middle of a larger one, with its proportions kept, and the way of boxes back.

Python packages contain this file as it is, so it imports nothing of edgeq.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def find_letterbox(size: tuple[int, int], shape: Sequence[int]) -> tuple[int, int, int, int]:
    """Return top, left, height and width of an image that keeps its proportions.

    Args:
        size: height and width of the whole.
        shape: height and width of the image.
    """
    (height, width), (own_height, own_width) = size, shape[:2]
    if height * own_width <= width * own_height:  # the image is the taller one
        width = max(1, (2 * own_width * height + own_height) // (2 * own_height))
    else:
        height = max(1, (2 * own_height * width + own_width) // (2 * own_width))
    return (size[0] - height) // 2, (size[1] - width) // 2, height, width


def to_whole(
    corners: NDArray[Any], size: tuple[int, int], shape: Sequence[int]
) -> NDArray[np.float64]:
    """Return corners as shares of the whole.

    Args:
        corners: [..., 4]: x1, y1, x2, y2 as shares of the image's width and height.
        size: height and width of the whole.
        shape: height and width of the image.
    """
    top, left, height, width = find_letterbox(size, shape)
    inside = np.array([left, top] * 2) + corners.astype(np.float64) * ([width, height] * 2)
    return np.asarray(inside / ([size[1], size[0]] * 2))


def to_image(
    corners: NDArray[Any], size: tuple[int, int], shape: Sequence[int]
) -> NDArray[np.float64]:
    """Return corners as shares of the image, clipped to it; `to_whole` backwards.

    Args:
        corners: [..., 4]: x1, y1, x2, y2 as shares of the whole's width and height.
        size: height and width of the whole.
        shape: height and width of the image.
    """
    top, left, height, width = find_letterbox(size, shape)
    inside = corners.astype(np.float64) * ([size[1], size[0]] * 2) - np.array([left, top] * 2)
    return np.asarray(np.clip(inside / ([width, height] * 2), 0.0, 1.0))
