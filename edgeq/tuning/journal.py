"""The journal of a search: one line for each trial, so that an interrupted search continues."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgeq import host
from edgeq.errors import OutputError
from edgeq.files.storage import to_plain
from edgeq.issues import make_issue
from edgeq.values import Issue, Recipe

_SCHEMA = "edgeq.journal/4"


def journal_path(output: Path) -> Path:
    """Return the path of the journal of a search for this output."""
    return output.with_name(f"{output.name}.tuning")


class Journal:
    """Outcomes by recipe, in a file that only grows.

    Each line has its own digest: from the first on that is torn or damaged, all are dropped.

    Args:
        path: beside the output; the journal of a different search there is replaced.
        identity: everything that the trials depend on: digests of model and data, options,
            versions.

    Raises:
        OutputError: it cannot be written, or another search is writing it.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]):
        self._path = path
        self._is_replaced = False
        self._header = json.dumps({"schema": _SCHEMA, **to_plain(dict(identity))}, sort_keys=True)
        self._known = self._read()
        try:
            if self._known:
                self._stream = path.open("r+", encoding="utf-8", newline="\n")
                self._stream.seek(self._end)
                self._stream.truncate()
            else:
                self._stream = path.open("w", encoding="utf-8", newline="\n")
                self._begin()
        except OSError as error:
            raise self._unwritten(error) from error

    def _begin(self) -> None:
        try:
            self._write(self._header)
        except OSError:
            with suppress(OSError):  # what it holds back cannot be written, either
                self._stream.close()
            raise

    def _unwritten(self, error: OSError) -> OutputError:
        return OutputError(
            f"Cannot write the journal {self._path}: {error.strerror or error}.",
            hint="Free space there, or choose another -o.",
        )

    def known(self, part: str, recipe: Recipe) -> dict[str, Any] | None:
        """The outcome of a recipe that was tried already on a part of the samples."""
        return self._known.get(_key(part, to_plain(recipe)))

    def add(self, part: str, recipe: Recipe, outcome: Mapping[str, Any]) -> None:
        """Keep an outcome; it is on disk when this returns.

        Raises:
            OutputError: it cannot be written.
        """
        plain = to_plain(recipe)
        self._known[_key(part, plain)] = dict(outcome)
        entry = {"part": part, "recipe": plain, "outcome": to_plain(dict(outcome))}
        try:
            self._write(json.dumps({**entry, "sha256": _digest(entry)}))
        except OSError as error:
            raise self._unwritten(error) from error

    def doubts(self) -> list[Issue]:
        """Return a note if the journal of a different search was replaced."""
        if not self._is_replaced:
            return []
        message = (
            f"{self._path} was the journal of a search with a different model, data, options or "
            "release, and was replaced; a different -o keeps both."
        )
        return [make_issue("tune.journal_replaced", message)]

    def close(self) -> None:
        """Close the file and keep it; a failed write was reported before."""
        with suppress(OSError):
            self._stream.close()

    def remove(self) -> None:
        """Remove the file: the search has its result."""
        self.close()  # Windows does not remove an open file
        host.remove(self._path)

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def _read(self) -> dict[str, dict[str, Any]]:
        """Whole lines of the same search."""
        self._end = 0
        try:
            lines = self._path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise OutputError(
                f"Cannot read the journal {self._path}: {error.strerror or error}.",
                hint="Choose another -o.",
            ) from error
        found: dict[str, dict[str, Any]] = {}
        for number, line in enumerate(lines):
            if not line.endswith(b"\n"):
                break
            if number == 0:
                if line.decode("utf-8", "replace").strip() != self._header:
                    self._is_replaced = True
                    return {}
            else:
                entry = _read_entry(line)
                if entry is None:
                    break
                found[_key(entry["part"], entry["recipe"])] = entry["outcome"]
            self._end += len(line)
        return found


def _read_entry(line: bytes) -> dict[str, Any] | None:
    """Return what `Journal.add` wrote; None for any other line."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict):
        return None
    return entry if entry.pop("sha256", None) == _digest(entry) else None


def _digest(entry: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()


def _key(part: str, recipe: Mapping[str, Any]) -> str:
    return json.dumps([part, recipe], sort_keys=True)
