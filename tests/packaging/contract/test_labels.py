"""Names of classes, as people's files have them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from edgeq import models
from edgeq.cli import cli
from edgeq.conversion.file_metadata import Carried, finish_file
from edgeq.converters.samples.label_files import LabelledData
from edgeq.errors import UsageError
from edgeq.packaging.assembly.build import make_package
from edgeq.packaging.container.manifest import read_manifest
from edgeq.packaging.contract.labels import read_labels
from edgeq.packaging.evidence import class_order
from edgeq.packaging.targets import find_target
from edgeq.packaging.verification import contents
from edgeq.packaging.verification.checks import Check
from edgeq.tflite import flatbuffer
from edgeq.tflite.model_file import parse_model
from tests.converters.rewrites.tiny_graphs import Builder
from tests.packaging.conftest import LABELS
from tests.packaging.test_verify import Edit, sealed

DATA = models.path("fashion_mnist_test.npz")


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        (b"\xef\xbb\xbfcat\ndog", ("cat", "dog")),
        (b"cat\r\ndog\r\n\r\n", ("cat", "dog")),
        ("a\u2028b\nc\x85d".encode(), None),
        ("a\u2028b\nc".encode(), ("a\u2028b", "c")),
        (b"0\n1\n2", ("0", "1", "2")),
        (b"7 up\n8 ball", ("7 up", "8 ball")),
    ],
)
def test_one_name_is_one_line(
    tmp_path: Path, content: bytes, labels: tuple[str, ...] | None
) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    if labels is None:
        with pytest.raises(UsageError, match="has a control character"):
            read_labels(path)
    else:
        assert read_labels(path) == labels


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"a\n\nb", "Label 2 of 3 is empty"),
        (b"a\nb\0c", "Label 2, 'b.x00c', has a control character"),
        (b"\xff\xfea\0", "cannot be read"),
        (b"0 cat\n1 dog", "Every line of .* begins with its number, as in '0 cat'"),
        (b"1: cat\n2: dog", "Every line of .* begins with its number"),
        (b"0,cat\n1,dog\n2,emu", "Every line of .* begins with its number"),
        (b"0\tcat", "Every line of .* begins with its number"),
    ],
)
def test_what_is_no_list_of_names_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=words):
        read_labels(path)


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").touch()
    with pytest.raises(UsageError, match=f"Did you mean '{tmp_path}/labels.txt'. Give a text file"):
        read_labels(tmp_path / "label.txt")


@pytest.mark.parametrize("between", [" ", "\t", ": ", " , "])
def test_the_command_that_removes_numbers_gives_the_names(tmp_path: Path, between: str) -> None:
    path = tmp_path / "my labels.txt"
    path.write_text(f"0{between}cat\n1{between}dog 2\n")
    with pytest.raises(UsageError) as caught:
        read_labels(path)
    command = (caught.value.hint or "").removeprefix("Remove the numbers: ")
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    assert read_labels(tmp_path / "names.txt") == ("cat", "dog 2")


def test_one_name_for_two_classes_is_a_warning(int8_mobilenet: Path) -> None:
    names = (*LABELS[:9], "coat")
    made = make_package(int8_mobilenet, "python", data=DATA, vectors=1, labels={"": names})
    (warning,) = made.warnings
    assert warning.startswith("several classes of output 'class' have the same name")
    assert "coat" in warning
    assert made.manifest.warnings == (warning,)
    for path in ("README.md", "MODEL_CARD.md"):
        assert "several classes of output 'class' have the same name" in made.files[path].decode()


@pytest.mark.parametrize("second", ["{}", "class={}"])
def test_two_lists_for_one_output_are_refused(
    int8_mobilenet: Path, tmp_path: Path, second: str
) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("\n".join(LABELS))
    arguments = ["package", int8_mobilenet, "--target", "python", "--data", DATA, "-o",
                 tmp_path / "p", "--labels", path, "--labels", second.format(path)]  # fmt: skip
    done = CliRunner().invoke(cli, [*map(str, arguments)], standalone_mode=False)
    assert isinstance(done.exception, UsageError) and "given twice" in done.exception.message
    assert not (tmp_path / "p").exists()


def run_cli(*arguments: object) -> None:
    done = CliRunner().invoke(cli, [*map(str, arguments)], standalone_mode=False)
    assert done.exception is None, done.exception


@pytest.fixture(scope="module")
def class_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of each class; folders are classes in alphabetical order, not the model's."""
    root = tmp_path_factory.mktemp("classes")
    pixels = np.random.default_rng(0).integers(0, 256, (1, 28, 28), np.uint8)
    for name in LABELS:
        (root / name).mkdir()
        for number, array in enumerate(pixels):
            Image.fromarray(array).save(root / name / f"{number}.png")
    return root


def test_labels_in_another_order_than_the_data_are_refused(
    int8_mobilenet: Path, class_folders: Path, tmp_path: Path
) -> None:
    record = tmp_path / "eval.json"
    run_cli("eval", int8_mobilenet, "--data", class_folders, "-o", record)
    (scored,) = json.loads(record.read_text())["evaluations"]
    assert scored["data"]["class_names"] == sorted(LABELS)
    plain = {"data": DATA, "records": [record], "vectors": 1}
    folders = {"data": class_folders, "vectors": 1}
    for given, who in ((plain, str(record)), (folders, class_folders.name)):
        with pytest.raises(UsageError) as caught:
            make_package(int8_mobilenet, "python", labels={"": LABELS}, **given)
        assert caught.value.message == (
            "The labels are in another order than the classes of the data: class 0 of output "
            f"'class' is called 't-shirt', but {who} scored 't-shirt' as class 8."
        )
        assert "Write them in the order ankle boot, bag, coat, dress, pullover, " in str(
            caught.value.hint
        )
    ordered = [name.replace("-", "_").title() for name in sorted(LABELS)]
    foreign = [f"Klasse {letter}" for letter in "abcdefghij"]
    made = make_package(int8_mobilenet, "python", labels={"": foreign}, **plain)
    assert (
        "the order of the labels is not proven: the data has other names, so check that class 0 "
        "of output 'class', 'Klasse a', is its 'ankle boot'"
    ) in made.manifest.warnings
    made = make_package(int8_mobilenet, "python", labels={"": ordered}, **plain)
    assert not any("not proven" in text for text in made.manifest.warnings)
    # The label of index i is the class that the data scored as i.
    assert made.manifest.contract.outputs[0].labels == tuple(ordered)

    def judge(edit: Edit) -> Check:
        files = sealed(made.files, edit)
        (model, *_) = find_target("python").find_models(files).values()
        return contents.check_records(parse_model(model, "m"), files, read_manifest(files))[0]

    def swap(manifest: Any) -> None:
        manifest["contract"]["outputs"][0]["labels"][:2] = ["Bag", "Ankle Boot"]

    assert judge(lambda manifest: None).verdict == "pass"
    found = judge(swap)
    assert (found.name, found.verdict) == ("measured", "fail")
    assert found.detail == (
        "class 0 of output 'class' is called 'Bag', but records/01-eval.json scored 'bag' as "
        "class 1",
    )


@pytest.mark.parametrize(
    ("labels", "names", "moved"),
    [
        (("cat", "dog", "eel"), ("cat", "dog", "eel"), None),
        (("Cat", "DOG ", "Eel!"), ("cat", "dog", "eel"), None),
        (("cat", "eel", "dog"), ("cat", "dog", "eel"), (1, 2)),
        (("Katze", "Hund", "Aal"), ("cat", "dog", "eel"), None),
        (("Katze", "eel", "?"), ("cat", "dog", "eel"), (1, 2)),
        (("zero", "one", "two"), ("0", "1", "10"), None),
        (("0", "10", "1"), ("0", "1", "10"), (1, 2)),
        (("dog", "cat"), ("cat", "dog", "eel"), None),
        (("?", "!"), ("!", "?"), (0, 1)),
        (("T-shirt", "Bag"), ("0-t-shirt", "8-bag"), None),
        (("Bag", "T-shirt"), ("0-t-shirt", "8-bag"), (0, 1)),
        (("3 doors", "4 doors"), ("4-doors", "3-doors"), (0, 1)),
        (("犬", "猫"), ("猫", "犬"), (0, 1)),
        ((), ("cat",), None),
    ],
)
def test_a_label_is_moved_where_it_is_the_name_of_another_class(
    labels: tuple[str, ...], names: tuple[str, ...], moved: tuple[int, int] | None
) -> None:
    assert class_order._first_moved(labels, names) == moved


def detector(folder: Path) -> Path:
    """Boxes of four classes from a picture of 8 x 8 pixels."""
    net = Builder()
    shape = net.constant([1, 24, 8], "int32")
    net.finish(net.add("RESHAPE", [net.input([1, 8, 8, 3]), shape], [1, 24, 8]))
    content = flatbuffer.serialize(net.tree)
    made = finish_file(content, Carried(("scale=1/255",), decoding="boxes=cxcywh"))
    (folder / "detector.tflite").write_bytes(made)
    return folder / "detector.tflite"


def coco(folder: Path, names: Sequence[str]) -> LabelledData:
    """Two pictures with a box in each."""
    (folder / "pictures").mkdir()
    random = np.random.default_rng(0)
    for number in range(2):
        pixels = random.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"pictures/{number}.png")
    document = {
        "images": [
            {"id": number, "file_name": f"{number}.png", "width": 8, "height": 8}
            for number in range(2)
        ],
        "categories": [{"id": 3 * place, "name": name} for place, name in enumerate(names)],
        "annotations": [
            {"image_id": number, "category_id": 0, "bbox": [1, 1, 3, 4]} for number in range(2)
        ],
    }
    (folder / "coco.json").write_text(json.dumps(document))
    return LabelledData(folder / "pictures", folder / "coco.json")


def test_boxes_have_the_names_of_the_categories_that_were_scored(tmp_path: Path) -> None:
    names = ("ship", "horse", "truck", "hen")
    swapped = (names[1], names[0], *names[2:])
    model, data = detector(tmp_path), coco(tmp_path, names)
    record = tmp_path / "eval.json"
    run_cli("eval", model, "--data", data.data, "--labels", data.labels, "--metric", "map@0.5",
            "-o", record)  # fmt: skip
    plain: dict[str, Any] = {"data": data.data, "vectors": 1}
    recorded = make_package(model, "python", records=[record], **plain)
    assert recorded.manifest.contract.box_labels == names
    assert json.loads(recorded.files["detector/labels.json"]) == {"boxes": list(names)}
    beside = make_package(model, "python", data=data, vectors=1)
    assert beside.manifest.contract.box_labels == names
    bare = make_package(model, "python", **plain)
    assert bare.manifest.contract.box_labels == ()
    assert "no labels: --labels names the classes" in bare.notes
    with pytest.raises(UsageError, match=r"class 0 of the boxes is called 'horse', but .*class 1"):
        make_package(model, "python", records=[record], labels={"": swapped}, **plain)
    with pytest.raises(UsageError, match=r"There are 3 labels, but the boxes .* have 4 classes"):
        make_package(model, "python", labels={"": names[:3]}, **plain)

    def judge(edit: Edit) -> Check:
        files = sealed(recorded.files, edit)
        (shipped, *_) = find_target("python").find_models(files).values()
        return contents.check_records(parse_model(shipped, "m"), files, read_manifest(files))[0]

    assert judge(lambda manifest: None).verdict == "pass"
    assert judge(lambda manifest: manifest["contract"].update(box_labels=swapped)).verdict == "fail"


def test_names_of_another_number_of_classes_are_not_used(tmp_path: Path) -> None:
    made = make_package(detector(tmp_path), "python", data=coco(tmp_path, ("a", "b")), vectors=1)
    assert made.manifest.contract.box_labels == ()
    (note,) = (note for note in made.notes if note.startswith("no labels"))
    assert "the boxes have 4 classes, but " in note and " names 2; --labels names the" in note
