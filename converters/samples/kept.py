"""A temporary file with values that were read once, so that they can be read again."""

from __future__ import annotations

import pickle
import tempfile
import weakref
from collections.abc import Iterator
from itertools import count
from typing import Any


class Kept:
    """Values in a temporary file without a name: nobody else writes to it, so it is unpickled."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115, it is closed with this object
        weakref.finalize(self, self._file.close)
        self._places: dict[int, int] = {}
        self.size = 0

    def __contains__(self, index: int) -> bool:
        return index in self._places

    def put(self, index: int, value: Any) -> None:
        """Keep a value."""
        self._file.seek(self.size)
        pickle.dump(value, self._file, protocol=5)
        self._places[index], self.size = self.size, self._file.tell()

    def get(self, index: int) -> Any:
        """Return a value as it was kept."""
        self._file.seek(self._places[index])
        return pickle.load(self._file)


class Replay:
    """The values of an iterator, read from it once and repeated for each later pass.

    Args:
        iterator: nothing else may read it.
    """

    def __init__(self, iterator: Iterator[Any]):
        self.origin = iterator
        self._kept = Kept()

    def __iter__(self) -> Iterator[Any]:
        for index in count():
            if index not in self._kept:
                try:
                    value = next(self.origin)
                except StopIteration:
                    return
                self._kept.put(index, value)
            yield self._kept.get(index)


def read_once(data: Any) -> Any:
    """Return data that can be read again: an iterator is kept while it is read.

    An iterator with a length and places is read by these: `flow_from_directory` of Keras iterates
    without end. Call this first if you open data several times.
    """
    is_sequence = hasattr(data, "__len__") and hasattr(data, "__getitem__")
    return Replay(data) if isinstance(data, Iterator) and not is_sequence else data
