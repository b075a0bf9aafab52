"""The file itself: versions, damage, locks, disks, and processes that die."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeq.errors import HistoryError, RecordError
from edgeq.history import store
from edgeq.history.export_import import Item, export_records
from edgeq.history.migrations import VERSION
from edgeq.history.store import History
from edgeq.history.values import Filter
from tests.history.conftest import COMPARE, EVAL, HERE, edgeq

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


def refusal(path: Path, *, make: bool = True, wait_s: float = 0.1) -> str:
    with pytest.raises(HistoryError) as caught:
        History(path, make=make, wait_s=wait_s).add([COMPARE])
    assert caught.value.exit_code == 1
    return str(caught.value).replace(str(path), "H")


# ---------------------------------------------------------------- versions


def run_script(path: Path, script: str) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A history as version 1 left it."""
    path = tmp_path / "old.sqlite"
    run_script(path, (HERE / "version_1.sql").read_text())
    return path


def test_an_older_version_is_migrated_and_keeps_everything(old: Path, tmp_path: Path) -> None:
    with History(old, make=False, wait_s=5) as history:
        assert [(e.number, e.kind, e.added, e.file) for e in history.list().entries] == [
            (7, "compare", "2026-10-28T00:00:00Z", "build/compare.json"),
            (1, "eval", "2026-10-28T00:00:00Z", "build/eval.json"),
        ]
        for name, path in (("1", EVAL), ("7", COMPARE)):
            assert history.content(history.find(name)) == path.read_bytes()
        assert history.check().problems == ()  # its figures are those of today's `figures_of`
        (addition,) = history.add([COMPARE], tags=["v1"])
        assert (addition.number, addition.is_new) == (7, False)
        with History(tmp_path / "new.sqlite", make=True, wait_s=5) as new:
            new.add([EVAL, COMPARE])
            assert new.trend("accuracy").series[0].points[0].value == (
                history.trend("accuracy").series[0].points[0].value
            )
            ours, theirs = (
                [row[0] for row in sqlite3.connect(h.path).execute(
                    "SELECT sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name")]
                for h in (history, new)
            )  # fmt: skip
            assert ours == theirs


@pytest.mark.parametrize("version", [2, 3])
def test_figures_of_older_versions_are_made_again(tmp_path: Path, version: int) -> None:
    path = tmp_path / "h.sqlite"
    with History(path, make=True, wait_s=5) as history:
        history.add([EVAL, COMPARE])
    run_script(path, f"DELETE FROM figures; PRAGMA user_version = {version}")
    with History(path, make=False, wait_s=5) as history:
        assert history.check().problems == ()


def test_a_damaged_record_is_no_obstacle_to_a_migration(old: Path) -> None:
    run_script(old, "UPDATE contents SET content = x'00' WHERE record = 7")
    with History(old, make=False, wait_s=5) as history:
        assert [entry.size_bytes for entry in history.list().entries] == [None, 83600]
        (problem,) = history.check().problems
        assert problem.startswith("record 7: Record 7 is damaged in ")


def test_a_migration_that_is_cut_off_leaves_the_old_version(old: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from edgeq.history import figures, writing, store\n"
        "writing.summarize = lambda record: os.kill(os.getpid(), signal.SIGKILL)\n"
        "store.History(Path(sys.argv[1]), make=False, wait_s=5)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(old)], check=False)
    assert killed.returncode == -signal.SIGKILL
    connection = sqlite3.connect(old)
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    assert connection.execute("SELECT count(*) FROM figures").fetchone() == (2,)
    connection.close()
    with History(old, make=False, wait_s=5) as history:
        assert history.check().problems == ()


def test_a_version_of_the_future(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    History(path, make=True, wait_s=5).close()
    run_script(path, f"PRAGMA user_version = {VERSION + 1}")
    assert refusal(path) == (
        f"H is a history of version {VERSION + 1}, and this version of edgeq reads "
        f"version {VERSION} and older. Upgrade edgeq: "
        "pip install -U edgeq; or name another file with --database."
    )


# ---------------------------------------------------------------- no history


def test_what_is_no_history(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    assert refusal(path, make=False) == (
        "There is no history at H. Add records to make it: edgeq history add RECORD.json; or name "
        "another with --database."
    )
    path.write_bytes(b"not a database, but long enough to look at" * 100)
    assert refusal(path) == (
        "H is not a history: it is not a SQLite database. Name another file with --database."
    )
    path.unlink()
    run_script(path, "CREATE TABLE songs (name TEXT)")
    assert refusal(path) == (
        "H is a SQLite database of another program, not a history. Name another file with "
        "--database."
    )
    assert refusal(tmp_path) == (
        "H cannot be opened. Check that it is a file that you may read, in a folder that you may "
        "write."
    )
    file = tmp_path / "h.sqlite" / "below" / "h.sqlite"
    assert refusal(file).startswith(f"The folder {file.parent} cannot be made: Not a directory.")


def test_damage_is_said(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    with History(path, make=True, wait_s=5) as history:
        history.add_items(Item(f"{n}", numbered(n), (), None, None) for n in range(50))
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 12] = b"\xff" * (4096 * 9)
    path.write_bytes(content)
    with History(path, make=False, wait_s=5) as history, pytest.raises(HistoryError) as caught:
        history.check()
        history.list()
    assert str(caught.value).startswith(f"{path} is damaged. Export what is left")


@pytest.mark.parametrize("change", [
    "UPDATE records SET moment = x'ff'", "UPDATE records SET sqnr_db = 'loud'",
    "UPDATE records SET model_count = 'many'", "UPDATE contents SET content = 'text'",
    "UPDATE figures SET value = x'00'", "UPDATE figures SET low = 'low'",
    "UPDATE conditions SET content = '{' || id",
    "UPDATE conditions SET content = '[[' || id || ']]'",
])  # fmt: skip
def test_a_value_of_another_type_than_its_column_is_damage(change: str, tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    with History(path, make=True, wait_s=5) as history:
        history.add([EVAL, COMPARE])
        run_script(path, change)
        with pytest.raises(HistoryError, match=r"h\.sqlite is damaged\. Export what is left"):
            for look in (history.list, lambda: history.content(history.find("1")),
                         lambda: history.diff("1", "2"), lambda: history.trend("accuracy"),
                         lambda: history.trend("sqnr")):  # fmt: skip
                look()


def test_a_record_that_inflates_to_anything_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with History(tmp_path / "h.sqlite", make=True, wait_s=5) as history:
        history.add([EVAL])
        monkeypatch.setattr(store, "MOST_BYTES", 100)
        with pytest.raises(RecordError, match="it has no end in 100 bytes"):
            history.content(history.find("1"))


def test_check_names_a_record_whose_bytes_changed(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    with History(path, make=True, wait_s=5) as history:
        history.add([EVAL, COMPARE])
        run_script(path, "UPDATE figures SET value = 1 WHERE record = 1; "
                         "UPDATE contents SET content = x'00' WHERE record = 2")  # fmt: skip
        assert history.check().problems == (
            "record 1: its figures are not those of its bytes",
            f"record 2: Record 2 is damaged in {path}: it has no end in 268,435,456 bytes.",
        )
    done = edgeq("check", database=path)
    assert done.returncode == 1
    assert "record 1: its figures" in done.stdout


def test_other_bytes_in_the_place_of_a_record_are_refused(tmp_path: Path) -> None:
    """They unpack, and are a record; they are not the one that was added."""
    path = tmp_path / "h.sqlite"
    other = zlib.compress(numbered(1))
    with History(path, make=True, wait_s=5) as history:
        history.add([EVAL, COMPARE])
        entry = history.find("2")
        connection = sqlite3.connect(path)
        connection.execute("UPDATE contents SET content = ? WHERE record = 2", (other,))
        connection.commit()
        connection.close()
        said = f"Record 2 is damaged in {path}: its digest is different."
        for read in (history.content, history.read):
            with pytest.raises(RecordError) as caught:
                read(entry)
            assert str(caught.value) == said
        with pytest.raises(RecordError):
            export_records(history, tmp_path / "out", Filter())
        assert history.content(history.find("1")) == EVAL.read_bytes()
        assert history.check().problems == (f"record 2: {said}",)
    for command in (("show", "2"), ("show", "2", "--json")):
        shown = edgeq(*command, database=path)
        assert (shown.returncode, shown.stdout) == (4, "")
        assert shown.stderr.startswith(f"error: {said}")
    checked = edgeq("check", database=path)
    assert checked.returncode == 1
    assert said in checked.stdout


# ---------------------------------------------------------------- what is acknowledged stays


def pragma(history: History, name: str) -> object:
    (value,) = history._connection.execute(f"PRAGMA {name}").fetchone()
    return value


def test_what_is_acknowledged_survives_a_power_cut(tmp_path: Path, old: Path) -> None:
    """FULL is 2: each commit is synced, which NORMAL leaves out with a write-ahead log."""
    path = tmp_path / "h.sqlite"
    for place, make in ((path, True), (path, False), (old, False)):  # new, opened again, migrated
        with History(place, make=make, wait_s=5) as history:
            assert pragma(history, "synchronous") == 2
            assert pragma(history, "journal_mode") == "wal"
            assert pragma(history, "foreign_keys") == 1


# ---------------------------------------------------------------- locks and disks


def test_a_lock_that_stays(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    History(path, make=True, wait_s=5).close()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    assert refusal(path, wait_s=0.2) == (
        "H was locked by another process for 0.2 s. Try again when it is done, or see who it is: "
        "fuser H"
    )
    done = edgeq("add", COMPARE, "--wait", "0.1", database=path)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"error: {path} was locked by another process for 0.1 s.\n" in done.stderr
    # Readers do not wait for a writer.
    assert edgeq("list", "--wait", 0, database=path).returncode == 0
    holder.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=600k", "tmpfs"]
    subprocess.run(["mount", *options, str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@needs_root
def test_a_full_disk(disk: Path) -> None:
    path = disk / "h.sqlite"
    with History(path, make=True, wait_s=5) as history:
        history.add([EVAL])
        (disk / "filler").write_bytes(os.urandom(280_000))
        with pytest.raises(HistoryError) as caught:
            for n in range(500):
                history.add_items([Item(f"{n}", numbered(n), (), None, None)])
        assert "its disk is full" in str(caught.value) or "its disk gives" in str(caught.value)
        kept = history.list().total
    (disk / "filler").unlink()
    with History(path, make=False, wait_s=5) as history:
        assert history.list().total == kept
        history.add([COMPARE])
        assert history.check().problems == ()


@needs_root
def test_a_read_only_disk(disk: Path) -> None:
    path = disk / "h.sqlite"
    with History(path, make=True, wait_s=5) as history:
        history.add([EVAL])
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    done = edgeq("add", COMPARE, database=path)
    assert done.returncode == 1
    assert done.stderr == (
        f"error: {path} cannot be opened.\nhint:  Check that it is a file that you may read, in a "
        "folder that you may write.\n"
    )


# ---------------------------------------------------------------- many processes

RECORDS = 24

WRITER = """
import sys
from pathlib import Path
from edgeq.history.export_import import Item
from edgeq.history.store import History
from edgeq.history.values import Filter
from tests.history.test_database import numbered
path, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
with History(path, make=True, wait_s=60) as history:
    for number in range(first, first + count):
        history.add_items([Item(f"{number}", numbered(number), (), None, None)],
                          on_added=lambda addition: print(addition.sha256, flush=True))
"""


def numbered(number: int) -> bytes:
    """A record like no other; readers skip fields that they do not know."""
    return COMPARE.read_bytes().replace(b'"schema"', b'"own": %d, "schema"' % number, 1)


def test_eight_writers_of_which_one_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    counts = [*[RECORDS] * 7, 1000 * RECORDS]  # the last one is not finished when it is killed
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(n * RECORDS), str(count)],
            stdout=subprocess.PIPE, text=True, cwd=HERE.parents[1],
        )
        for n, count in enumerate(counts)
    ]  # fmt: skip
    victim = writers[-1]
    assert victim.stdout is not None
    acknowledged = [victim.stdout.readline() for _ in range(RECORDS // 4)]
    victim.send_signal(signal.SIGKILL)
    for writer in writers:
        acknowledged += (writer.communicate()[0] or "").splitlines()
        assert writer.returncode == (-signal.SIGKILL if writer is victim else 0)
    with History(path, make=False, wait_s=5) as history:
        assert history.check().problems == ()
        kept = {entry.sha256 for entry in history.list().entries}
    assert {text.strip() for text in acknowledged} <= kept
    assert 7 * RECORDS + RECORDS // 4 <= len(kept) < 1000 * RECORDS


def test_ctrl_c_leaves_it_whole(tmp_path: Path) -> None:
    folder, path = tmp_path / "many", tmp_path / "h.sqlite"
    folder.mkdir()
    for number in range(3000):
        (folder / f"{number:04}.json").write_bytes(numbered(number))
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from edgeq.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "history", "import"]
    process = subprocess.Popen(
        [*command, str(folder), "--database", str(path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    with History(path, make=False, wait_s=5) as history:
        check = history.check()
    assert check.problems == ()
    assert 0 < check.record_count < 3000
    found = re.fullmatch(r"Interrupted; at least (\d+) added: (.*) \(named by --database\)\n", said)
    assert found is not None and found[2] == str(path)
    assert int(found[1]) <= check.record_count
