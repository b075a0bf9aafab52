"""Records into the tables of a history; every function runs inside a caller's transaction."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec import Struct

from edgeq.errors import RecordError, UsageError
from edgeq.history.figures import summarize
from edgeq.history.item import MOST_BYTES, Item
from edgeq.history.migrations import REFILLED_FROM
from edgeq.history.values import METRICS, Addition, Condition, Summary
from edgeq.records.reading import open_record, parse_record
from edgeq.wording import file_name

_COLUMNS = tuple(metric.column for metric in METRICS.values())


@dataclass(frozen=True)
class Prepared:
    """Everything that a record's rows are made of, before the database is locked for them.

    Attributes:
        moment: UTC, when it was made; None in records of before 0.1.0.
        content: its bytes, compressed.
    """

    sha256: str
    kind: str
    moment: str | None
    validity: str
    file: str
    summary: Summary
    content: bytes


class Ready(Struct, frozen=True, tag=True):
    """A file that was read and will be added.

    Attributes:
        file, tags, git_commit, added: see `Item`.
        prepared: None when it is refused.
        error: why it is.
    """

    file: str
    tags: tuple[str, ...]
    git_commit: str | None
    added: str | None
    prepared: Prepared | None
    error: str | None


def make_ready(item: Item) -> Ready:
    """Read a file that will be added.

    Raises:
        UsageError: a tag is empty or has a comma.
    """
    for tag in item.tags:
        if not tag.strip() or "," in tag:
            raise UsageError(f"--tag {tag!r} is empty or has a comma.", hint="Repeat --tag.")
    prepared, refusal = None, None
    try:
        if item.content is None:
            record, content = open_record(Path(item.file), MOST_BYTES)
        else:
            record, content = parse_record(item.content, item.file), item.content
        made = record.provenance
        prepared = Prepared(
            record.sha256, record.kind, None if made is None else made.created, record.validity,
            record.path, summarize(record), zlib.compress(content, 6),
        )  # fmt: skip
    except RecordError as error:
        refusal = str(error)
    return Ready(item.file, item.tags, item.git_commit, item.added, prepared, refusal)


def insert(connection: sqlite3.Connection, item: Ready, now: str) -> Addition:
    """Add a record, or the tags and commit to one that the history has already.

    Args:
        item: that is not refused.
        now: UTC.
    """
    prepared = item.prepared
    assert prepared is not None
    done = connection.execute(
        "INSERT OR IGNORE INTO records (sha256, kind, moment, added, validity, file) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (prepared.sha256, prepared.kind, prepared.moment or now, item.added or now,
         prepared.validity, prepared.file),
    )  # fmt: skip
    is_new = done.rowcount == 1
    if is_new:
        number = int(done.lastrowid or 0)
        connection.execute("INSERT INTO contents VALUES (?, ?)", (number, prepared.content))
        _fill(connection, number, prepared.summary)
    else:
        select = "SELECT number FROM records WHERE sha256 = ?"
        (number,) = connection.execute(select, (prepared.sha256,)).fetchone()
    connection.executemany(
        "INSERT OR IGNORE INTO tags VALUES (?, ?)", [(number, tag) for tag in item.tags]
    )
    if item.git_commit is not None:
        update = "UPDATE records SET git_commit = ? WHERE number = ?"
        connection.execute(update, (item.git_commit, number))
    return Addition(item.file, number, prepared.sha256, prepared.kind, is_new)


def _fill(connection: sqlite3.Connection, number: int, summary: Summary) -> None:
    """Fill the columns that are derived from the record's bytes."""
    model, digest = summary.model or (None, None)
    headline: dict[str, float | None] = dict.fromkeys(METRICS)
    for figure in summary.figures:
        is_main = (figure.model, figure.model_sha256) == (model, digest)
        if is_main and figure.device in (None, summary.device) and headline[figure.metric] is None:
            headline[figure.metric] = figure.value
    connection.execute(
        "UPDATE records SET model = ?, model_sha256 = ?, device = ?, model_count = ?, "
        f"device_count = ?, {', '.join(f'{column} = ?' for column in _COLUMNS)} WHERE number = ?",
        (model, digest, summary.device, len(summary.models), len(summary.devices),
         *headline.values(), number),
    )  # fmt: skip
    connection.executemany(
        "INSERT INTO models VALUES (?, ?, ?, ?)",
        [(number, path, sha256, file_name(path)) for path, sha256 in summary.models],
    )
    connection.executemany(
        "INSERT INTO devices VALUES (?, ?)", [(number, device) for device in summary.devices]
    )
    connection.executemany(
        f"INSERT INTO figures VALUES ({', '.join('?' * 12)})",
        [
            (number, item.metric, item.role, item.model, file_name(item.model), item.model_sha256,
             item.device, item.value, item.low, item.high, item.validity,
             _conditions(connection, item.conditions))
            for item in summary.figures
        ],
    )  # fmt: skip


def _conditions(connection: sqlite3.Connection, conditions: Sequence[Condition]) -> int:
    """Number of the row that holds these conditions."""
    content = json.dumps([[item.name, item.value, item.shown] for item in conditions])
    connection.execute("INSERT OR IGNORE INTO conditions (content) VALUES (?)", (content,))
    select = "SELECT id FROM conditions WHERE content = ?"
    (found,) = connection.execute(select, (content,)).fetchone()
    return int(found)


def refill(connection: sqlite3.Connection, version: int) -> None:
    """Derive the columns from the records' bytes again, after a step of a migration."""
    if version not in REFILLED_FROM:
        return
    for table in ("figures", "models", "devices", "conditions"):
        connection.execute(f"DELETE FROM {table}")
    rows = connection.execute(
        "SELECT number, file, content FROM records JOIN contents ON record = number"
    )
    for number, file, content in rows.fetchall():
        try:
            record = parse_record(zlib.decompress(content), file)
        except (zlib.error, RecordError):
            continue  # it stays, without figures, and `history check` names it
        _fill(connection, number, summarize(record))
