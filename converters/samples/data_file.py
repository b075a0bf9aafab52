"""A file of samples, which must not change while edgeq uses it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from edgeq.converters.samples.input_shapes import quote
from edgeq.errors import DataError
from edgeq.files.reading import open_file, stamp

_PIECE_BYTES = 1 << 20


class DataFile:
    """A file that is opened for every pass, and whose content must be the same in all.

    Args:
        path: a regular file.
        name: what the user named.

    Raises:
        DataError: it cannot be opened.
    """

    def __init__(self, path: Path, name: str):
        self.name = name
        self._path = path
        with self._opened() as stream:
            self._stamp = stamp(stream)
            self.size = self._stamp[2]

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The file, at its beginning.

        Raises:
            DataError: it cannot be opened, or it has changed.
        """
        with self._opened() as stream:
            self.check(stream)
            yield stream

    def check(self, stream: BinaryIO) -> None:
        """Raise a DataError if the file has changed since it was opened; call it after reading."""
        if stamp(stream) != self._stamp:
            raise DataError(
                f"{self.name} changed while edgeq read it.",
                hint="Run the command again when nothing writes to the file.",
            )

    def digest(self) -> str:
        """SHA-256 of the content."""
        digest = hashlib.sha256()
        with self.open() as stream:
            while piece := stream.read(_PIECE_BYTES):
                digest.update(piece)
            self.check(stream)
        return digest.hexdigest()

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        try:
            stream = open_file(self._path)
        except OSError as error:
            raise unreadable(self.name, error) from error
        with stream:
            yield stream


def unreadable(name: str, error: OSError) -> DataError:
    """The error for a file or folder that the operating system does not let us read."""
    return DataError(f"{name} cannot be read: {error.strerror or quote(error)}.")
