"""Questions to the tables of a history."""

from __future__ import annotations

import gc
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from edgeq.errors import UsageError, unknown_name
from edgeq.history.values import METRICS, Condition, Entry, Figure, Filter

_TAGS = "(SELECT group_concat(tag) FROM tags WHERE record = number)"
_ENTRY = ", ".join(f"coalesce({_TAGS}, '')" if name == "tags" else name for name in Entry._fields)
_DIGEST = re.compile(r"[0-9a-f]{7,64}")
_SHORTEST = 7  # characters of a digest that identify one


def _typed(value: Any, kind: Any) -> Any:
    """A value of a table with its column's type; SQLite itself takes anything anywhere.

    Raises:
        sqlite3.DatabaseError: it has another type.
    """
    try:
        return msgspec.convert(value, kind)
    except ValueError as error:
        raise sqlite3.DatabaseError(f"database disk image is malformed: {error}") from error


def size_bytes(connection: sqlite3.Connection) -> int:
    """Size of the database with its write-ahead log."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    return int(pages) * int(page_bytes)


def count(connection: sqlite3.Connection, wanted: Filter) -> int:
    """The number of records that a filter lets through, without its `last`."""
    where, values = _where(wanted)
    (found,) = connection.execute(f"SELECT count(*) FROM records{where}", values).fetchone()
    return int(found)


def list_entries(connection: sqlite3.Connection, wanted: Filter) -> tuple[Entry, ...]:
    """Records that a filter lets through, the newest first."""
    where, values = _where(wanted)
    select = f"SELECT {_ENTRY} FROM records{where} ORDER BY moment DESC, number DESC"
    limit = -1 if wanted.last is None else wanted.last
    rows = connection.execute(f"{select} LIMIT ?", (*values, limit))
    with collector_at_rest():
        found: tuple[Entry, ...] = _typed(rows.fetchall(), tuple[Entry, ...])
        return found


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """No garbage collection in the block: it would walk 100,000 new tuples again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _where(wanted: Filter) -> tuple[str, list[Any]]:
    terms, values = _terms(wanted)
    return f" WHERE {' AND '.join(terms)}" if terms else "", values


def _terms(wanted: Filter) -> tuple[list[str], list[Any]]:
    terms: list[str] = []
    values: list[Any] = []
    for term, value in (
        ("kind = ?", wanted.kind),
        ("moment >= ?", wanted.since),
        ("number IN (SELECT record FROM devices WHERE device = ?)", wanted.device),
        ("number IN (SELECT record FROM tags WHERE tag = ?)", wanted.tag),
    ):
        if value is not None:
            terms.append(term)
            values.append(value)
    if wanted.model is not None:
        term, more = _model_term(wanted.model, "path", "sha256")
        terms.append(f"number IN (SELECT record FROM models WHERE {term})")
        values += more
    return terms, values


def _model_term(text: str, path: str, digest: str) -> tuple[str, list[str]]:
    """A path with its folder, or a file name, also without its .tflite, or a digest."""
    if "/" in text:
        return f"{path} = ?", [text]
    term, values = "name IN (?, ?)", [text, f"{text}.tflite"]
    if _DIGEST.fullmatch(text):
        return f"({term} OR {digest} GLOB ?)", [*values, f"{text}*"]
    return term, values


def require_known(connection: sqlite3.Connection, wanted: Filter) -> None:
    """Refuse a filter that no record can match.

    Raises:
        UsageError: it names a kind, device, tag or model that no record has.
    """
    questions = [
        ("kind", wanted.kind, "records", "kind", "kind = ?", [wanted.kind]),
        ("device", wanted.device, "devices", "device", "device = ?", [wanted.device]),
        ("tag", wanted.tag, "tags", "tag", "tag = ?", [wanted.tag]),
    ]
    if wanted.model is not None:
        term, values = _model_term(wanted.model, "path", "sha256")
        questions.append(("model", wanted.model, "models", "name", term, list(values)))
    for option, text, table, column, term, arguments in questions:
        if text is None:
            continue
        if connection.execute(f"SELECT 1 FROM {table} WHERE {term} LIMIT 1", arguments).fetchone():
            continue
        rows = connection.execute(f"SELECT DISTINCT {column} FROM {table} ORDER BY {column}")
        known = ", ".join(str(row[0]) for row in rows.fetchmany(20)) or "none"
        raise UsageError(f"No record here has the {option} {text!r}; there are: {known}.")


def find(connection: sqlite3.Connection, text: str) -> Entry:
    """One record by its number, or by the first characters of its digest.

    Raises:
        UsageError: there is none, or there are several.
    """
    select = f"SELECT {_ENTRY} FROM records WHERE"
    if text.isdecimal() and len(text) < 19:  # beyond that, no number of SQLite's
        row = connection.execute(f"{select} number = ?", (int(text),)).fetchone()
        if row is not None:
            found: Entry = _typed(row, Entry)
            return found
    rows = []
    if _DIGEST.fullmatch(text):
        rows = connection.execute(f"{select} sha256 GLOB ? LIMIT 2", (f"{text}*",)).fetchall()
    if len(rows) == 1:
        entry: Entry = _typed(rows[0], Entry)
        return entry
    if rows:
        raise UsageError(f"Several records have digests that begin with {text}.", hint="Type more.")
    raise UsageError(
        f"There is no record {text!r} in this history.",
        hint=f"Name one by its number or by the first {_SHORTEST} characters of its digest: "
        "edgeq history list",
    )


def figures_of_entry(connection: sqlite3.Connection, number: int) -> tuple[Figure, ...]:
    """All figures of a record, in the record's order."""
    rows = connection.execute(
        f"SELECT {_FIGURE} FROM figures JOIN conditions ON id = conditions "
        "WHERE record = ? ORDER BY figures.rowid",
        (number,),
    )
    found = []
    for row in rows:
        checked: Any = _typed(row, _FigureRow)
        found.append(Figure(*(*checked[:-1], read_conditions(checked[-1]))))
    return tuple(found)


_FigureRow = tuple[str, str, str, str, str | None, float, float | None, float | None, str, str]
_TrendRow = tuple[int, str, str, str | None, str, str, str, str, float, float | None, float | None,
                  str, str]  # fmt: skip
_FIGURE = "metric, role, model, model_sha256, device, value, low, high, validity, content"


def read_conditions(content: str) -> tuple[Condition, ...]:
    """Conditions as the table has them."""
    try:
        plain = json.loads(content)  # names may hold half characters, which msgspec refuses
    except (ValueError, RecursionError) as error:
        raise sqlite3.DatabaseError(f"database disk image is malformed: {error}") from error
    return tuple(Condition(*item) for item in _typed(plain, tuple[tuple[str, str, str], ...]))


def trend_rows(
    connection: sqlite3.Connection, metric: str, wanted: Filter
) -> Iterator[tuple[Any, ...]]:
    """Figures of one metric, oldest first.

    Returns:
        Rows of number, sha256, moment, git commit, tags, model, model digest, role, value, low,
        high, validity and conditions.

    Raises:
        UsageError: an unknown metric.
    """
    if metric not in METRICS:
        raise unknown_name("metric", metric, METRICS)
    terms, values = ["metric = ?"], [metric]
    if wanted.model is not None:
        term, more = _model_term(wanted.model, "f.model", "f.model_sha256")
        terms.append(term)
        values += more
    if wanted.device is not None:
        # Sizes and accuracies may have no device, and their records have one.
        there = "number IN (SELECT record FROM devices WHERE device = ?)"
        terms.append(f"(f.device = ? OR f.device IS NULL AND {there})")
        values += [wanted.device, wanted.device]
    inner, more = _terms(Filter(kind=wanted.kind, tag=wanted.tag, since=wanted.since))
    rows = connection.execute(
        f"SELECT number, sha256, moment, git_commit, coalesce({_TAGS}, ''), f.model, "
        "f.model_sha256, f.role, f.value, f.low, f.high, f.validity, content "
        "FROM figures f JOIN records ON number = f.record JOIN conditions ON id = f.conditions "
        f"WHERE {' AND '.join((*terms, *inner))} ORDER BY moment, number, f.rowid",
        (*values, *more),
    )
    for row in rows:
        yield _typed(row, _TrendRow)


def model_name(connection: sqlite3.Connection, text: str | None) -> str | None:
    """The file name that a filter's model is given by; None when it is a path or a digest."""
    if text is None or "/" in text:
        return None
    select = "SELECT name FROM models WHERE name IN (?, ?) LIMIT 1"
    row = connection.execute(select, (text, f"{text}.tflite")).fetchone()
    return None if row is None else str(row[0])


def content(connection: sqlite3.Connection, number: int) -> bytes | None:
    """Compressed bytes of a record."""
    select = "SELECT content FROM contents WHERE record = ?"
    row = connection.execute(select, (number,)).fetchone()
    if row is None or isinstance(row[0], bytes):
        return None if row is None else row[0]
    raise sqlite3.DatabaseError("database disk image is malformed: a record is not in bytes")
