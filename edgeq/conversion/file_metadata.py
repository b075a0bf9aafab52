"""Metadata that edgeq adds to a quantized file: preprocessing, layout, runtime, rewrites."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from edgeq.converters.lowering.exported_shapes import SOURCE_INPUTS_KEY
from edgeq.errors import SourceError
from edgeq.tflite import flatbuffer
from edgeq.tflite.compacting import compact
from edgeq.tflite.model_file import ModelFile, read_model
from edgeq.values import ConvertOptions

PREPROCESSING_KEY = "edgeq.preprocessing"
LAYOUT_KEY = "edgeq.layout"
REWRITES_KEY = "edgeq.rewrites"
_LAYOUTS = ("source", "nhwc")


def finish_file(
    content: bytes,
    preprocessing: Sequence[str],
    layout: str = "source",
    rewrites: Sequence[str] = (),
) -> bytes:
    """Compact the file, and store in it what eval, compare and inspect read.

    Args:
        preprocessing: `--preprocess` texts.
        layout: the value of `--layout`.
        rewrites: what was rewritten before quantization.
    """
    tree = flatbuffer.parse(content, "the quantized model")
    finish_tree(tree, preprocessing, layout, rewrites)
    return flatbuffer.serialize(tree)


def finish_tree(
    tree: Any, preprocessing: Sequence[str], layout: str, rewrites: Sequence[str]
) -> None:
    """Do in place what `finish_file` does."""
    compact(tree)
    if preprocessing:
        texts = json.dumps(list(preprocessing))
        flatbuffer.set_metadata(tree, PREPROCESSING_KEY, texts.encode())
    if layout != "source":
        flatbuffer.set_metadata(tree, LAYOUT_KEY, layout.encode())
    if rewrites:
        flatbuffer.set_metadata(tree, REWRITES_KEY, ", ".join(rewrites).encode())


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
