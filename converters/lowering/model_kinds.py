"""The kind of a model file, recognized by its content before any framework is imported."""

from __future__ import annotations

import zipfile
from pathlib import Path

from edgeq.converters.safe_reading import torch_files
from edgeq.errors import SourceError, missing_model
from edgeq.files.damage import ZIP_DAMAGE
from edgeq.files.reading import open_file
from edgeq.tflite import flatbuffer

KINDS = {
    "keras": "Keras file",
    "h5": "Keras HDF5 file",
    "saved_model": "SavedModel folder",
    "tflite": "TensorFlow Lite file",
    "torch": "torch.export file",
    "onnx": "ONNX file",
}

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_SUPPORTED = (
    "edgeq reads .keras, .h5, a SavedModel folder, .pt2 of torch.export.save, .onnx and a float "
    ".tflite."
)
# A ModelProto begins with field 1, the version of the format, and has no magic number.
_ONNX_VERSION_TAG = b"\x08"
_PICKLE_PROTOCOL_TAG = b"\x80"
_OF_PYTORCH = (".pt", ".pth", ".ckpt", ".bin", ".pkl")
_BEGINNINGS = {
    ".keras": "a .keras file is a zip",
    ".h5": "an .h5 file starts with \\x89HDF",
    ".hdf5": "an .hdf5 file starts with \\x89HDF",
    ".tflite": "a .tflite file has TFL3 at byte 4",
    ".pt2": "a .pt2 file is a zip",
    ".onnx": "an .onnx file starts with \\x08",
}
_EXPORT_HINT = (
    "Export it: torch.export.save(torch.export.export(model.eval(), example_inputs), 'model.pt2')"
)


def identify(path: Path) -> str:
    """The key of `KINDS` for a model file or folder.

    Raises:
        SourceError: it is missing, empty, unreadable, or of another kind.
    """
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return "saved_model"
        raise SourceError(f"The folder {path} holds no saved_model.pb.", hint=_SUPPORTED)
    try:
        with open_file(path) as stream:
            head = stream.read(8)
    except FileNotFoundError as error:
        raise missing_model(path) from error
    except OSError as error:
        raise SourceError(f"Cannot read {path}: {error.strerror or error}.") from error
    suffix = path.suffix.lower()
    if not head:
        raise SourceError(f"{path} is empty.", hint="Export or copy the model again.")
    if head[4:8] == flatbuffer.IDENTIFIER:
        return "tflite"
    if head == _HDF5_MAGIC:
        return "h5"
    if head[:4] == b"PK\x03\x04":
        return _identify_zip(path)
    if suffix == ".onnx" and head[:1] == _ONNX_VERSION_TAG:
        return "onnx"
    if suffix in _OF_PYTORCH and head[:1] == _PICKLE_PROTOCOL_TAG:
        raise torch_files.refuse_pickle(path)
    if suffix == ".safetensors":
        raise torch_files.refuse_safetensors(path)
    expected = _BEGINNINGS.get(suffix)
    raise SourceError(
        f"{path} is not a model: it starts with {head!r}{f', and {expected}' if expected else ''}.",
        hint=_SUPPORTED,
    )


def _identify_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if "config.json" in names:
                return "keras"
            inside = {name.partition("/")[2] for name in names}
            if "serialized_exported_program.json" in names or "models/model.json" in inside:
                return "torch"
            if "data.pkl" in inside and "archive_format" not in inside:
                raise torch_files.refuse_zip(path, archive)
    except ZIP_DAMAGE as error:
        raise SourceError(
            f"{path} is damaged or truncated: {error}.", hint="Export or copy the model again."
        ) from error
    if "archive_format" in inside:
        raise SourceError(
            f"{path} is a PyTorch package without an exported program, such as AOTInductor's.",
            hint=_EXPORT_HINT,
        )
    raise SourceError(
        f"{path} is a zip file, but neither from Keras nor from torch.export.", hint=_SUPPORTED
    )
