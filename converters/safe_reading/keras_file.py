"""Reads a `.keras` or `.h5` file as plain data, checks it, and prepares it for Keras."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeq.converters.safe_reading import archives, keras_config, plain_json
from edgeq.converters.safe_reading.findings import Finding, refusal
from edgeq.errors import SourceError
from edgeq.files.damage import ZIP_DAMAGE

CONFIG = "config.json"


@dataclass(frozen=True)
class KerasFile:
    """A Keras file and its configuration.

    Attributes:
        path: of the file.
        kind: "keras" for a zip, "h5" for HDF5, by its first bytes.
        config: the model's configuration, plain.
        version: of the Keras that saved it, "" if the file does not state it.
    """

    path: Path
    kind: str
    config: Any
    version: str


def read(path: Path, kind: str) -> KerasFile:
    """Read the configuration, and check that the file holds all its parts.

    Raises:
        SourceError: it is damaged, has no model, leads to other files, or has JSON that parsers
            may read differently.
    """
    try:
        content, version = _read_h5(path) if kind == "h5" else _read_zip(path)
        return KerasFile(path, kind, plain_json.parse(content), version)
    except (*ZIP_DAMAGE, TypeError) as error:
        what = "whole HDF5" if kind == "h5" else "whole Keras"
        raise SourceError(
            f"{path} is not a {what} file: {first_line(error).rstrip('.')}.",
            hint=f"Save it again with model.save('model.{kind}').",
        ) from error


def peek(path: Path) -> Any:
    """The configuration of a `.keras` file; None for other and damaged files."""
    try:
        with zipfile.ZipFile(path) as archive:
            return plain_json.parse(_read_member(archive, CONFIG))
    except (*ZIP_DAMAGE, TypeError):
        return None


def refuse_code(file: KerasFile, known: frozenset[str]) -> None:
    """Check the objects that Keras would make from the configuration.

    Args:
        file: as read.
        known: names of the user's own objects.

    Raises:
        SourceError: one of them is not on the list.
    """
    if (finding := keras_config.find(file.config, known)) is not None:
        raise refusal(file.path, finding)


def prepare(file: KerasFile, folder: Path, change: Callable[[Any], Any] | None = None) -> Path:
    """The path from which Keras reads the file as it was checked.

    Keras distinguishes a zip from HDF5 by the name alone, and loads the training configuration of
    models inside the model; so a file with another suffix is copied (the sandbox allows no links),
    and a file with such parts is copied without them.

    Args:
        file: as read.
        folder: for the copy.
        change: a further change of the configuration.
    """
    name = folder / f"model.{file.kind}"
    config = keras_config.without_training(file.config, keep_first=file.kind == "keras")
    config = config if change is None else change(config)
    if config != file.config:
        if file.kind == "h5":
            _copy_h5(file.path, name, json.dumps(config))
            return name
        with zipfile.ZipFile(file.path) as source, zipfile.ZipFile(name, "w") as copy:
            for item in source.infolist():
                if item.filename == CONFIG:
                    copy.writestr(CONFIG, json.dumps(config))
                    continue
                with (
                    source.open(item) as part,
                    copy.open(item.filename, "w", force_zip64=True) as to,
                ):
                    shutil.copyfileobj(part, to)
        return name
    if file.path.suffix == name.suffix:
        return file.path
    shutil.copyfile(file.path, name)
    return name


# ---------------------------------------------------------------- zips


def _read_zip(path: Path) -> tuple[bytes, str]:
    import h5py

    with zipfile.ZipFile(path) as archive:
        _raise(archives.find_in_zip(archive))
        broken = archive.testzip()
        if broken is not None:
            raise SourceError(f"{path} is damaged: {broken} fails its checksum.")
        metadata = plain_json.parse(_read_member(archive, "metadata.json"))
        config = _read_member(archive, CONFIG)
        for name in archive.namelist():
            if name.endswith(".h5"):
                with h5py.File(io.BytesIO(archive.read(name)), "r") as weights:
                    _raise(archives.find_in_hdf5(weights))
    version = metadata.get("keras_version", "") if isinstance(metadata, dict) else ""
    return config, str(version)


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    size = archive.getinfo(name).file_size
    if size > plain_json.MAX_BYTES:
        raise ValueError(f"its {name} has {size} bytes, and {plain_json.MAX_BYTES} are allowed")
    return archive.read(name)


def _raise(finding: Finding | None) -> None:
    if finding is not None:
        raise ValueError(f"{finding.where} {finding.what}")


# ---------------------------------------------------------------- HDF5


def _read_h5(path: Path) -> tuple[str, str]:
    import h5py

    with h5py.File(path, "r") as archive:
        config = archive.attrs.get("model_config")
        version = archive.attrs.get("keras_version", "")
        _raise(archives.find_in_hdf5(archive))
    if config is None:
        raise SourceError(
            f"{path} holds weights only, not a model.",
            hint="Rebuild the model, load_weights, and save the whole model.",
        )
    if not isinstance(config, (bytes, str)):
        raise ValueError(f"its model_config is not text but {type(config).__name__}")
    return _decoded(config), _decoded(version)


def _decoded(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _copy_h5(path: Path, target: Path, config: str) -> None:
    import h5py

    shutil.copyfile(path, target)
    with h5py.File(target, "r+") as copy:
        del copy.attrs["model_config"]
        copy.attrs["model_config"] = config


def first_line(error: BaseException) -> str:
    """The first line with text of an error's message."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))
