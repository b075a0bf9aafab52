"""The tables of a history, version by version; a new history goes through all steps.

A step never changes after its release: older histories were made by it. After a step that touches
the rows of `figures_of` (see `REFILLED_FROM`), those are made again from the records' own bytes.
"""

from __future__ import annotations

# "edgq" in ASCII, where SQLite and `file` look for the program that a database belongs to.
APPLICATION_ID = 0x65646771

_FIRST = (
    """CREATE TABLE records (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        sha256 TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        moment TEXT NOT NULL,
        added TEXT NOT NULL,
        validity TEXT NOT NULL,
        file TEXT NOT NULL
    )""",
    # Apart, so that lists do not read through the bytes.
    """CREATE TABLE contents (
        record INTEGER PRIMARY KEY REFERENCES records ON DELETE CASCADE,
        content BLOB NOT NULL
    )""",
    """CREATE TABLE figures (
        record INTEGER NOT NULL REFERENCES records ON DELETE CASCADE,
        metric TEXT NOT NULL,
        model TEXT NOT NULL,
        device TEXT,
        value REAL NOT NULL
    )""",
    "CREATE INDEX figures_by_metric ON figures (metric, model)",
)

_SECOND = (
    "ALTER TABLE records ADD COLUMN git_commit TEXT",
    "ALTER TABLE records ADD COLUMN model TEXT",
    "ALTER TABLE records ADD COLUMN model_sha256 TEXT",
    "ALTER TABLE records ADD COLUMN device TEXT",
    "ALTER TABLE records ADD COLUMN accuracy_drop_points REAL",
    "ALTER TABLE records ADD COLUMN accuracy_percent REAL",
    "ALTER TABLE records ADD COLUMN sqnr_db REAL",
    "ALTER TABLE records ADD COLUMN size_bytes REAL",
    "ALTER TABLE records ADD COLUMN latency_p50_ms REAL",
    "ALTER TABLE records ADD COLUMN latency_p90_ms REAL",
    "ALTER TABLE records ADD COLUMN speedup REAL",
    "ALTER TABLE records ADD COLUMN peak_rss_bytes REAL",
    "ALTER TABLE records ADD COLUMN model_count INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE records ADD COLUMN device_count INTEGER NOT NULL DEFAULT 0",
    "CREATE INDEX records_by_moment ON records (moment, number)",
    """CREATE TABLE tags (
        record INTEGER NOT NULL REFERENCES records ON DELETE CASCADE,
        tag TEXT NOT NULL,
        PRIMARY KEY (record, tag)
    ) WITHOUT ROWID""",
    "CREATE INDEX tags_by_name ON tags (tag)",
    """CREATE TABLE models (
        record INTEGER NOT NULL REFERENCES records ON DELETE CASCADE,
        path TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        name TEXT NOT NULL,
        PRIMARY KEY (record, path, sha256)
    ) WITHOUT ROWID""",
    "CREATE INDEX models_by_name ON models (name)",
    "CREATE INDEX models_by_sha256 ON models (sha256)",
    """CREATE TABLE devices (
        record INTEGER NOT NULL REFERENCES records ON DELETE CASCADE,
        device TEXT NOT NULL,
        PRIMARY KEY (record, device)
    ) WITHOUT ROWID""",
    "CREATE INDEX devices_by_name ON devices (device)",
    # Thousands of figures share a few sets of conditions.
    "CREATE TABLE conditions (id INTEGER PRIMARY KEY, content TEXT NOT NULL UNIQUE)",
    "DROP TABLE figures",
    """CREATE TABLE figures (
        record INTEGER NOT NULL REFERENCES records ON DELETE CASCADE,
        metric TEXT NOT NULL,
        role TEXT NOT NULL,
        model TEXT NOT NULL,
        name TEXT NOT NULL,
        model_sha256 TEXT NOT NULL,
        device TEXT,
        value REAL NOT NULL,
        low REAL,
        high REAL,
        validity TEXT NOT NULL,
        conditions INTEGER NOT NULL REFERENCES conditions
    )""",
    "CREATE INDEX figures_by_metric ON figures (metric, name)",
    "CREATE INDEX figures_by_record ON figures (record)",
)

# Accuracies have their device among the conditions: the same tables, other rows.
_THIRD: tuple[str, ...] = ()

# Latencies of edgeq 0.1 get wider intervals, since it measured in one process: other rows again.
_FOURTH: tuple[str, ...] = ()

# Step n makes version n + 1 of version n.
MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST, _SECOND, _THIRD, _FOURTH)
VERSION = len(MIGRATIONS)

# Versions that need the rows of `figures`, `models` and `devices` made again; the newest does it
# for those before it.
REFILLED_FROM = frozenset({3, 4})
