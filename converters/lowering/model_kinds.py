"""The kind of a model file, recognized by its content before any framework is imported."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

from edgeq.converters.safe_reading import torch_files
from edgeq.errors import SourceError, missing_model
from edgeq.files.damage import ZIP_DAMAGE
from edgeq.files.kinds import ONNX_VERSION_TAG, FileKind, find_kind
from edgeq.files.reading import open_file

MODELS = ("keras", "h5", "saved_model", "tflite", "torch", "onnx")

_SUPPORTED = (
    "edgeq reads .keras, .h5, a SavedModel folder, .pt2 of torch.export.save, .onnx and a float "
    ".tflite."
)
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


def kind_of(model: Any) -> str:
    """Return the kind of a model: "python" for an object, see `identify` for a path."""
    return identify(Path(model)) if isinstance(model, (str, os.PathLike)) else "python"


def shown(model: Any) -> str:
    """Return a model's name for people: its path, or the type and name of an object."""
    if isinstance(model, (str, os.PathLike)):
        return Path(model).as_posix()
    return f"<{type(model).__name__} {getattr(model, 'name', '')}>"


def identify(path: Path) -> str:
    """The key of `files.kinds.KINDS` for a model file or folder.

    Raises:
        SourceError: it is missing, empty, unreadable, or of another kind.
    """
    try:
        kind = find_kind(path)
        head = b"" if path.is_dir() else _read_head(path)
    except FileNotFoundError as error:
        raise missing_model(path) from error
    except OSError as error:
        raise SourceError(f"Cannot read {path}: {error.strerror or error}.") from error
    if kind is not None and kind.key in MODELS:
        return kind.key
    if path.is_dir():
        raise SourceError(f"The folder {path} holds no saved_model.pb.", hint=_SUPPORTED)
    if not head:
        raise SourceError(f"{path} is empty.", hint="Export or copy the model again.")
    raise _refuse(path, kind, head)


def _read_head(path: Path) -> bytes:
    with open_file(path) as stream:
        return stream.read(8)


def _refuse(path: Path, kind: FileKind | None, head: bytes) -> SourceError:
    """The error for a file that is not a model, or lacks its network."""
    key = "" if kind is None else kind.key
    if key in _LACKING_NETWORK:
        return _LACKING_NETWORK[key](path)
    if kind is not None and (hint := kind.hint(str(path))):
        what, hint = f"it is {kind.what}", _EXPORT_HINT if key == "aotinductor" else hint
    else:
        expected = _BEGINNINGS.get(path.suffix.lower())
        what, hint = f"it is {kind.what}" if kind else f"it starts with {head!r}", _SUPPORTED
        what += f", and {expected}" if expected else ""
        if kind is None and head[:1] == ONNX_VERSION_TAG:  # too little to be sure
            hint = f"If it is an ONNX model, rename it to {path.with_suffix('.onnx').name}."
    return SourceError(f"{path} is not a model: {what}.", hint=hint)


def _refuse_zip(path: Path) -> SourceError:
    try:
        with zipfile.ZipFile(path) as archive:
            return torch_files.refuse_zip(path, archive)
    except ZIP_DAMAGE as error:
        return SourceError(
            f"{path} is damaged or truncated: {error}.", hint="Export or copy the model again."
        )


_LACKING_NETWORK = {
    "pickle": torch_files.refuse_pickle,
    "safetensors": torch_files.refuse_safetensors,
    "torch.save": _refuse_zip,
}
