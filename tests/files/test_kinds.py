"""The kinds of files, whatever their names say."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq import models
from edgeq.errors import SourceError
from edgeq.files.kinds import find_kind, find_kind_of
from edgeq.tflite import flatbuffer


def zipped(*names: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            # Without the time of now, which would be a part of the test's name.
            archive.writestr(zipfile.ZipInfo(name), b"")
    return content.getvalue()


def saved(save: Callable[..., Any]) -> bytes:
    content = io.BytesIO()
    save(content, np.zeros(2))
    return content.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "what", "hint"),
    [
        ("m.h5", b"\x89HDF\r\n\x1a\n", "an HDF5 file, such as Keras 2 writes",
         "Convert it: edgeq convert m.h5 --data samples.npz -o model.tflite"),
        ("my net.onnx", b"\x08\x07\x12\x07pytorch", "an ONNX model",
         "Convert it: edgeq convert 'my net.onnx' --data samples.npz -o model.tflite"),
        ("sm/saved_model.pb", b"\x08\x01\x12", "a part of a SavedModel",
         "Name its folder: edgeq convert sm --data samples.npz -o model.tflite"),
        ("m.pt", b"\x80\x02}q\x00.", "a pickle, such as torch.save writes",
         "edgeq reads .pt2 files; edgeq convert m.pt -o model.tflite says how to export one."),
        ("w.pt", zipped("w/data.pkl"), "a PyTorch file without an exported program",
         "edgeq reads .pt2 files; edgeq convert w.pt -o model.tflite says how to export one."),
        ("m.zip", zipped("m/models/model.json"), "a PyTorch model of torch.export.save",
         "Convert it: edgeq convert m.zip --data samples.npz -o model.tflite"),
        ("x.npz", saved(np.savez), "a file of samples",
         "Name a model; samples are for --data, such as edgeq convert MODEL --data x.npz"),
        ("x.npy", saved(np.save), "a file of samples",
         "Name a model; samples are for --data, such as edgeq convert MODEL --data x.npy"),
        ("x.csv", b"a,b\n1,2\n", "a file of samples",
         "Name a model; samples are for --data, such as edgeq convert MODEL --data x.csv"),
        ("p.zip", zipped("manifest.json", "model.tflite"), "a package of edgeq",
         "Check it, and the model in it: edgeq verify p.zip"),
        ("r.json", b'{"schema": "edgeq.record/1"}', "an edgeq record",
         "Print it: edgeq show r.json"),
        ("edgeq.toml", b"[model]\n", "the file of a project",
         "Run what it describes: edgeq run --file edgeq.toml"),
        ("m.tflite", b"version https://git-lfs.github.com/spec/v1\n",
         "a pointer of Git LFS, not the file", "Fetch the file: git lfs pull"),
        ("m.tflite", b"<!DOCTYPE html>", "a web page",
         "If you downloaded it, download the file itself."),
        ("m.tgz", b"\x1f\x8b\x08\x00", "an archive",
         "Unpack it, and name the file that you need."),
        ("a.png", b"\x89PNG\r\n\x1a\n", "a picture",
         "Name a model; --data takes a folder of pictures."),
        ("a.wav", b"RIFF\x00\x00\x00\x00WAVE", "a recording",
         "Name a model; --data takes a folder of recordings."),
        ("notes.txt", "schöne Grüße".encode() * 50, "a text file",
         "Name a .tflite file; edgeq convert makes one."),
        ("cut.keras", zipped("config.json")[:40], "a damaged or truncated zip file",
         "Export or copy it again."),
    ],
)  # fmt: skip
def test_a_reader_of_tflite_says_what_a_file_is(
    name: str, content: bytes, what: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_bytes(content)
    with pytest.raises(SourceError) as caught:
        flatbuffer.read(Path(name))
    assert caught.value.message == f"{name} is not a TensorFlow Lite model: it is {what}."
    assert caught.value.hint == hint


def test_folders(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(SourceError, match=r"it is a SavedModel folder\. Convert it: edgeq convert"):
        flatbuffer.read(tmp_path)
    (tmp_path / "saved_model.pb").rename(tmp_path / "manifest.json")
    kind = find_kind(tmp_path)
    assert kind is not None and kind.key == "package"


def test_a_keras_file_is_one_by_any_name() -> None:
    kind = find_kind_of(models.path("fmnist_cnn.keras").read_bytes(), "m.tflite")
    assert kind is not None and kind.key == "keras"


def test_what_is_not_known_has_no_kind() -> None:
    assert find_kind_of(bytes(range(256)) * 4, "m.bin") is None
    assert find_kind_of(b"", "m.txt") is None
