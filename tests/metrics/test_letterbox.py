"""Boxes move into a letterboxed input and back."""

from __future__ import annotations

import numpy as np
import pytest

from edgeq.metrics.letterbox import find_letterbox, to_image, to_whole

# Height and width of the whole and of the image; top, left, height and width of the image in it.
PLACES = [
    ((8, 12), (20, 10), (0, 4, 8, 4)),
    ((8, 12), (7, 30), (2, 0, 3, 12)),
    ((8, 12), (16, 24), (0, 0, 8, 12)),
    ((8, 8), (100, 1), (0, 3, 8, 1)),
    ((8, 8), (1, 100), (3, 0, 1, 8)),
    ((640, 640), (427, 640), (106, 0, 427, 640)),
    ((10, 10), (20, 13), (0, 1, 10, 7)),  # 6.5 columns
    ((10, 10), (13, 20), (1, 0, 7, 10)),
]


@pytest.mark.parametrize(("size", "shape", "place"), PLACES)
def test_corners_of_the_image_are_those_of_its_region(
    size: tuple[int, int], shape: tuple[int, int], place: tuple[int, int, int, int]
) -> None:
    assert find_letterbox(size, shape) == place
    top, left, height, width = place
    moved = to_whole(np.array([[0.0, 0.0, 1.0, 1.0]]), size, shape)
    sides = [left / size[1], top / size[0], (left + width) / size[1], (top + height) / size[0]]
    np.testing.assert_allclose(moved, [sides], rtol=1e-12)


@pytest.mark.parametrize(("size", "shape", "place"), PLACES)
def test_the_way_back_is_the_inverse(
    size: tuple[int, int], shape: tuple[int, int], place: tuple[int, int, int, int]
) -> None:
    boxes = np.random.default_rng(0).uniform(0, 1, (5, 4))
    found = to_image(to_whole(boxes, size, shape), size, shape)
    np.testing.assert_allclose(found, boxes, atol=1e-9)
    # The whole is around the image, and is clipped to it.
    assert to_image(np.array([0.0, 0.0, 1.0, 1.0]), size, shape).tolist() == [0, 0, 1, 1]
