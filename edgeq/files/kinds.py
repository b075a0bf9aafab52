"""Recognise the kind of a file by its content and its name, and say what to type to use it."""

from __future__ import annotations

import io
import re
import shlex
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edgeq.errors import SourceError
from edgeq.files.damage import ZIP_DAMAGE
from edgeq.files.reading import open_file

TFLITE = b"TFL3"  # from the fourth byte

_HEAD_BYTES = 512
_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_TAR_AT = 257
# A ModelProto begins with field 1, the version of the format, and has no magic number.
ONNX_VERSION_TAG = b"\x08"
_PICKLE_PROTOCOL_TAG = b"\x80"
_OF_PYTORCH = (".pt", ".pth", ".ckpt", ".bin", ".pkl")
_RECORD = re.compile(r'\{\s*"schema":\s*"edgeq\.record/')


@dataclass(frozen=True)
class FileKind:
    """A kind of file that a user may name.

    Attributes:
        key: its name in code.
        what: its name in messages.
        advice: what to type to use it; {} is the path, {folder} the path of its folder. "" if
            edgeq has no use for it.
    """

    key: str
    what: str
    advice: str

    def hint(self, shown_as: str) -> str:
        """The advice for a path; "" if there is none."""
        folder = shlex.quote(str(Path(shown_as).parent))
        return self.advice.format(shlex.quote(shown_as), folder=folder)


_CONVERT = "Convert it: edgeq convert {} --data samples.npz -o model.tflite"
_EXPORT = "edgeq reads .pt2 files; edgeq convert {} -o model.tflite says how to export one."
_SAMPLES = "Name a model; samples are for --data, such as edgeq convert MODEL --data {}"
_UNPACK = "Unpack it, and name the file that you need."
KINDS = {
    kind.key: kind
    for kind in (
        FileKind("tflite", "a TensorFlow Lite model", "List what is in it: edgeq inspect {}"),
        FileKind("keras", "a Keras model", _CONVERT),
        FileKind("h5", "an HDF5 file, such as Keras 2 writes", _CONVERT),
        FileKind("saved_model", "a SavedModel folder", _CONVERT),
        FileKind("saved_model.pb", "a part of a SavedModel",
                 "Name its folder: edgeq convert {folder} --data samples.npz -o model.tflite"),
        FileKind("torch", "a PyTorch model of torch.export.save", _CONVERT),
        FileKind("onnx", "an ONNX model", _CONVERT),
        FileKind("pickle", "a pickle, such as torch.save writes", _EXPORT),
        FileKind("torch.save", "a PyTorch file without an exported program", _EXPORT),
        FileKind("aotinductor", "a PyTorch package without a program, as of AOTInductor", _EXPORT),
        FileKind("safetensors", "a file of safetensors: weights without their network", _EXPORT),
        FileKind("samples", "a file of samples", _SAMPLES),
        FileKind("picture", "a picture", "Name a model; --data takes a folder of pictures."),
        FileKind("sound", "a recording", "Name a model; --data takes a folder of recordings."),
        FileKind("record", "an edgeq record", "Print it: edgeq show {}"),
        FileKind("package", "a package of edgeq", "Check it, and the model in it: edgeq verify {}"),
        FileKind("project", "the file of a project", "Run what it describes: edgeq run --file {}"),
        FileKind("history", "a history", "List its records: edgeq history list --database {}"),
        FileKind("page", "a web page", "If you downloaded it, download the file itself."),
        FileKind("pointer", "a pointer of Git LFS, not the file", "Fetch the file: git lfs pull"),
        FileKind("json", "a JSON file that edgeq did not write", ""),
        FileKind("text", "a text file", ""),
        FileKind("zip", "a zip file", _UNPACK),
        FileKind("damaged", "a damaged or truncated zip file", "Export or copy it again."),
        FileKind("archive", "an archive", _UNPACK),
        FileKind("folder", "a folder", ""),
    )
}  # fmt: skip

# How files begin, and which kind that is.
_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (_HDF5, "h5"),
    (b"\x93NUMPY", "samples"),
    (b"SQLite format 3\0", "history"),
    (b"\x89PNG\r\n", "picture"),
    (b"\xff\xd8\xff", "picture"),
    (b"GIF8", "picture"),
    (b"\x1f\x8b", "archive"),
    (b"BZh", "archive"),
    (b"\xfd7zXZ", "archive"),
    (b"7z\xbc\xaf", "archive"),
)


def find_kind(path: Path) -> FileKind | None:
    """The kind of a file or folder; None if it is not known.

    Raises:
        OSError: it cannot be read.
    """
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return KINDS["saved_model"]
        return KINDS["package" if (path / "manifest.json").is_file() else "folder"]
    with open_file(path) as stream:
        return _find(stream, path.name)


def find_kind_of(content: bytes, shown_as: str) -> FileKind | None:
    """The kind of a file's content; None if it is not known."""
    return _find(io.BytesIO(content), Path(shown_as).name)


def refuse_model(shown_as: str, kind: FileKind | None, found: str) -> SourceError:
    """The error for a file that is not a `.tflite`.

    Args:
        shown_as: its path.
        kind: what it is instead, None if that is not known.
        found: a description of an unknown kind.
    """
    hint = "" if kind is None else kind.hint(shown_as)
    return SourceError(
        f"{shown_as} is not a TensorFlow Lite model: {f'it is {kind.what}' if kind else found}.",
        hint=hint or "Name a .tflite file; edgeq convert makes one.",
    )


def _find(stream: BinaryIO, name: str) -> FileKind | None:
    head = stream.read(_HEAD_BYTES)
    key = _by_beginning(head)
    if head[:4] in _ZIP:
        try:
            with zipfile.ZipFile(stream) as archive:
                key = _of_zip(archive.namelist())
        except ZIP_DAMAGE:
            key = "damaged"
    return KINDS.get(key or _by_name(head, name.lower()) or _of_text(head, name) or "")


def _by_beginning(head: bytes) -> str | None:
    if head[4:8] == TFLITE:
        return "tflite"
    if head[:4] == b"RIFF":
        return {b"WAVE": "sound", b"WEBP": "picture"}.get(head[8:12])
    if head[_TAR_AT : _TAR_AT + 5] == b"ustar":
        return "archive"
    return next((key for start, key in _BEGINNINGS if head.startswith(start)), None)


def _of_zip(names: Sequence[str]) -> str:
    if "manifest.json" in names:
        return "package"
    if "config.json" in names:
        return "keras"
    inside = {name.partition("/")[2] for name in names}
    if "serialized_exported_program.json" in names or "models/model.json" in inside:
        return "torch"
    if "archive_format" in inside:
        return "aotinductor"
    if "data.pkl" in inside:
        return "torch.save"
    return "samples" if names and all(name.endswith(".npy") for name in names) else "zip"


def _by_name(head: bytes, name: str) -> str | None:
    if name.endswith(".onnx") and head[:1] == ONNX_VERSION_TAG:
        return "onnx"
    if name.endswith(_OF_PYTORCH) and head[:1] == _PICKLE_PROTOCOL_TAG:
        return "pickle"
    if name.endswith(".safetensors") and head[8:9] == b"{":
        return "safetensors"
    return name if name == "saved_model.pb" else None


def _of_text(head: bytes, name: str) -> str | None:
    try:
        text = io.TextIOWrapper(io.BytesIO(head), "utf-8").read(_HEAD_BYTES // 4).strip()
    except UnicodeDecodeError:
        return None
    if not text or not all(letter.isprintable() or letter.isspace() for letter in text):
        return None
    if text.startswith("version https://git-lfs"):
        return "pointer"
    if text.lower().startswith(("<!doctype html", "<html")):
        return "page"
    if text.startswith(("{", "[")) and not name.endswith(".toml"):
        return "record" if _RECORD.match(text) else "json"
    return {".toml": "project", ".csv": "samples"}.get(Path(name).suffix.lower(), "text")
