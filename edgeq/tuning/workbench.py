"""Models, writers and float results that the trials of one process share."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgeq.accuracy.columns import Columns, find_columns
from edgeq.converters.corrections.reference import Reference
from edgeq.converters.quantization.quantize import make_writer
from edgeq.converters.quantization.selectors import Mix
from edgeq.converters.writer.write import Writer
from edgeq.tflite import flatbuffer
from edgeq.tuning.content_store import Store
from edgeq.values import TensorSpec
from edgeq.values.schemes import SCHEMES

_SOURCES = 2  # a search has two float models: as it was lowered, and with equalized channels
_MOST_SHARED = 2  # scores of the float model, on the samples of the search and on those apart
Shared = TypeVar("Shared")
_KEPT_BYTES = 1 << 28  # of the float results of each


class Workbench:
    """A store, and what was made from its files; content never changes under a digest.

    Args:
        store: with everything that tasks name.
    """

    def __init__(self, store: Store):
        self.store = store
        self.model = lru_cache(_SOURCES)(self._model)
        self.writer = lru_cache(2 * _SOURCES)(self._writer)
        self.interface = lru_cache(_SOURCES)(self._interface)
        self._shared: dict[Any, Any] = {}
        self._reference_of = lru_cache(_SOURCES)(self._reference)

    def array(self, digest: str) -> NDArray[Any]:
        """An array of the store, which stays on disk until it is read."""
        found: NDArray[Any] = np.load(self.store.path(digest), mmap_mode="r", allow_pickle=False)
        return found

    def share(self, key: Hashable, make: Callable[[], Shared]) -> Shared:
        """Return what `make` gave for the key before, or make it; the last few are kept."""
        if key not in self._shared:
            while len(self._shared) >= _MOST_SHARED:
                del self._shared[next(iter(self._shared))]
            self._shared[key] = make()
        found: Shared = self._shared[key]
        return found

    def reference(self, source: str, fits: Mapping[str, str]) -> Reference:
        """The float model's side of corrections.

        Args:
            source: digest of the float model.
            fits: input name to digest of the samples that corrections are fitted on.
        """
        return self._reference_of(source, tuple(fits.items()))

    def batches(self, source: str, fits: Mapping[str, str]) -> dict[str, NDArray[Any]]:
        """Samples in the batches of a float model; see `reference`."""
        size = batch_size(self.model(source))
        return {name: in_batches(self.array(digest), size) for name, digest in fits.items()}

    def _model(self, source: str) -> Any:
        return flatbuffer.parse(self.store.read(source), "the float model")

    def _writer(self, source: str, io: str, granularity: str, mix: Mix) -> Writer:
        return make_writer(self.store.read(source), SCHEMES["int8"], io, granularity, mix)

    def _interface(self, source: str) -> tuple[Sequence[TensorSpec], Mapping[str, Columns]]:
        """The outputs of a float model, and their columns."""
        _, outputs = flatbuffer.interface(self.model(source))
        return outputs, find_columns(self.model(source))

    def _reference(self, source: str, fits: tuple[tuple[str, str], ...]) -> Reference:
        inputs = self.batches(source, dict(fits))
        return Reference(self.model(source), inputs, keep_bytes=_KEPT_BYTES)


def batch_size(tree: Any) -> int:
    """Samples that a model takes at once."""
    inputs, _ = flatbuffer.interface(tree)
    return max(inputs[0].shape[0], 1)


def in_batches(values: NDArray[Any], size: int) -> NDArray[Any]:
    """[n, ...] -> [batches, size, ...]; the last sample fills the last batch up."""
    missing = -len(values) % size
    if missing:
        values = np.concatenate([values, np.repeat(values[-1:], missing, axis=0)])
    return values.reshape(-1, size, *values.shape[1:])
