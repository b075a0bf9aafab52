"""A record that will be added to a history, from a file, an archive or another history."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeq.errors import RecordError
from edgeq.files.reading import read_file

# A larger file is not a record; those with raw times have a few megabytes.
MOST_BYTES = 1 << 28


@dataclass(frozen=True)
class Item:
    """A record that will be added.

    Attributes:
        file: its path, or its name in an archive.
        content: None to read it from the file.
        added: UTC, when another history got it.
    """

    file: str
    content: bytes | None
    tags: tuple[str, ...]
    git_commit: str | None
    added: str | None

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            RecordError: the file cannot be read.
        """
        if self.content is not None:
            return self.content
        try:
            return read_file(Path(self.file), MOST_BYTES)
        except OSError as error:
            raise RecordError(f"{self.file} cannot be read: {error.strerror or error}.") from error
