"""What edgeq adds to a quantized flatbuffer before it is written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from edgeq import flatbuffer
from edgeq.converters.schemes import Scheme

PREPROCESSING_KEY = "edgeq.preprocessing"
LAYOUT_KEY = "edgeq.layout"


def finish_file(
    content: bytes, scheme: Scheme, preprocessing: Sequence[str], layout: str = "source"
) -> bytes:
    """Compact the file, and let preprocessing and layout travel in it, for eval and compare.

    Args:
        preprocessing: `--preprocess` texts.
        layout: as after `--layout`.
    """
    tree = flatbuffer.parse(content, "the quantized model")
    flatbuffer.compact(tree)
    if scheme.oldest_runtime is not None:
        flatbuffer.require_runtime(tree, scheme.oldest_runtime)
    if preprocessing:
        texts = json.dumps(list(preprocessing))
        flatbuffer.set_metadata(tree, PREPROCESSING_KEY, texts.encode())
    if layout != "source":
        flatbuffer.set_metadata(tree, LAYOUT_KEY, layout.encode())
    return flatbuffer.serialize(tree)


def read_preprocessing(path: Path) -> tuple[str, ...]:
    """The `--preprocess` texts that a converted file carries, none for files from elsewhere."""
    raw = flatbuffer.metadata(flatbuffer.read(path), PREPROCESSING_KEY)
    return () if raw is None else tuple(json.loads(raw))


def read_layout(path: Path) -> str:
    """The `--layout` a file was converted with; "source" for files from elsewhere."""
    raw = flatbuffer.metadata(flatbuffer.read(path), LAYOUT_KEY)
    return "source" if raw is None else raw.decode()
