"""Names of classes, as people's files have them."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from edgeq import models
from edgeq.cli import cli
from edgeq.errors import UsageError
from edgeq.packaging.building import make_package
from edgeq.packaging.labels import read_labels
from tests.packaging.conftest import LABELS

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
        (b"", "hold no name"),
        (b"\n\n", "hold no name"),
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
    assert (
        warning.startswith("several classes of output 'class' have one name") and "coat" in warning
    )
    assert made.manifest.warnings == (warning,)
    for path in ("README.md", "MODEL_CARD.md"):
        assert "several classes of output 'class' have one name" in made.files[path].decode()


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
