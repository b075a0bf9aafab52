"""A `.tflite` file that is read and parsed once."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any

from edgeq.files.reading import model_path
from edgeq.tflite import flatbuffer
from edgeq.values import TensorSpec

_MOST_BYTES = 64 << 20  # of the files whose trees are kept
_kept: list[tuple[bytes, Any]] = []  # the last one used is the first
_lock = Lock()


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


def shared_tree(content: bytes, shown_as: str) -> Any:
    """The parsed flatbuffer of some bytes, which other callers get, too: nobody may change it.

    The trees of the last few files are kept. To compare the bytes takes a tenth of the time of
    parsing them.

    Raises:
        SourceError: see `flatbuffer.parse`.
    """
    with _lock:
        for place, (known, tree) in enumerate(_kept):
            if known == content:
                _kept.insert(0, _kept.pop(place))
                return tree
    tree = flatbuffer.parse(content, shown_as)
    with _lock:
        _kept.insert(0, (content, tree))
        while sum(len(known) for known, _ in _kept) > _MOST_BYTES:
            _kept.pop()
    return tree


def parse_model(content: bytes, shown_as: str | Path) -> ModelFile:
    """A model in memory.

    Args:
        shown_as: its name in messages.

    Raises:
        SourceError: it is empty, of another format, or damaged.
    """
    return ModelFile(Path(shown_as), content, shared_tree(content, str(shown_as)))


def read_model(model: str | Path | ModelFile) -> ModelFile:
    """A model from its file; one that was read before is returned as it is.

    Raises:
        SourceError: it is missing, unreadable or damaged.
        UsageError: it is an object of a framework.
    """
    if isinstance(model, ModelFile):
        return model
    path = model_path(model)
    return parse_model(flatbuffer.read_content(path), path)
