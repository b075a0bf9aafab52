"""Open, migrate and write the SQLite database of a history.

The only place that handles SQLite's errors. With write-ahead logging, readers continue while one
process writes; with `synchronous = FULL`, committed records survive a power cut.
"""

from __future__ import annotations

import os
import random
import shlex
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from edgeq.errors import HistoryError
from edgeq.escaping import whole
from edgeq.history.migrations import APPLICATION_ID, MIGRATIONS, VERSION

# SQLite waits this long for a lock; then edgeq asks again, so that Ctrl-C works.
_SLICE_MS = 500
_LONGEST_PAUSE_S = 0.05

# The start of SQLite's message: our words after the path, and the hint.
_RESCUE = "Export what is left (edgeq history export FOLDER), and import it into a new one."
_SAID = (
    ("database or disk is full", "cannot be written: its disk is full",
     "Free some space and try again; what was there before is unharmed."),
    ("attempt to write a readonly", "cannot be written: it or its folder is read-only",
     "Make both writable, or copy the file elsewhere and name that with --database."),
    ("unable to open", "cannot be opened",
     "Check that it is a file that you may read, in a folder that you may write."),
    ("file is not a database", "is not a history: it is not a SQLite database",
     "Name another file with --database."),
    ("database disk image is malformed", "is damaged", _RESCUE),
    ("disk i/o error", "cannot be read or written: its disk gives an error",
     "Check the disk; on a network folder, move the history to a local one."),
)  # fmt: skip


class _Connection(sqlite3.Connection):
    """Escapes names that are not valid Unicode, since SQLite holds UTF-8."""

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> sqlite3.Cursor:  # type: ignore[override]
        return super().execute(sql, tuple(map(_whole, parameters)))

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> sqlite3.Cursor:  # type: ignore[override]
        return super().executemany(sql, (tuple(map(_whole, row)) for row in rows))


def _whole(value: Any) -> Any:
    return whole(value) if isinstance(value, str) else value


def open_database(
    path: Path, *, wait_s: float, make: bool, on_migrate: Callable[[sqlite3.Connection, int], None]
) -> sqlite3.Connection:
    """A connection to a history of this version of edgeq.

    Args:
        wait_s: how long to wait for a lock that another process holds.
        make: create it if it does not exist.
        on_migrate: called inside the transaction after each step, with the version reached.

    Raises:
        HistoryError: missing, not a history, of a newer version, locked, read-only, damaged.
    """
    if not make and not path.is_file():
        raise HistoryError(
            f"There is no history at {path}.",
            hint="Add records to make it: edgeq history add RECORD.json; or name another with "
            "--database.",
        )
    if make:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HistoryError(
                f"The folder {path.parent} cannot be made: {error.strerror or error}.",
                hint="Name a file elsewhere with --database.",
            ) from error
    with explaining(path, wait_s):
        mode = "rwc" if make else "rw"
        connection = sqlite3.connect(
            f"file:{quote(os.fsencode(path.absolute()))}?mode={mode}",
            uri=True,
            factory=_Connection,
            timeout=_SLICE_MS / 1000,
            isolation_level=None,
        )
        try:
            _prepare(connection, path, wait_s, on_migrate)
        except BaseException:
            connection.close()
            raise
    return connection


def _prepare(
    connection: sqlite3.Connection,
    path: Path,
    wait_s: float,
    on_migrate: Callable[[sqlite3.Connection, int], None],
) -> None:
    deadline = time.monotonic() + wait_s
    connection.execute("PRAGMA foreign_keys = ON")
    _patiently(connection, "PRAGMA synchronous = FULL", deadline)
    version = _read_version(connection, path, deadline)
    if version == VERSION:
        return
    # Setting the mode takes an exclusive lock for a moment, so it is done once.
    _patiently(connection, "PRAGMA journal_mode = WAL", deadline)
    with transaction(connection, deadline - time.monotonic()):
        # Another process may have migrated it while we waited.
        for number in range(_read_version(connection, path, deadline), VERSION):
            for statement in MIGRATIONS[number]:
                connection.execute(statement)
            on_migrate(connection, number + 1)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")


def _read_version(connection: sqlite3.Connection, path: Path, deadline: float) -> int:
    (application,) = _patiently(connection, "PRAGMA application_id", deadline)
    (version,) = _patiently(connection, "PRAGMA user_version", deadline)
    (tables,) = _patiently(connection, "SELECT count(*) FROM sqlite_master", deadline)
    if tables == 0 and application == version == 0:
        return 0  # new
    if application != APPLICATION_ID or version < 1:
        raise HistoryError(
            f"{path} is a SQLite database of another program, not a history.",
            hint="Name another file with --database.",
        )
    if version > VERSION:
        raise HistoryError(
            f"{path} is a history of version {version}, and this version of edgeq reads "
            f"version {VERSION} and older.",
            hint="Upgrade edgeq: pip install -U edgeq; or name another file with --database.",
        )
    return int(version)


def _patiently(connection: sqlite3.Connection, statement: str, deadline: float) -> tuple[int, ...]:
    """The first row of a statement, repeated while another process holds a lock."""
    while True:
        try:
            row = connection.execute(statement).fetchone()
        except sqlite3.OperationalError as error:
            if not _is_locked(error) or time.monotonic() >= deadline:
                raise
            # Random, so that none of several processes is always the last.
            time.sleep(random.uniform(0, _LONGEST_PAUSE_S))
        else:
            return () if row is None else tuple(row)


@contextmanager
def transaction(connection: sqlite3.Connection, wait_s: float) -> Iterator[None]:
    """Commit everything in the block, or nothing."""
    _patiently(connection, "BEGIN IMMEDIATE", time.monotonic() + wait_s)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite itself rolls back after some errors
            connection.execute("ROLLBACK")
        raise


@contextmanager
def explaining(path: Path, wait_s: float) -> Iterator[None]:
    """Raise SQLite's errors in the block as `HistoryError`.

    Raises:
        HistoryError: in place of them.
    """
    try:
        yield
    except UnicodeDecodeError as error:  # a damaged schema in SQLite's own message
        raise HistoryError(f"{path} is damaged.", hint=_RESCUE, details=str(error)) from error
    except sqlite3.Error as error:
        if isinstance(error, sqlite3.OperationalError) and _is_locked(error):
            raise HistoryError(
                f"{path} was locked by another process for {wait_s:g} s.",
                hint=f"Try again when it is done, or see who it is: fuser {shlex.quote(str(path))}",
            ) from error
        words = str(error)
        for start, what, hint in _SAID:
            if words.lower().startswith(start):
                raise HistoryError(f"{path} {what}.", hint=hint, details=words) from error
        raise HistoryError(
            f"{path} cannot be used: {words}.",
            hint="Read it through with edgeq history check.",
        ) from error


def _is_locked(error: sqlite3.OperationalError) -> bool:
    return "is locked" in str(error)
