"""Names of classes, as people's files have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from edgeq import models
from edgeq.cli import cli
from edgeq.errors import UsageError
from edgeq.packaging.assembly.build import make_package
from edgeq.packaging.container.manifest import read_manifest
from edgeq.packaging.contract.labels import read_labels
from edgeq.packaging.evidence import class_order
from edgeq.packaging.targets import find_target
from edgeq.packaging.verification import contents
from edgeq.packaging.verification.checks import Check
from edgeq.tflite.model_file import parse_model
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
    made = make_package(int8_mobilenet, "python", labels={"": ordered}, **plain)
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
        (("犬", "猫"), ("猫", "犬"), (0, 1)),
        ((), ("cat",), None),
    ],
)
def test_a_label_is_moved_where_it_is_the_name_of_another_class(
    labels: tuple[str, ...], names: tuple[str, ...], moved: tuple[int, int] | None
) -> None:
    assert class_order._first_moved(labels, names) == moved
