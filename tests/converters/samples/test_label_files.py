"""Labels beside the samples: COCO, YOLO, masks, CSV and arrays, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeq.converters.samples.folders import FolderSource
from edgeq.converters.samples.label_files import LabelledData
from edgeq.converters.samples.open_samples import Samples, open_samples
from edgeq.converters.samples.preprocessing import parse_preprocessing
from edgeq.errors import EdgeqError
from edgeq.values import TensorSpec

INPUT = TensorSpec("x", (1, 4, 8, 3), "float32")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three images of 16 by 8 pixels."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a.png", "b.jpg", "c.png"):
        Image.new("RGB", (16, 8)).save(folder / name)
    return folder


def opened(data: Any, labels: Path, spec: TensorSpec = INPUT, text: str = "resize=4x8") -> Samples:
    steps = parse_preprocessing([text], [spec])
    return open_samples(LabelledData(data, labels), [spec], steps)


def test_the_same_images_with_labels_are_the_same_samples(images: Path, tmp_path: Path) -> None:
    steps = parse_preprocessing(["resize=4x8"], [INPUT])
    plain = open_samples(images, [INPUT], steps).ref
    labelled = opened(images, write(tmp_path / "coco.json", coco())).ref
    assert plain.sha256 != labelled.sha256 and plain.samples_sha256 is None
    assert labelled.has_samples_of(plain) and plain.has_samples_of(labelled)
    Image.new("RGB", (16, 8), "red").save(images / "a.png")
    assert not plain.has_samples_of(open_samples(images, [INPUT], steps).ref)


def labels_of(data: Any, labels: Path, *how: Any) -> list[Any]:
    samples = opened(data, labels, *how)
    assert samples.has_labels
    return [sample.label for sample in samples.iterate()]


def coco(**changes: Any) -> dict[str, Any]:
    return {
        "images": [
            {"id": 7, "file_name": "c.png", "width": 16, "height": 8},
            {"id": 3, "file_name": "a.png", "width": 16, "height": 8},
            {"id": 5, "file_name": "train/b.jpg", "width": 16, "height": 8},
        ],
        "categories": [{"id": 18, "name": "dog"}, {"id": 2, "name": "car"}],
        "annotations": [
            {"image_id": 3, "category_id": 18, "bbox": [4, 2, 8, 4]},
            {"image_id": 3, "category_id": 2, "bbox": [0, 0, 16, 8], "iscrowd": 1},
            {"image_id": 7, "category_id": 2, "bbox": [8, 4, 4, 4], "iscrowd": 0},
        ],
    } | changes


def write(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document))
    return path


NO_BOX = [-1, 0, 0, 0, 0, 0]


def test_coco_boxes_are_fractions_and_classes_follow_the_ids(images: Path, tmp_path: Path) -> None:
    samples = opened(images, write(tmp_path / "coco.json", coco()))
    found = [sample.label.tolist() for sample in samples.iterate()]
    dog, crowd = [1, 0.25, 0.25, 0.75, 0.75, 0], [0, 0, 0, 1, 1, 1]
    assert found == [[dog, crowd], [NO_BOX, NO_BOX], [[0, 0.5, 0.5, 0.75, 1, 0], NO_BOX]]
    assert samples.class_names == ("car", "dog")
    assert [issue.message for issue in samples.issues] == [
        f"The categories of {tmp_path / 'coco.json'} became classes 0 to 1 by their ids: car, dog."
    ]
    assert samples.ref.source == f"{images} with {tmp_path / 'coco.json'}"


def test_the_digest_covers_labels(images: Path, tmp_path: Path) -> None:
    first = opened(images, write(tmp_path / "1.json", coco())).ref.sha256
    assert opened(images, write(tmp_path / "2.json", coco())).ref.sha256 == first
    assert opened(images, write(tmp_path / "3.json", coco(annotations=[]))).ref.sha256 != first


def test_the_samples_are_read_once_for_both_digests(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, read = opened(images, write(tmp_path / "coco.json", coco())), []
    take = FolderSource._read
    monkeypatch.setattr(
        FolderSource, "_read", lambda self, index: read.append(index) or take(self, index)
    )
    assert samples.ref == samples.ref
    assert read == [0, 1, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": [], "annotations": []}, r"Image a.png of .* has no label in "),
        ({"categories": []}, "is not a COCO file of boxes: KeyError 18"),
        ({"annotations": [{"image_id": 4}]}, "is not a COCO file of boxes: KeyError 4"),
        ({"annotations": 5}, "is not a COCO file of boxes: TypeError"),
        (
            {"annotations": [{"image_id": 7, "category_id": 3, "bbox": [0, 0, 1, float("nan")]}]},
            "is not a COCO file of boxes: ValueError a box of .* is not finite",
        ),
    ],
)
def test_a_wrong_coco_file(
    images: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(EdgeqError, match=message):
        opened(images, write(tmp_path / "coco.json", coco(**changes)))


def test_yolo_boxes_are_centre_and_size(images: Path, tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    (folder / "classes.txt").write_text("car\ndog\n")
    (folder / "a.txt").write_text("1 0.5 0.5 0.5 0.25\n\n0 0.25 0.5 0.5 1\n")
    (folder / "c.txt").write_text("")
    found = [label.tolist() for label in labels_of(images, folder)]
    assert found == [
        [[1, 0.25, 0.375, 0.75, 0.625, 0], [0, 0, 0, 0.5, 1, 0]],
        [NO_BOX, NO_BOX],
        [NO_BOX, NO_BOX],
    ]
    samples = opened(images, folder)
    assert samples.class_names == ("car", "dog")
    (named,) = (issue for issue in samples.issues if issue.code == "data.class_names")
    assert named.message == f"The lines of {folder}/classes.txt name the classes 0 to 1: car, dog."
    (folder / "classes.txt").write_text("car\n")
    with pytest.raises(EdgeqError, match=r"classes.txt names 1 classes, but a box of .* class 1"):
        opened(images, folder)
    (folder / "classes.txt").unlink()
    assert opened(images, folder).class_names == ()


@pytest.mark.parametrize("line", ["1 0.5 0.5 0.5", "x 0 0 0 0", "0.5 0 0 1 1", "-1 0 0 1 1",
                                  "0 0 0 nan 1", "0 0 0 1 1 0.9", "inf 0 0 1 1"])  # fmt: skip
def test_a_line_that_is_no_box(images: Path, tmp_path: Path, line: str) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    (folder / "b.txt").write_text(f"0 0.5 0.5 1 1\n{line}\n")
    with pytest.raises(EdgeqError, match=f"Line 2 of .*b.txt is '{line}', not a box"):
        opened(images, folder)


def test_labels_of_other_images(images: Path, tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    with pytest.raises(EdgeqError, match=r"holds neither .txt files nor images"):
        opened(images, folder)
    (folder / "other.txt").write_text("0 0.5 0.5 1 1\n")
    with pytest.raises(EdgeqError, match=r"No image of .* has a label in .*, e.g. a.png"):
        opened(images, folder)


def test_masks_are_classes_of_the_inputs_pixels(images: Path, tmp_path: Path) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    classes = np.zeros((8, 16), np.uint8)
    classes[4:, 8:] = 2
    Image.fromarray(classes).save(folder / "a.png")
    palette = Image.fromarray(classes, "P")
    palette.putpalette([0, 0, 0, 9, 9, 9, 250, 0, 0])
    palette.save(folder / "b.png")
    Image.fromarray(classes > 0).save(folder / "c.png")
    found = labels_of(images, folder)
    wanted = classes[::2, ::2]
    assert [label.shape for label in found] == [(4, 8)] * 3
    assert all(np.array_equal(label, wanted) for label in found[:2])
    assert np.array_equal(found[2] > 0, wanted > 0)
    (folder / "c.png").unlink()
    with pytest.raises(EdgeqError, match=r"Image c.png of .* has no mask in"):
        opened(images, folder)
    Image.new("RGB", (16, 8)).save(folder / "c.png")
    with pytest.raises(EdgeqError, match="has pixel mode 'RGB', so its pixels are not classes"):
        labels_of(images, folder)


def test_a_table_labels_files_with_values_or_classes(images: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("file,hPa\nc.png,1011.5\na.png,1013\nb.jpg,990\n")
    assert labels_of(images, table) == [1013.0, 990.0, 1011.5]
    table.write_text("file,x,y\nc.png,1,2\na.png,3,4\nb.jpg,5,6\n")
    assert [label.tolist() for label in labels_of(images, table)] == [[3, 4], [5, 6], [1, 2]]
    table.write_text("file,kind\nc.png,dog\na.png,car\nb.jpg,dog\n")
    samples = opened(images, table)
    assert [sample.label for sample in samples.iterate()] == [0, 1, 1]
    assert samples.class_names == ("car", "dog")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,kind\na.png,1\nb.jpg,2\n", "Image c.png of .* has no label"),
        ("file,kind\na.png,1\na.png,2\n", "Line 3 of .* labels 'a.png' a second time"),
        ("file\na.png\n", "has one column, 'file'"),
        ("file,x,y\na.png,1,up\n", "has several values a file, and 'up' is not a number"),
        ("file,x\na.png\n", "Line 2 of .* has 1 fields"),
    ],
)
def test_a_wrong_table(images: Path, tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(text)
    with pytest.raises(EdgeqError, match=message):
        opened(images, table)


def test_an_array_labels_any_samples(images: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", np.array([2, 0, 1]))
    assert labels_of(images, tmp_path / "y.npy") == [2, 0, 1]
    np.save(tmp_path / "x.npy", np.zeros((3, 4, 8, 3), np.float32))
    samples = open_samples(LabelledData(tmp_path / "x.npy", tmp_path / "y.npy"), [INPUT])
    assert [sample.label for sample in samples.iterate((1, 2))] == [0, 1]
    np.save(tmp_path / "y.npy", np.zeros((2, 5)))
    with pytest.raises(EdgeqError, match="has 3 samples and 2 labels"):
        opened(images, tmp_path / "y.npy")
    np.save(tmp_path / "y.npy", np.array([{}, {}, {}]), allow_pickle=True)
    with pytest.raises(EdgeqError, match="which edgeq does not unpickle"):
        opened(images, tmp_path / "y.npy")
    np.save(tmp_path / "y.npy", np.array(7))
    with pytest.raises(EdgeqError, match="has 3 samples and 0 labels"):
        opened(images, tmp_path / "y.npy")
    content = (tmp_path / "y.npy").read_bytes().replace(b"'shape': ()", b"'shape': ((")
    (tmp_path / "y.npy").write_bytes(content)
    with pytest.raises(EdgeqError, match="has an invalid header"):
        opened(images, tmp_path / "y.npy")


def test_labels_that_edgeq_does_not_know(images: Path, tmp_path: Path) -> None:
    with pytest.raises(EdgeqError, match="There is no file or folder"):
        opened(images, tmp_path / "none.json")
    (tmp_path / "labels.xml").write_text("<annotation/>")
    with pytest.raises(EdgeqError, match="is not a kind of labels that edgeq reads"):
        opened(images, tmp_path / "labels.xml")
    np.save(tmp_path / "x.npy", np.zeros((3, 4, 8, 3), np.float32))
    with pytest.raises(EdgeqError, match="is not a kind of labels that edgeq reads"):
        open_samples(LabelledData(tmp_path / "x.npy", tmp_path / "labels.xml"), [INPUT])
    with pytest.raises(EdgeqError, match=r"labels images by their names, and .*x.npy is not"):
        open_samples(
            LabelledData(tmp_path / "x.npy", write(tmp_path / "coco.json", coco())), [INPUT]
        )


SQUARE = TensorSpec("x", (1, 8, 8, 3), "float32")


def test_boxes_and_masks_follow_a_letterboxed_image(images: Path, tmp_path: Path) -> None:
    """16 by 8 pixels in 8 by 8: the picture fills rows 2 to 5."""
    how = (SQUARE, "letterbox=8x8")
    (first, _, third) = labels_of(images, write(tmp_path / "coco.json", coco()), *how)
    # x1, y1, x2, y2 of [4, 2, 8, 4] are 1/4, 1/4, 3/4, 3/4 of the picture.
    np.testing.assert_allclose(first[0], [1, 0.25, 0.375, 0.75, 0.625, 0], atol=1e-6)
    np.testing.assert_allclose(first[1], [0, 0, 0.25, 1, 0.75, 1], atol=1e-6)
    assert third[0].tolist() == [0, 0.5, 0.5, 0.75, 0.75, 0]

    yolo = tmp_path / "yolo"
    yolo.mkdir()
    (yolo / "a.txt").write_text("1 0.5 0.5 0.5 0.5\n")
    np.testing.assert_allclose(
        labels_of(images, yolo, *how)[0][0], [1, 0.25, 0.375, 0.75, 0.625, 0], atol=1e-6
    )

    masks = tmp_path / "masks"
    masks.mkdir()
    for name in "abc":
        values = np.repeat(np.arange(8, dtype=np.uint8)[None], 8, axis=0).repeat(2, axis=1)
        Image.fromarray(values).save(masks / f"{name}.png")
    mask = labels_of(images, masks, *how)[0]
    assert (mask[[0, 1, 6, 7]] == 255).all()
    assert (mask[2:6] == np.arange(8)).all()
