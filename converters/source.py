"""What kind of model file this is, told from its content, before any framework is imported."""

from __future__ import annotations

import zipfile
from pathlib import Path

from edgeq import flatbuffer
from edgeq.errors import SourceError

KINDS = {
    "keras": "Keras file",
    "h5": "Keras HDF5 file",
    "saved_model": "SavedModel folder",
    "tflite": "TensorFlow Lite file",
}

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_SUPPORTED = "edgeq reads .keras, .h5, a SavedModel folder and a float .tflite."


def identify(path: Path) -> str:
    """The key of `KINDS` for a model file or folder.

    Raises:
        SourceError: missing, empty, unreadable, or none of the kinds.
    """
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return "saved_model"
        raise SourceError(f"The folder {path} holds no saved_model.pb.", hint=_SUPPORTED)
    try:
        with path.open("rb") as stream:
            head = stream.read(8)
    except FileNotFoundError as error:
        raise SourceError(f"{path} does not exist.", hint="Check the path.") from error
    except OSError as error:
        raise SourceError(f"Cannot read {path}: {error.strerror or error}.") from error
    if not head:
        raise SourceError(f"{path} is empty.", hint="Export or copy the model again.")
    if head[4:8] == flatbuffer.IDENTIFIER:
        return "tflite"
    if head == _HDF5_MAGIC:
        return "h5"
    if head[:4] == b"PK\x03\x04":
        return _identify_zip(path)
    raise SourceError(
        f"{path} is not a model: it starts with {head!r}{_expectation(path.suffix.lower())}.",
        hint=_SUPPORTED,
    )


def _identify_zip(path: Path) -> str:
    try:
        names = zipfile.ZipFile(path).namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise SourceError(
            f"{path} is damaged or cut short: {error}.", hint="Export or copy the model again."
        ) from error
    if "config.json" in names:
        return "keras"
    raise SourceError(f"{path} is a zip file without a Keras config.json.", hint=_SUPPORTED)


def _expectation(suffix: str) -> str:
    expected = {
        ".keras": "a .keras file is a zip",
        ".h5": "an .h5 file starts with \\x89HDF",
        ".hdf5": "an .hdf5 file starts with \\x89HDF",
        ".tflite": "a .tflite file has TFL3 at byte 4",
    }.get(suffix)
    return f", and {expected}" if expected else ""
