"""Metadata that edgeq adds to a file: preprocessing, layout, rewrites, decoding, joins."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edgeq.errors import SourceError, UsageError
from edgeq.metrics.decoding import parse_decoding
from edgeq.tflite import flatbuffer
from edgeq.tflite.compacting import compact
from edgeq.tflite.joined_outputs import set_joins
from edgeq.tflite.model_file import ModelFile, read_model
from edgeq.values import FloatModel, JoinedOutput

PREPROCESSING_KEY = "edgeq.preprocessing"
LAYOUT_KEY = "edgeq.layout"
REWRITES_KEY = "edgeq.rewrites"
DECODING_KEY = "edgeq.decoding"
_LAYOUTS = ("source", "nhwc")


@dataclass(frozen=True)
class Carried:
    """The declarations in a converted file, which eval, compare, package and inspect read.

    Attributes:
        preprocessing: `--preprocess` texts.
        layout: the value of `--layout`.
        rewrites: what was rewritten before quantization.
        decoding: `--decode` text, None without.
        joins: outputs that the file gives in parts.
    """

    preprocessing: tuple[str, ...] = ()
    layout: str = "source"
    rewrites: tuple[str, ...] = ()
    decoding: str | None = None
    joins: tuple[JoinedOutput, ...] = ()


def finish_file(content: bytes, carried: Carried) -> bytes:
    """Compact the file, and store in it what it carries."""
    tree = flatbuffer.parse(content, "the quantized model")
    finish_tree(tree, carried)
    return flatbuffer.serialize(tree)


def finish_tree(tree: Any, carried: Carried) -> None:
    """Do in place what `finish_file` does."""
    compact(tree)
    if carried.preprocessing:
        texts = json.dumps(list(carried.preprocessing))
        flatbuffer.set_metadata(tree, PREPROCESSING_KEY, texts.encode())
    if carried.layout != "source":
        flatbuffer.set_metadata(tree, LAYOUT_KEY, carried.layout.encode())
    if carried.rewrites:
        flatbuffer.set_metadata(tree, REWRITES_KEY, ", ".join(carried.rewrites).encode())
    if carried.decoding is not None:
        flatbuffer.set_metadata(tree, DECODING_KEY, carried.decoding.encode())
    set_joins(tree, carried.joins)


def joined_file(model: FloatModel, folder: Path) -> Path:
    """Return the float file, or a copy that says how its outputs are joined, as results do."""
    path = Path(model.file.path)
    if not model.joins:
        return path
    tree = flatbuffer.read(path)
    set_joins(tree, model.joins)
    target = folder / "joined.tflite"
    target.write_bytes(flatbuffer.serialize(tree))
    return target


def read_preprocessing(model: Path | ModelFile) -> tuple[str, ...]:
    """Return the `--preprocess` texts stored in a converted file, () for other tools' files.

    Raises:
        SourceError: this metadata is not what edgeq writes.
    """
    model = read_model(model)
    raw = flatbuffer.metadata(model.tree, PREPROCESSING_KEY)
    if raw is None:
        return ()
    try:
        return msgspec.json.decode(raw, type=tuple[str, ...])
    except (ValueError, RecursionError) as error:
        raise _damaged(model.path, PREPROCESSING_KEY, str(error)) from error


def read_decoding(model: Path | ModelFile) -> str | None:
    """Return the `--decode` text stored in a converted file, None for other files.

    Raises:
        SourceError: this metadata is not what edgeq writes.
    """
    model = read_model(model)
    raw = flatbuffer.metadata(model.tree, DECODING_KEY)
    if raw is None:
        return None
    text = raw.decode("utf-8", "replace")
    try:
        return parse_decoding(text).text()
    except UsageError as error:
        raise _damaged(model.path, DECODING_KEY, error.message) from error


def read_layout(path: Path) -> str:
    """Return the `--layout` stored in a converted file, "source" for other tools' files.

    Raises:
        SourceError: this metadata is not what edgeq writes.
    """
    raw = flatbuffer.metadata(flatbuffer.read(path), LAYOUT_KEY)
    layout = "source" if raw is None else raw.decode("utf-8", "replace")
    if layout not in _LAYOUTS:
        raise _damaged(path, LAYOUT_KEY, f"{layout[:80]!r} is not one of {', '.join(_LAYOUTS)}")
    return layout


def _damaged(path: Path, key: str, reason: str) -> SourceError:
    return SourceError(
        f"{path} is damaged: its metadata {key} cannot be read: {reason.rstrip('.')}.",
        hint="Convert the model again.",
    )
