"""Scenes that the example models see: equal for an equal seed, boxes and weights that fit masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest

from edgeq.models import data
from edgeq.models.scenes import MOST_OBJECTS, PALLET, SIZE, WEIGHTS, Scene, compose

SCENES = list(islice(data.test_scenes(), 60))


def test_equal_seeds_give_equal_scenes() -> None:
    again = list(islice(data.test_scenes(), 60))
    for one, other in zip(SCENES, again, strict=True):
        assert np.array_equal(one.image, other.image)
        assert np.array_equal(one.mask, other.mask)
        assert np.array_equal(one.boxes, other.boxes)
        assert one.weight == other.weight


def test_the_scenes_are_those_that_the_figures_were_measured_on() -> None:
    """Another first scene would make the figures of models/README.md untrue."""
    first = SCENES[0]
    assert (first.boxes * [1, *[SIZE] * 4]).tolist() == [
        [4, 28, 9, 44, 29],
        [8, 25, 21, 43, 45],
        [4, 4, 19, 26, 46],
        [-1, 0, 0, 0, 0],
    ]
    assert first.weight == pytest.approx(1014.9096351720813)


def test_another_seed_gives_other_scenes() -> None:
    garments = np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28, 1)
    kinds = np.array([3, 7])
    one, other = (next(compose(garments, kinds, 1, seed)) for seed in (0, 1))
    assert not np.array_equal(one.image, other.image)


def _objects(scene: Scene) -> np.ndarray:
    return scene.boxes[scene.boxes[:, 0] >= 0]


@pytest.mark.parametrize("scene", SCENES[:30])
def test_boxes_end_where_visible_pixels_of_their_class_do(scene: Scene) -> None:
    found = _objects(scene)
    assert 1 <= len(found) <= MOST_OBJECTS
    covered = np.zeros((SIZE, SIZE), bool)
    for kind, *corners in found:
        left, top, right, bottom = (np.array(corners) * SIZE).astype(int)
        inside = scene.mask[top:bottom, left:right] == kind + 1
        assert all(side.any() for side in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
        covered[top:bottom, left:right] |= inside
    assert np.array_equal(covered, scene.mask > 0)


def test_a_weight_is_that_of_the_pallet_and_its_garments() -> None:
    for scene in SCENES:
        usual = sum(WEIGHTS[int(kind)] for kind in _objects(scene)[:, 0])
        assert 0.65**2 * usual <= scene.weight - PALLET <= 1.15**2 * usual


@pytest.mark.parametrize(
    ("calibration", "test", "shape"),
    [
        (data.boxes_calibration, data.boxes_test, (MOST_OBJECTS, 5)),
        (data.masks_calibration, data.masks_test, (SIZE, SIZE)),
        (data.weights_calibration, data.weights_test, ()),
    ],
)
def test_calibration_and_test_yield_images_with_labels_of_one_form(
    calibration: Callable[[], Iterator[tuple[Any, Any]]],
    test: Callable[[], Iterator[tuple[Any, Any]]],
    shape: tuple[int, ...],
) -> None:
    first = [next(function()) for function in (calibration, test)]
    for image, label in first:
        assert image.shape == (SIZE, SIZE, 3)
        assert np.shape(label) == shape
    assert not np.array_equal(first[0][0], first[1][0])
