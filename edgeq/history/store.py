"""A history: records added, found, compared and followed.

    with edgeq.open_history() as history:
        history.add(["build/compare.json"], tags=["v1.2"])
        trend = history.trend("p50", Filter(model="model.tflite"))

The bytes of every record stay as they were; lists and trends use columns.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from edgeq.errors import EdgeqError, RecordError
from edgeq.escaping import clean, whole
from edgeq.files.reading import listed
from edgeq.history import database, reading, trends
from edgeq.history.item import MOST_BYTES, Item
from edgeq.history.location import find_place
from edgeq.history.migrations import VERSION
from edgeq.history.values import (
    Addition,
    Check,
    Entry,
    Filter,
    Listing,
    RecordDifference,
    Trend,
)

if TYPE_CHECKING:  # what reads records is imported when it is needed, so that lists come quickly
    from edgeq.history.writing import Ready
    from edgeq.records.reading import Record
    from edgeq.values import Issue

WAIT_S = 30.0  # for a lock that another process holds

# Records in one transaction: long ones keep other writers waiting.
_BATCH = 200

ALL = Filter()
OnAdded = Callable[[Addition], None]


def open_history(
    path: str | Path | None = None, *, make: bool = True, wait_s: float = WAIT_S
) -> History:
    """Open the history at `path`, or where `edgeq history` looks for it.

    Args:
        make: create it if it does not exist.
        wait_s: how long to wait for a lock that another process holds.

    Raises:
        HistoryError: it cannot be opened; see `database.open_database`.
    """
    found = find_place(None if path is None else Path(path)).path
    return History(found, make=make, wait_s=wait_s)


class History:
    """An open history; close it, or use it in a `with`. See `open_history`."""

    def __init__(self, path: Path, *, make: bool, wait_s: float):
        self.path = path
        self._wait_s = wait_s
        self._connection = database.open_database(
            path, wait_s=wait_s, make=make, on_migrate=_refill
        )

    def __enter__(self) -> History:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    # ------------------------------------------------------------ writing

    def add(
        self,
        paths: Any,
        *,
        tags: str | Sequence[str] = (),
        git_commit: str | None = None,
        on_added: OnAdded | None = None,
    ) -> tuple[Addition, ...]:
        """Add record files; those that the history has already get the tags and the commit.

        A record is on the disk when `on_added` is called. A file that is not a record is refused
        in its `Addition`, and the others are added.

        Args:
            paths: of records, or results of edgeq's functions; one or several.
            tags: one or several.

        Raises:
            HistoryError: the database cannot be written.
            UsageError: a tag is empty or has a comma.
        """
        from edgeq.records.reading import list_given

        named = tuple(listed(tags))
        items = (Item(*_read(given), named, git_commit, None) for given in list_given(paths))
        return self.add_items(items, on_added=on_added)

    def add_items(
        self, items: Iterable[Item], *, on_added: OnAdded | None = None
    ) -> tuple[Addition, ...]:
        """Add records from elsewhere, in transactions of a few hundred; see `add`."""
        from edgeq.history import writing

        return self.add_ready(map(writing.make_ready, items), on_added=on_added)

    def add_ready(
        self, items: Iterable[Ready], *, on_added: OnAdded | None = None
    ) -> tuple[Addition, ...]:
        """Add records that were read already; see `add_items`."""
        made: list[Addition] = []
        remaining = iter(items)
        # Reading and compressing take their time, so the database is not locked for them.
        while batch := list(islice(remaining, _BATCH)):
            for addition in self._add_batch(batch):
                made.append(addition)
                if on_added is not None:
                    on_added(addition)
        return tuple(made)

    def _add_batch(self, batch: Sequence[Ready]) -> list[Addition]:
        from edgeq.history import writing

        made = [Addition(item.file, None, None, None, False, item.error) for item in batch]
        found = [(place, item) for place, item in enumerate(batch) if item.prepared is not None]
        if found:
            now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
            with self._writing():
                for place, item in found:
                    made[place] = writing.insert(self._connection, item, now)
        return made

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with (
            database.explaining(self.path, self._wait_s),
            database.transaction(self._connection, self._wait_s),
        ):
            yield

    def remove(self, names: Sequence[str]) -> tuple[Entry, ...]:
        """Remove records, all or none.

        Args:
            names: numbers or beginnings of digests.

        Raises:
            UsageError: one does not name a record.
        """
        with self._writing():
            found = tuple(dict.fromkeys(reading.find(self._connection, name) for name in names))
            self._connection.executemany(
                "DELETE FROM records WHERE number = ?", [(entry.number,) for entry in found]
            )
        return found

    # ------------------------------------------------------------ reading

    def list(self, wanted: Filter = ALL) -> Listing:
        """Records, the newest first.

        Raises:
            UsageError: no record can match the filter.
        """
        with database.explaining(self.path, self._wait_s):
            total = reading.count(self._connection, ALL)
            if total:
                reading.require_known(self._connection, wanted)
            entries = reading.list_entries(self._connection, wanted)
            matching = len(entries)
            if matching == wanted.last:  # there may be more
                matching = reading.count(self._connection, wanted)
            return Listing(total, matching, entries)

    def find(self, name: str) -> Entry:
        """Find a record by its number or the beginning of its digest.

        Raises:
            UsageError: there is none, or there are several.
        """
        with database.explaining(self.path, self._wait_s):
            return reading.find(self._connection, name)

    def content(self, entry: Entry) -> bytes:
        """The bytes of a record, as they were when it was added."""
        ((_, content),) = self.contents([entry])
        return content

    def contents(self, entries: Sequence[Entry]) -> Iterator[tuple[Entry, bytes]]:
        """The bytes of records.

        Raises:
            RecordError: they are damaged, or were removed meanwhile.
        """
        for entry in entries:
            with database.explaining(self.path, self._wait_s):
                found = reading.content(self._connection, entry.number)
            if found is None:
                raise RecordError(f"Record {entry.number} is no longer in {self.path}.")
            yield entry, _unpack(found, entry.number, entry.sha256, self.path)

    def read(self, entry: Entry) -> Record:
        """A record as a value, under the name of the file that it was added from."""
        from edgeq.records.reading import parse_record

        return parse_record(self.content(entry), entry.file)

    def diff(self, before: str, after: str) -> RecordDifference:
        """Two records side by side.

        Raises:
            UsageError: one does not exist.
            RecordError: they have no figure in common.
        """
        with database.explaining(self.path, self._wait_s):
            first, second = self.find(before), self.find(after)
            figures = [
                reading.figures_of_entry(self._connection, entry.number)
                for entry in (first, second)
            ]
        found = trends.compare_records(
            first, second, figures[0], figures[1], (self._doubts(first), self._doubts(second))
        )
        if all(change.before is None or change.after is None for change in found.changes):
            raise RecordError(
                f"Record {first.number} ({first.kind}) and record {second.number} ({second.kind}) "
                "have no figure in common.",
                hint="See what each has: edgeq history show ID",
            )
        return found

    def _doubts(self, entry: Entry) -> tuple[Issue, ...]:
        from edgeq.files.storage import find_issues  # with all kinds of values, as `read`

        issues = find_issues(self.read(entry).value)
        return tuple(issue for issue in issues if issue.severity != "note")

    def trend(self, metric: str, wanted: Filter = ALL) -> Trend:
        """A metric over time.

        Args:
            metric: a key of `METRICS`.
            wanted: a model given by file name counts as one model in any folder; given by path
                or digest, and without one, every path is a model.

        Raises:
            UsageError: an unknown metric, or no record can match the filter.
        """
        with database.explaining(self.path, self._wait_s):
            reading.require_known(self._connection, wanted)
            rows = reading.trend_rows(self._connection, metric, wanted)
            name = reading.model_name(self._connection, wanted.model)
            return trends.make_trend(metric, rows, name=name, last=wanted.last)

    def check(self) -> Check:
        """Read everything through: SQLite's own check, each record's digest, its figures."""
        with database.explaining(self.path, self._wait_s):
            problems = [
                str(row[0]) for row in self._connection.execute("PRAGMA integrity_check")
                if row[0] != "ok"
            ]  # fmt: skip
            if self._connection.execute("PRAGMA foreign_key_check").fetchone() is not None:
                problems.append("some rows belong to no record")
            entries = reading.list_entries(self._connection, ALL)
            problems += filter(None, map(self._check_record, reversed(entries)))
            size = reading.size_bytes(self._connection)
            return Check(VERSION, len(entries), size, tuple(problems))

    def _check_record(self, entry: Entry) -> str | None:
        from edgeq.history.figures import figures_of

        try:
            record = self.read(entry)
        except EdgeqError as error:
            return f"record {entry.number}: {error.message}"
        kept = reading.figures_of_entry(self._connection, entry.number)
        if clean(kept, whole) != clean(figures_of(record), whole):
            return f"record {entry.number}: its figures are not those of its bytes"
        return None


def _read(given: Any) -> tuple[str, bytes | None]:
    """The name and the content of a record; a file is read later."""
    if isinstance(given, (str, os.PathLike)):
        return str(given), None
    from edgeq.records.reading import open_given

    record, content = open_given(given)
    return record.path, content


def _refill(connection: sqlite3.Connection, version: int) -> None:
    from edgeq.history import writing

    writing.refill(connection, version)


def _unpack(packed: bytes, number: int, sha256: str, path: Path) -> bytes:
    inflating = zlib.decompressobj()
    try:
        content = inflating.decompress(packed, MOST_BYTES)
        if not inflating.eof:
            raise zlib.error(f"it has no end in {MOST_BYTES:,} bytes")
    except zlib.error as error:
        raise RecordError(f"Record {number} is damaged in {path}: {error}.") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise RecordError(f"Record {number} is damaged in {path}: its digest is different.")
    return content
