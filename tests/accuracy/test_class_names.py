"""A folder of class folders that lacks a class of the model, or has another one."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest

import edgeq
from edgeq.accuracy.class_names import unclear_names
from edgeq.converters.samples.open_samples import open_samples
from edgeq.errors import DataError
from edgeq.values import TensorSpec
from tests.conversion.test_wide_ends import regressor

INPUTS = (TensorSpec("x", (1, 8), "float32"),)
SCORES = (TensorSpec("scores", (1, 3), "float32"),)
CLASSES = ("bag", "boot", "coat")
KNOWN = [("train", CLASSES)]


AS_INDICES = "Give the model's class indices as labels: y in an .npz, (sample, index) pairs."


def fill(folder: Path, classes: tuple[str, ...], count: int = 4) -> Path:
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        values = np.random.default_rng(number).normal(size=(count, 8)).astype(np.float32)
        for place, row in enumerate(values):
            np.save(folder / name / f"{place}.npy", row)
    return folder


@pytest.mark.parametrize(
    ("classes", "reason", "hint"),
    [
        (("bag", "coat"), "{} has no class 'boot', which train has",
         "A class without samples needs an empty folder: mkdir {}/boot"),
        (("bag", "boot", "coat", "my hat"), "{} has the class 'my hat', which train has not",
         "Move folders of other classes away: mv '{}/my hat' {}/.."),
        (("bag", "boots", "coat"),
         "{} has no class 'boot', which train has and has the class 'boots', which train has not",
         "If both are the same class: mv {}/boots {}/boot; A class without samples needs an empty "
         "folder: mkdir {}/boot; Move folders of other classes away: mv {}/boots {}/.."),
    ],
)  # fmt: skip
def test_the_hint_names_the_class_the_folder_and_the_command(
    tmp_path: Path, classes: tuple[str, ...], reason: str, hint: str
) -> None:
    folder = fill(tmp_path / "test", classes)
    samples = open_samples(folder, INPUTS)
    end = ", so its names cannot be matched to the model's 3 classes."
    assert unclear_names(samples, SCORES, KNOWN) == (
        reason.replace("{}", str(folder)) + end, hint.replace("{}", str(folder))
    )  # fmt: skip


def test_without_a_record_the_number_of_classes_decides(tmp_path: Path) -> None:
    few = open_samples(fill(tmp_path / "few", CLASSES[:2]), INPUTS)
    many = open_samples(fill(tmp_path / "many", (*CLASSES, "hat")), INPUTS)
    for samples, hint in (
        (few, f"A class without samples needs an empty folder: mkdir {tmp_path}/few/NAME"),
        (many, f"Move folders of other classes away: mv {tmp_path}/many/NAME {tmp_path}/many/.."),
    ):
        for known in ((), [("train", ("a", "b"))], [("train", ())]):
            found = unclear_names(samples, SCORES, known)
            assert found is not None and found[1] == hint
            assert found[0].startswith(f"The labels are {len(samples.class_names)} names (bag, ")


def test_other_words_may_be_in_another_order(tmp_path: Path) -> None:
    samples = open_samples(fill(tmp_path / "test", ("Mantel", "Stiefel", "Tasche")), INPUTS)
    found = unclear_names(samples, SCORES, KNOWN)
    assert found is not None
    assert "other names of classes ('Mantel', 'Stiefel', 'Tasche') than" in found[0]
    assert found[1].startswith("Name them as ") and found[1].endswith(AS_INDICES)


def test_numbers_case_and_punctuation_do_not_count(tmp_path: Path) -> None:
    for names in (("0-Bag", "1-Boot", "2-Coat"), ("0", "1", "2")):
        samples = open_samples(fill(tmp_path / names[0], names), INPUTS)
        assert unclear_names(samples, SCORES, KNOWN) is None
    shifted = open_samples(fill(tmp_path / "shifted", ("0-boot", "1-bag", "2-coat")), INPUTS)
    assert unclear_names(shifted, SCORES, KNOWN) is not None
    numbers = open_samples({"x": np.zeros((3, 8), np.float32), "y": np.arange(3)}, INPUTS)
    assert unclear_names(numbers, SCORES, KNOWN) is None


def test_names_that_are_not_folders_are_stored_as_indices(tmp_path: Path) -> None:
    names = np.array(["bag", "coat", "coat"])
    np.savez(tmp_path / "named.npz", x=np.zeros((3, 8), np.float32), y=names)
    found = unclear_names(open_samples(tmp_path / "named.npz", INPUTS), SCORES, KNOWN)
    assert found is not None and found[1] == AS_INDICES


def test_the_same_names_in_another_order_are_other_indices(tmp_path: Path) -> None:
    samples = open_samples(fill(tmp_path / "test", CLASSES), INPUTS)
    assert unclear_names(samples, SCORES, [("train", CLASSES)]) is None
    found = unclear_names(samples, SCORES, [("train", CLASSES[::-1])])
    assert found is not None and found[1] == AS_INDICES
    assert "has the classes in another order than train ('coat', 'boot', 'bag')" in found[0]


def test_every_command_knows_the_classes_from_the_calibration_data(tmp_path: Path) -> None:
    source, made = tmp_path / "net.tflite", tmp_path / "int8.tflite"
    source.write_bytes(regressor(1.0, 0.0, 3))
    train = fill(tmp_path / "train", CLASSES, 40)
    test = fill(tmp_path / "test", ("bag", "coat"))
    steps: list[str] = []
    convert = {"data": train, "effort": "fast", "on_progress": lambda step, *_: steps.append(step)}
    with pytest.raises(DataError, match=r"has no class 'boot', which .*train has") as caught:
        edgeq.convert(source, made, test_data=test, **convert)
    assert steps == ["lower"]  # before anything was calibrated
    edgeq.convert(source, made, **convert)
    for call in (
        lambda: edgeq.compare(source, made, test, latency=False),
        lambda: edgeq.debug(source, made, test, try_remedies=False),
        lambda: edgeq.evaluate([source, made], test),
    ):
        with pytest.raises(DataError, match=r"has no class 'boot', which .*train has") as caught:
            call()
    assert caught.value.hint is not None
    subprocess.run(shlex.split(caught.value.hint.partition(": ")[2]), check=True)
    (found,) = edgeq.evaluate([made], test)
    assert (found.sample_count, found.data.class_names) == (8, CLASSES)
