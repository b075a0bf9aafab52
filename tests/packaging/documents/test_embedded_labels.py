"""A model that was taken out of a package, and is packaged again: there is one list of labels."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgeq import models
from edgeq.errors import PackageError, UsageError
from edgeq.packaging.assembly.build import Package, make_package
from edgeq.packaging.contract.contract import make_contract
from edgeq.packaging.documents import metadata
from edgeq.packaging.documents.embedded_labels import read_labels
from edgeq.packaging.documents.shipping import measurable, ship
from edgeq.packaging.verification import contents
from edgeq.tflite import flatbuffer
from edgeq.tflite.model_file import parse_model, read_model
from tests.packaging.conftest import LABELS
from tests.packaging.test_verify import verify
from tests.tiny_models import add_one

DATA = models.path("fashion_mnist_test.npz")
OTHERS = tuple(f"Größe {number}" for number in range(10))


@pytest.fixture(scope="module")
def taken_out(package: Package, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("taken") / "fashion.tflite"
    path.write_bytes(package.files["fashion/fashion.tflite"])
    return path


def test_labels_are_replaced_everywhere(
    taken_out: Path, int8_mobilenet: Path, tmp_path: Path
) -> None:
    record = f"{int8_mobilenet}.json"
    made = make_package(
        taken_out, "python", data=DATA, labels={"": OTHERS}, vectors=1, records=[record]
    )
    assert not any("metadata" in note for note in made.notes)
    shipped = made.files["fashion/fashion.tflite"]
    assert read_labels(parse_model(shipped, "m")) == {"class": ("labels.txt", OTHERS)}
    assert made.manifest.contract.outputs[0].labels == OTHERS
    assert json.loads(made.files["fashion/labels.json"]) == {"class": list(OTHERS)}
    # What was measured is the file before there were metadata.
    measured = hashlib.sha256(int8_mobilenet.read_bytes()).hexdigest()
    assert made.manifest.measured_sha256 == measured
    result = verify(made.files, tmp_path)
    unproven = [check.name for check in result.checks if check.verdict != "pass"]
    assert result.verdict == "pass"
    assert unproven == ["signature", "gate", "golden vectors"]


def test_labels_that_the_file_carries_are_read(taken_out: Path) -> None:
    made = make_package(taken_out, "python", data=DATA, vectors=1)
    assert made.manifest.contract.outputs[0].labels == LABELS
    assert "no labels: --labels names the classes" not in made.notes


def test_without_metadata_the_measured_file_ships(taken_out: Path, int8_mobilenet: Path) -> None:
    """As for microcontrollers, whose flash has no place for them."""
    bare, whole = measurable(read_model(taken_out))
    assert bare.content == int8_mobilenet.read_bytes()
    assert whole.content == taken_out.read_bytes()
    contract = make_contract(taken_out, labels={"": OTHERS})
    assert ship(bare, contract, "", None, has_metadata=False) == (bare, [])
    assert read_labels(bare) == {}


def test_labels_that_cannot_be_replaced_are_not_contradicted(
    taken_out: Path, package: Package
) -> None:
    """A file that was measured with its metadata, or that another tool wrote."""
    content = read_model(taken_out)
    own = make_contract(taken_out, labels={"": LABELS})
    other = make_contract(taken_out, labels={"": OTHERS})
    shipped, (note,) = ship(content, own, "", None, has_metadata=True)
    assert shipped is content and note.startswith("the metadata of the file were kept")
    with pytest.raises(UsageError, match=r"fashion\.tflite carries labels\.txt, .* output 'class'"):
        ship(content, other, "", None, has_metadata=True)
    manifest = replace(
        package.manifest, contract=other, measured_sha256=other.model.sha256, name=other.name,
        version=other.version,
    )  # fmt: skip
    check, _ = contents.check_contract(content, manifest)
    told = "the labels in the manifest are not those of labels.txt in the model"
    assert (check.verdict, check.detail) == ("fail", (told,))


def test_lists_that_are_no_classes_of_the_output_are_passed_by(tmp_path: Path) -> None:
    path = tmp_path / "x.tflite"
    path.write_bytes(add_one())
    contract = make_contract(path, labels={"": ["a", "b", "c"]})
    content = metadata.add_metadata(add_one(), contract)
    assert read_labels(parse_model(content, "m")) == {"y": ("labels.txt", ("a", "b", "c"))}
    (output,) = contract.outputs
    longer = replace(contract, outputs=(replace(output, labels=("background", *output.labels)),))
    assert read_labels(parse_model(metadata.add_metadata(add_one(), longer), "m")) == {}


def test_damaged_metadata_are_told(taken_out: Path) -> None:
    content = taken_out.read_bytes()
    tree = flatbuffer.parse(content, "m")
    tail = content[len(flatbuffer.serialize(tree)) :]
    (entry,) = (item for item in tree.metadata if flatbuffer.text(item.name) == metadata.KEY)
    tree.buffers[entry.buffer].data = list(b"\xff" * 40)
    with pytest.raises(PackageError, match="metadata are damaged"):
        read_labels(parse_model(flatbuffer.serialize(tree) + tail, "m"))
