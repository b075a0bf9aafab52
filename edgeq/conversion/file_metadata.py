"""Metadata that edgeq adds to a file: preprocessing, layout, rewrites, decoding, joins."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from edgeq.converters.lowering.exported_shapes import SOURCE_INPUTS_KEY
from edgeq.errors import SourceError, UsageError
from edgeq.metrics.decoding import parse_decoding, show_decoding
from edgeq.tflite import flatbuffer
from edgeq.tflite.compacting import compact
from edgeq.tflite.joined_outputs import set_joins
from edgeq.tflite.model_file import ModelFile, read_model
from edgeq.values import ConvertOptions, FloatModel, JoinedOutput

PREPROCESSING_KEY = "edgeq.preprocessing"
LAYOUT_KEY = "edgeq.layout"
REWRITES_KEY = "edgeq.rewrites"
DECODING_KEY = "edgeq.decoding"
OUTPUTS_KEY = "edgeq.outputs"
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
        outputs: tensors of the float model at which it was cut off.
    """

    preprocessing: tuple[str, ...] = ()
    layout: str = "source"
    rewrites: tuple[str, ...] = ()
    decoding: str | None = None
    joins: tuple[JoinedOutput, ...] = ()
    outputs: tuple[str, ...] = ()


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
    if carried.outputs:
        flatbuffer.set_metadata(tree, OUTPUTS_KEY, json.dumps(carried.outputs).encode())
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
    return _read_texts(read_model(model), PREPROCESSING_KEY)


def read_outputs(model: Path | ModelFile) -> tuple[str, ...]:
    """Return the tensors at which the float model of a converted file was cut off.

    Raises:
        SourceError: this metadata is not what edgeq writes.
    """
    return _read_texts(read_model(model), OUTPUTS_KEY)


def _read_texts(model: ModelFile, key: str) -> tuple[str, ...]:
    raw = flatbuffer.metadata(model.tree, key)
    if raw is None:
        return ()
    try:
        return msgspec.json.decode(raw, type=tuple[str, ...])
    except (ValueError, RecursionError) as error:
        raise _damaged(model.path, key, str(error)) from error


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
        return show_decoding(parse_decoding(text))
    except UsageError as error:
        raise _damaged(model.path, DECODING_KEY, error.message) from error


class _SourceInputs(msgspec.Struct):
    shapes: dict[str, tuple[int, ...]]
    fixed: dict[str, float]


def read_source_inputs(path: Path, options: ConvertOptions) -> ConvertOptions:
    """Return the options with the inputs' shapes and fixed values that a file was lowered with.

    Raises:
        SourceError: this metadata is not what edgeq writes.
    """
    raw = flatbuffer.metadata(flatbuffer.read(path), SOURCE_INPUTS_KEY)
    if raw is None:
        return options
    try:
        read = msgspec.json.decode(raw, type=_SourceInputs)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, SOURCE_INPUTS_KEY, str(error)) from error
    return replace(
        options, input_shapes=tuple(read.shapes.items()), fixed_inputs=tuple(read.fixed.items())
    )


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
