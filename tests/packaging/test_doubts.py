"""Samples and records that do not fit the model: refused where that is certain, told otherwise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from edgeq import models
from edgeq.converters.samples.open_samples import Sample
from edgeq.errors import DataError, PackageError, UsageError
from edgeq.packaging.assembly.build import make_package
from edgeq.packaging.golden.sample_doubts import find_doubts
from edgeq.tflite import flatbuffer
from edgeq.values import TensorSpec

DATA = models.path("fashion_mnist_test.npz")
BYTES = TensorSpec("x", (1, 4, 4), "int8", (1 / 255,), (-128,))
FLOATS = TensorSpec("x", (1, 4, 4), "float32")


def images() -> np.ndarray:
    with np.load(DATA) as data:
        return np.asarray(data["x"][:20])


def feed(*values: np.ndarray) -> list[Sample]:
    return [Sample(index, {"x": value.astype(np.float32)}, None)
            for index, value in enumerate(values)]  # fmt: skip


# ---------------------------------------------------------------- samples


@pytest.mark.parametrize("spec", [BYTES, FLOATS])
def test_good_samples_raise_no_doubt(spec: TensorSpec) -> None:
    ramp = np.linspace(0, 1, 16).reshape(4, 4)
    assert find_doubts(feed(ramp, ramp[::-1]), [spec]) == ()


def test_a_blank_sample_among_others_is_a_doubt_alone() -> None:
    ramp = np.linspace(0, 1, 16).reshape(4, 4)
    (doubt,) = find_doubts(feed(ramp, np.zeros((4, 4))), [BYTES])
    assert doubt.code == "data.constant_samples"


def test_zeros_and_ones_are_no_constant() -> None:
    mask = np.eye(4)
    assert find_doubts(feed(mask, mask[::-1]), [BYTES]) == ()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.linspace(0, 1 / 255, 16), "it looks normalized before the model does it"),
        (np.full(16, 0.5), "which the model cannot distinguish: they test nothing"),
        (np.linspace(0, 255, 16), "15 of 16 values of input 'x' saturate: it is fed with 0 to 255, "
         "and the model's int8 input has the range 0 to 1"),
    ],
)  # fmt: skip
def test_samples_that_test_nothing_are_refused(values: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        find_doubts(feed(values.reshape(4, 4)), [BYTES])
    assert caught.value.hint is not None and "--preprocess" in caught.value.hint


def test_half_way_wrong_samples_are_a_doubt() -> None:
    (doubt,) = find_doubts(feed(np.linspace(0, 1.2, 16).reshape(4, 4)), [BYTES])
    assert doubt.code == "data.range_mismatch" and "saturate: " in doubt.message
    codes = [doubt.code for doubt in
             find_doubts(feed(np.linspace(0, 0.05, 16).reshape(4, 4)), [BYTES])]  # fmt: skip
    assert codes == ["data.normalized_twice"]


def test_a_package_of_samples_normalized_twice_is_refused(int8_mobilenet: Path) -> None:
    with pytest.raises(DataError, match="it looks normalized before the model does it"):
        make_package(int8_mobilenet, "python", data={"image": images() / np.float32(255)})


def test_a_doubt_is_told_everywhere(int8_mobilenet: Path) -> None:
    dim = (images() // 20).astype(np.uint8)  # an exposure that the model has not seen
    made = make_package(int8_mobilenet, "python", data={"image": dim}, vectors=2)
    (warning,) = made.warnings
    assert "it looks normalized before the model does it; leave scale, " in warning
    assert warning.endswith("or give raw samples. (data.normalized_twice)")
    assert json.loads(made.files["manifest.json"])["warnings"] == [warning]
    for path in ("README.md", "MODEL_CARD.md"):
        assert "it looks normalized before the model does it" in made.files[path].decode()


def test_a_model_that_makes_nan_is_refused(float_file: Path, tmp_path: Path) -> None:
    tree = flatbuffer.read(float_file)
    for buffer in tree.buffers:
        if buffer.data is not None and len(buffer.data) > 64:
            buffer.data = np.frombuffer(
                np.full(len(buffer.data) // 4, np.nan, "<f4").tobytes(), np.uint8
            )
            break
    path = tmp_path / "nan.tflite"
    path.write_bytes(flatbuffer.serialize(tree))
    with pytest.raises(
        PackageError, match=r"nan\.tflite computes NaN or infinity in output 'class'"
    ):
        make_package(path, "python", data=DATA, preprocess=["scale=1/255"])


# ---------------------------------------------------------------- preprocessing


def changed(record: Path, folder: Path, texts: list[str]) -> Path:
    plain = json.loads(record.read_text())
    for item in (plain, *plain.get("evaluations", ())):
        item["preprocessing"] = texts
    path = folder / record.name
    path.write_text(json.dumps(plain))
    return path


@pytest.mark.parametrize("kind", ["compare", "eval"])
def test_a_record_of_another_preprocessing_is_refused(
    int8_mobilenet: Path, record_files: Mapping[str, Path], tmp_path: Path, kind: str
) -> None:
    record = changed(record_files[kind], tmp_path, ["scale=1/127.5,offset=-1"])
    with pytest.raises(UsageError, match=r"scale=1/127\.5,offset=-1.*scale=1/255"):
        make_package(int8_mobilenet, "python", data=DATA, records=[record])


@pytest.mark.parametrize("texts", [["scale=0.00392157"], ["mean=0,std=255"], ["image:scale=1/255"]])
def test_the_same_preprocessing_in_other_words_is_the_same(
    int8_mobilenet: Path, record_files: Mapping[str, Path], tmp_path: Path, texts: list[str]
) -> None:
    record = changed(record_files["compare"], tmp_path, texts)
    made = make_package(int8_mobilenet, "python", data=DATA, vectors=1, records=[record])
    assert made.warnings == ()


def test_a_record_of_samples_as_they_were_is_told(
    int8_mobilenet: Path, record_files: Mapping[str, Path], tmp_path: Path
) -> None:
    record = changed(record_files["eval"], tmp_path, [])
    made = make_package(int8_mobilenet, "python", data=DATA, vectors=1, records=[record])
    (warning,) = made.warnings
    assert "was measured on samples without preprocessing" in warning and "scale=1/255" in warning


def test_a_record_that_knows_the_preprocessing_that_the_package_lacks_is_refused(
    float_file: Path, record_files: Mapping[str, Path]
) -> None:
    """The float file carries none, and its evaluation was fed with some."""
    record = record_files["eval"]
    plain = json.loads(record.read_text())
    assert plain["evaluations"][0]["preprocessing"] == ["scale=1/255"]
    (float_digest,) = {flatbuffer_digest(float_file)}
    plain["evaluations"][0]["model"]["sha256"] = float_digest
    path = record.with_name("float-eval.json")
    path.write_text(json.dumps(plain))
    with pytest.raises(UsageError, match="feeds the model with no preprocessing"):
        make_package(float_file, "python", data=DATA, records=[path])
    made = make_package(
        float_file, "python", data=DATA, vectors=1, records=[path], preprocess=["scale=1/255"]
    )
    assert made.warnings == ()


def flatbuffer_digest(path: Path) -> str:
    from edgeq.files import storage

    return storage.hash_file(path)
