from __future__ import annotations

import gc
import warnings
import zipfile
from pathlib import Path

import pytest

from edgeq import models
from edgeq.converters.lowering.model_kinds import identify
from edgeq.errors import SourceError, nearest_path
from edgeq.tflite.flatbuffer import read_content

SUPPORTED = (
    "edgeq reads .keras, .h5, a SavedModel folder, .pt2 of torch.export.save, .onnx and a float "
    ".tflite."
)
EXPORT = (
    "Export it: torch.export.save(torch.export.export(model.eval(), example_inputs), 'model.pt2')"
)


def complaint(path: Path) -> str:
    with pytest.raises(SourceError) as caught:
        identify(path)
    return str(caught.value).replace(str(path), "PATH")


def test_a_keras_file_is_told_by_its_content(tmp_path: Path) -> None:
    misnamed = tmp_path / "model.tflite"
    misnamed.write_bytes(models.path("fmnist_cnn.keras").read_bytes())
    assert identify(misnamed) == "keras"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mlperf_tiny/ad01.h5", "h5"),
        ("mlperf_tiny/ad01_fp32.tflite", "tflite"),
        ("mlperf_tiny/kws_ref_model", "saved_model"),
    ],
)
def test_other_kinds(shared: Path, name: str, kind: str) -> None:
    assert identify(shared / name) == kind


def test_missing(tmp_path: Path) -> None:
    assert complaint(tmp_path / "no.keras") == "PATH does not exist. Check the path."


def test_a_typing_error_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "shapes.keras").touch()
    (tmp_path / "shapes.tflite").touch()
    for typed, meant, read in (
        ("shapes.kears", "shapes.keras", identify),
        ("shape.tflite", "shapes.tflite", read_content),
    ):
        with pytest.raises(SourceError) as caught:
            read(tmp_path / typed)
        assert caught.value.hint == f"Did you mean '{tmp_path}/{meant}'?"


def test_the_folder_is_closed_when_it_has_too_many_names(tmp_path: Path) -> None:
    for number in range(1001):
        (tmp_path / f"{number}.tflite").touch()
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        nearest_path(tmp_path / "model.keras")
        gc.collect()
    assert found == []


def test_empty(tmp_path: Path) -> None:
    path = tmp_path / "empty.keras"
    path.touch()
    assert complaint(path) == "PATH is empty. Export or copy the model again."


def test_a_text_file_named_keras(tmp_path: Path) -> None:
    path = tmp_path / "notes.keras"
    path.write_text("my notes")
    assert complaint(path) == (
        f"PATH is not a model: it is a text file, and a .keras file is a zip. {SUPPORTED}"
    )


def test_a_cut_off_keras_file(tmp_path: Path) -> None:
    path = tmp_path / "cut.keras"
    path.write_bytes(models.path("fmnist_cnn.keras").read_bytes()[:5000])
    assert complaint(path) == (
        "PATH is not a model: it is a damaged or truncated zip file. Export or copy it again."
    )


@pytest.mark.parametrize(("at", "value"), [(6, 99), (8, 8), (46, 0xDB)])
def test_a_zip_with_a_damaged_directory(at: int, value: int, tmp_path: Path) -> None:
    """A version that this Python does not know; a name that is not UTF-8 but states so."""
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("é.json", "{}")
    content = bytearray(path.read_bytes())
    directory = content.index(b"PK\x01\x02")
    content[directory + at] = value
    path.write_bytes(content)
    assert complaint(path).startswith("PATH is ")


def test_another_zip(tmp_path: Path) -> None:
    path = tmp_path / "photos.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.jpg", b"")
    assert complaint(path) == (
        "PATH is not a model: it is a zip file. Unpack it, and name the file that you need."
    )


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    assert complaint(tmp_path) == f"The folder PATH holds no saved_model.pb. {SUPPORTED}"


def write_zip(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    return path


@pytest.mark.parametrize(
    "names",
    [
        ("net/archive_format", "net/models/model.json"),
        ("version", "serialized_exported_program.json"),
    ],
)
def test_files_of_torch_export(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert identify(write_zip(tmp_path / "net.zip", *names)) == "torch"


def test_a_package_of_pytorch(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "net.pt", "net/archive_format", "net/data/aotinductor/model.so")
    assert complaint(path) == (
        "PATH is not a model: it is a PyTorch package without a program, as of AOTInductor. "
        + EXPORT
    )


def test_onnx(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"\x08\x08\x12\x07pytorch")
    other = tmp_path / "m.bin"
    other.write_bytes(path.read_bytes())
    assert complaint(other).endswith(" If it is an ONNX model, rename it to m.onnx.")
    assert identify(path) == "onnx"
    path.write_bytes(b"\xff\x00")
    assert complaint(path) == (
        "PATH is not a model: it starts with b'\\xff\\x00', and an .onnx file starts with \\x08. "
        f"{SUPPORTED}"
    )
