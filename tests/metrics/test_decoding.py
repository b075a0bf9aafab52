"""Boxes from the outputs of common heads."""

from __future__ import annotations

import numpy as np
import pytest

from edgeq.errors import DataError, UsageError
from edgeq.metrics.boxes import Decoding
from edgeq.metrics.decoding import decode, find_decoder, parse_decoding, show_decoding
from edgeq.values import TensorSpec

# Two boxes in pixels of a picture of 100 by 200 (height, width): x1, y1, x2, y2.
CORNERS = np.array([[20.0, 10.0, 60.0, 30.0], [100.0, 50.0, 200.0, 100.0]])
FRACTIONS = CORNERS / [200, 100, 200, 100]
SCORES = np.array([[0.9, 0.05, 0.05], [0.1, 0.2, 0.7]])
SIZE = (100, 200)


def found(text: str, **outputs: np.ndarray) -> list[list[float]]:
    result = decode(parse_decoding(text), {k: v[None] for k, v in outputs.items()}, SIZE)
    assert result.shape == (1, 100, 6)
    return [row for row in result[0].round(6).tolist() if row[0] >= 0]


def as_form(form: str, corners: np.ndarray) -> np.ndarray:
    low, high = corners[:, :2], corners[:, 2:]
    return {
        "xyxy": corners,
        "yxyx": corners[:, [1, 0, 3, 2]],
        "xywh": np.hstack((low, high - low)),
        "cxcywh": np.hstack(((low + high) / 2, high - low)),
    }[form]


BEST = [[0, *FRACTIONS[0], 0.9], [2, *FRACTIONS[1], 0.7]]


@pytest.mark.parametrize("form", ["xyxy", "yxyx", "xywh", "cxcywh"])
def test_forms_of_boxes(form: str) -> None:
    text = f"boxes={form},min_score=0.5"
    many = np.vstack((as_form(form, FRACTIONS), np.zeros((9, 4))))
    scores = np.vstack((SCORES, np.zeros((9, 3))))
    assert found(text, boxes=many, scores=scores) == BEST
    assert found(text, joined=np.hstack((many, scores))) == BEST
    assert found(text, joined=np.hstack((many, scores)).T) == BEST
    pixels = np.vstack((as_form(form, CORNERS), np.zeros((9, 4))))
    assert found(f"{text},unit=pixels", scores=scores, boxes=pixels[None]) == BEST


def test_objectness_multiplies_the_classes() -> None:
    boxes = as_form("cxcywh", CORNERS)
    raw = np.hstack((boxes, [[0.5], [1.0]], SCORES))
    many = np.vstack((raw, np.zeros((9, 8))))
    text = "boxes=cxcywh,unit=pixels,objectness=yes,min_score=0.3"
    assert found(text, out=many) == [[2, *FRACTIONS[1], 0.7], [0, *FRACTIONS[0], 0.45]]
    with np.errstate(divide="ignore"):
        many[:, 4:] = np.log(many[:, 4:]) - np.log1p(-many[:, 4:])
    assert found(f"{text},scores=sigmoid", out=many) == [
        [2, *FRACTIONS[1], 0.7],
        [0, *FRACTIONS[0], 0.45],
    ]


def test_a_softmax_with_a_background() -> None:
    boxes = np.vstack((FRACTIONS, np.zeros((9, 4))))
    scores = np.full((11, 3), [5.0, 0.0, 0.0])
    scores[:2] = np.log(SCORES)
    text = "boxes=xyxy,scores=softmax,min_score=0.15"
    first = found(f"{text},background=first", boxes=boxes, scores=scores)
    assert first == [[1, *FRACTIONS[1], 0.7], [0, *FRACTIONS[1], 0.2]]
    last = found(f"{text},background=last", boxes=boxes, scores=scores[:, [1, 2, 0]])
    assert last == first


def test_boxes_of_one_class_that_overlap_a_better_one_are_suppressed() -> None:
    # each is moved by a tenth of its width: IoU 9/11 with its neighbour, 8/12 with the next
    boxes = np.array([[0.1 * step, 0, 0.1 * step + 1, 1] for step in range(5)])
    scores = np.zeros((5, 2))
    scores[:, 0] = [0.5, 0.9, 0.8, 0.7, 0.6]
    scores[2, 1] = 0.4
    chosen = found("boxes=xyxy,iou=0.7", boxes=boxes, scores=scores)
    assert [(row[0], round(row[1], 6), row[5]) for row in chosen] == [
        (0, 0.1, 0.9), (0, 0.3, 0.7), (1, 0.2, 0.4)
    ]  # fmt: skip
    assert len(found("boxes=xyxy,iou=1", boxes=boxes, scores=scores)) == 6
    most = decode(
        parse_decoding("boxes=xyxy,iou=1,at_most=2"), {"b": boxes[None], "s": scores[None]}, SIZE
    )
    assert most[0, :, 5].tolist() == [0.9, 0.8]


def test_boxes_that_the_model_has_chosen_itself() -> None:
    rows = np.zeros((9, 6))
    rows[:2] = np.hstack((CORNERS, [[0.4, 1], [0.8, 3]]))
    rows[2] = [*CORNERS[1], 0.7, 3]  # the same place: the model may say so
    assert found("boxes=xyxy,unit=pixels,scores=listed", out=rows) == [
        [3, *FRACTIONS[1], 0.8], [3, *FRACTIONS[1], 0.7], [1, *FRACTIONS[0], 0.4]
    ]  # fmt: skip
    with pytest.raises(DataError, match="does not fit: the outputs"):
        found("boxes=xyxy,scores=listed", out=np.zeros((9, 7)))


def test_a_score_of_nan_is_no_box() -> None:
    scores = np.full((9, 2), np.nan)
    scores[1, 1] = 0.5
    boxes = np.array([[0.0, 0.0, 1.0, 1.0]] * 9)
    assert found("boxes=xyxy", boxes=boxes, scores=scores) == [[1, 0, 0, 1, 1, 0.5]]


@pytest.mark.parametrize(
    "shapes",
    [
        [(1, 8, 4)],
        [(1, 8)],
        [(1, 8, 4), (1, 7, 3)],
        [(1, 8, 4), (1, 8, 4)],
        [(1, 8, 4), (1, 8, 3), (1, 8, 3)],
    ],
)
def test_outputs_that_are_no_boxes(shapes: list[tuple[int, ...]]) -> None:
    outputs = {f"out{place}": np.zeros(shape) for place, shape in enumerate(shapes)}
    with pytest.raises(DataError, match="--decode boxes=xyxy does not fit: the outputs"):
        decode(parse_decoding("boxes=xyxy"), outputs, SIZE)


def test_a_declaration_is_read_back_from_its_text() -> None:
    text = "boxes=cxcywh,unit=pixels,objectness=yes,iou=0.45,at_most=50"
    made = parse_decoding(text)
    assert made == Decoding("cxcywh", "pixels", objectness="yes", iou=0.45, at_most=50)
    assert show_decoding(made) == text
    assert parse_decoding(show_decoding(Decoding("xyxy"))) == Decoding("xyxy")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("yolo", "has the unknown part 'yolo'"),
        ("boxes=xyxy,nms=0.5", "has the unknown part 'nms=0.5'"),
        ("boxes=xyxy,boxes=xywh", "states boxes twice"),
        ("boxes=xxyy", "boxes is 'xxyy'"),
        ("unit=pixels", "does not say what four values of a box are"),
        ("boxes=xyxy,iou=1.5", "iou is not a number from 0 to 1"),
        ("boxes=xyxy,min_score=low", "min_score is not a number from 0 to 1"),
        ("boxes=xyxy,at_most=0", "at_most is not a number from 1 to 10000"),
    ],
)
def test_a_wrong_declaration(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_decoding(text)


def test_pixels_need_an_image() -> None:
    flat = [TensorSpec("x", (1, 12), "float32")]
    with pytest.raises(UsageError, match="no input is an image of fixed size"):
        find_decoder("boxes=xyxy,unit=pixels", flat)
    assert find_decoder("boxes=xyxy", flat) is not None
    assert find_decoder(None, flat) is None
