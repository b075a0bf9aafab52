"""Mean average precision: by hand, and as pycocotools itself accumulates it."""

from __future__ import annotations

import contextlib
import io
import math

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from edgeq.errors import DataError
from edgeq.metrics.detection import MeanAveragePrecision
from tests.metrics.measuring import filled, measure

NO_BOX = [-1.0, 0, 0, 0, 0, 0]


def test_a_box_is_found_or_not() -> None:
    labels = [[[0, 0, 0, 10, 10]], [[0, 20, 20, 30, 30]]]
    found = [[[0, 0, 0, 10, 10, 0.9]], [NO_BOX]]
    # recall ends at one half, with precision 1: 51 of 101 recalls
    assert measure("map", found, labels) == pytest.approx(100 * 51 / 101)
    found[1] = [[0, 20, 20, 30, 30, 0.8]]
    assert measure("map", found, labels) == pytest.approx(100)


def test_a_false_alarm_before_a_hit_halves_the_precision() -> None:
    labels = [[[0, 0, 0, 10, 10]], [[-1, 0, 0, 0, 0]]]
    found = [[[0, 0, 0, 10, 10, 0.8]], [[0, 5, 5, 9, 9, 0.9]]]
    assert measure("map@0.5", found, labels) == pytest.approx(50)
    found[1][0][5] = 0.7  # behind the hit it costs nothing
    assert measure("map@0.5", found, labels) == pytest.approx(100)


def test_thresholds_of_iou() -> None:
    # the box covers 70 of 100
    found, labels = [[[1, 0, 0, 7, 10, 0.9]]] * 2, [[[1, 0, 0, 10, 10]]] * 2
    assert measure("map@0.7", found, labels) == pytest.approx(100)
    assert measure("map@0.75", found, labels) == 0
    assert measure("map", found, labels) == pytest.approx(100 * 5 / 10)
    found = [[[2, 0, 0, 10, 10, 0.9]]] * 2  # another class
    assert measure("map", found, labels) == 0


def test_a_box_turned_inside_out_is_a_false_alarm() -> None:
    labels = [[[0, 0, 0, 10, 10]]] * 2
    found = [[[0, 10, 10, 0, 0, 0.9], [0, 0, 0, 10, 10, 0.8]]] * 2

    assert measure("map@0.5", found, labels) == pytest.approx(50)


def _draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Detections and labels of 30 images with 3 classes, misses, false alarms, crowds."""
    random = np.random.default_rng(seed)
    labels, found = np.full((30, 4, 6), -1.0), np.full((30, 8, 6), -1.0)
    for image in range(30):
        for place in range(random.integers(0, 5)):
            corner = random.uniform(0, 80, 2)
            box = [*corner, *(corner + random.uniform(10, 20, 2))]
            labels[image, place] = [random.integers(3), *box, random.random() < 0.15]
            kind = labels[image, place, 0] if random.random() < 0.9 else 0
            moved = np.array(box) + random.normal(0, 1.5, 4)
            found[image, place] = [kind, *moved, random.random()]
        for place in range(4, 4 + random.integers(0, 4)):
            corner = random.uniform(0, 80, 2)
            box = [*corner, *(corner + random.uniform(5, 20, 2))]
            found[image, place] = [random.integers(3), *box, random.random() * 0.7]
    return found, labels


def _by_coco(found: np.ndarray, labels: np.ndarray) -> float:
    """The mean over thresholds and classes of pycocotools' own `accumulate`, in per cent."""

    def dataset(rows: np.ndarray, is_label: bool) -> COCO:
        made = COCO()
        boxes = [(image, box) for image, of in enumerate(rows) for box in of if box[0] >= 0]
        made.dataset = {
            "images": [{"id": image} for image in range(len(rows))],
            "categories": [{"id": kind} for kind in range(3)],
            "annotations": [
                {
                    "id": number, "image_id": image, "category_id": int(box[0]),
                    "bbox": [box[1], box[2], box[3] - box[1], box[4] - box[2]],
                    "area": (box[3] - box[1]) * (box[4] - box[2]), "score": box[5],
                    "iscrowd": int(is_label and box[5] == 1),
                }
                for number, (image, box) in enumerate(boxes, 1)
            ],
        }  # fmt: skip
        made.createIndex()
        return made

    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = COCOeval(dataset(labels, True), dataset(found, False), "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
    precision = evaluator.eval["precision"][:, :, :, 0, 2]
    return 100 * float(precision[precision > -1].mean())


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_figure_of_pycocotools(seed: int) -> None:
    found, labels = _draw(seed)
    wanted = _by_coco(found, labels)
    assert 10 < wanted < 90
    assert measure("map", found, labels) == pytest.approx(wanted, abs=1e-9)


def test_a_weight_of_two_is_the_image_twice() -> None:
    found, labels = _draw(5)
    metric = filled("map", found, labels)
    assert isinstance(metric, MeanAveragePrecision)
    times = np.random.default_rng(0).integers(0, 3, 30)
    rows = np.repeat(np.arange(30), times)
    drawn = metric.evaluate(times[None].astype(float))[0]
    assert drawn == pytest.approx(_by_coco(found[rows], labels[rows]), abs=1e-9)
    assert not math.isclose(drawn, metric.value().value, abs_tol=0.1)


def test_what_is_no_box_is_refused() -> None:
    metric = MeanAveragePrecision("map", (0.5,))
    with pytest.raises(DataError) as caught:
        metric.add({"a": np.zeros((2, 100)), "b": np.zeros((2, 8, 6))}, np.zeros((2, 1, 5)))
    assert caught.value.message == (
        "map needs boxes, and nothing says how to read them from outputs of the shape (100,), "
        "(8, 6) a sample."
    )
    with pytest.raises(DataError, match="--labels"):
        measure("map", np.zeros((2, 1, 6)), np.zeros(2))
    with pytest.raises(DataError, match="no sample has a labelled box"):
        measure("map", np.zeros((2, 1, 6)), np.full((2, 1, 5), -1.0))
