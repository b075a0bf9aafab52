"""A `.tflite` file that is read and parsed once."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from edgeq.tflite import flatbuffer
from edgeq.values import TensorSpec


@dataclass(frozen=True, eq=False)
class ModelFile:
    """A `.tflite` with its bytes and its parsed flatbuffer.

    Attributes:
        path: of the file, or its name in messages when it is in memory only.
        content: its bytes.
        tree: the `ModelT`. It is shared: change a `copy_tree()` instead.
    """

    path: Path
    content: bytes
    tree: Any

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the bytes."""
        return sha256(self.content).hexdigest()

    @cached_property
    def interface(self) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
        """Inputs and outputs, as `flatbuffer.interface` gives them."""
        return flatbuffer.interface(self.tree)

    @cached_property
    def min_runtime_version(self) -> str | None:
        """Oldest TensorFlow Lite release that runs it; None when the file does not state it."""
        return flatbuffer.min_runtime_version(self.tree)

    def copy_tree(self) -> Any:
        """A tree whose buffers and metadata entries may be replaced; the rest is shared."""
        tree = copy.copy(self.tree)
        tree.buffers = list(tree.buffers or ())
        return tree


def parse_model(content: bytes, shown_as: str | Path) -> ModelFile:
    """A model in memory.

    Args:
        shown_as: its name in messages.

    Raises:
        SourceError: it is empty, of another format, or damaged.
    """
    return ModelFile(Path(shown_as), content, flatbuffer.parse(content, str(shown_as)))


def read_model(model: Path | ModelFile) -> ModelFile:
    """A model from its file; one that was read before is returned as it is.

    Raises:
        SourceError: it is missing, unreadable or damaged.
    """
    if isinstance(model, ModelFile):
        return model
    return parse_model(flatbuffer.read_content(model), model)
