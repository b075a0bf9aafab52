"""Whether a history holds: many writers at once, one of them killed; and how long a list takes.

    python benchmarks/history.py [--records 10000] [--listed 100000]

8 processes add records to one new database, one record in each transaction; one is killed in the
middle and started again. Then every record that was acknowledged is looked for, and SQLite's own
check is run. Then the database is filled up, and `edgeq history list` is timed as whole processes.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edgeq.history import Filter, open_history
from edgeq.history.export_import import Item

WRITERS = 8
RUNS = 5
RECORD = Path(__file__).resolve().parents[1] / "tests" / "history" / "compare.json"

WRITER = """
import sys
from pathlib import Path
from edgeq.history import open_history
from edgeq.history.export_import import Item
database, record, first, last = sys.argv[1:]
template = Path(record).read_bytes()
def show(addition):
    print(addition.sha256, flush=True)
with open_history(database) as history:
    for number in range(int(first), int(last)):
        content = template.replace(b'"schema"', b'"number": %d, "schema"' % number, 1)
        history.add_items([Item(f"{number}.json", content, (), None, None)], on_added=show)
"""


def start(database: Path, first: int, last: int) -> subprocess.Popen[str]:
    """A writer; it prints a digest for each record that is on the disk."""
    command = [sys.executable, "-c", WRITER, str(database), str(RECORD), str(first), str(last)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def write(database: Path, count: int) -> None:
    """All writers at once; the first one is killed at half of its records."""
    share = count // WRITERS
    began = time.perf_counter()
    writers = [start(database, n * share, (n + 1) * share) for n in range(WRITERS)]
    victim = writers.pop(0)
    acknowledged = set()
    assert victim.stdout is not None
    for line in victim.stdout:
        acknowledged.add(line.strip())
        if len(acknowledged) == share // 2:
            os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    print(f"one of {WRITERS} killed after {len(acknowledged)} of its {share} records")
    writers.append(start(database, 0, share))
    for writer in writers:
        output, _ = writer.communicate()
        acknowledged |= set(output.split())
        assert writer.returncode == 0, writer.returncode
    took = time.perf_counter() - began
    with open_history(database, make=False) as history:
        check = history.check()
        entries = history.list().entries
    lost = acknowledged - {entry.sha256 for entry in entries}
    count = check.record_count
    print(f"{count} records in {took:.1f} s, {count / took:.0f} a second; "
          f"acknowledged {len(acknowledged)}, lost {len(lost)}; "
          f"check: {', '.join(check.problems) or 'whole'}")  # fmt: skip


def fill(database: Path, count: int) -> None:
    """Up to so many records, in one process."""
    template = RECORD.read_bytes()
    began = time.perf_counter()
    with open_history(database) as history:
        there = history.list(Filter(last=1)).total
        contents = (
            template.replace(b'"schema"', b'"more": %d, "schema"' % number, 1)
            for number in range(there, count)
        )
        history.add_items(Item("more.json", content, (), None, None) for content in contents)
    took = time.perf_counter() - began
    print(f"{count - there} more in {took:.1f} s, {(count - there) / took:.0f} a second; "
          f"the database has {database.stat().st_size / 1e6:.0f} MB")  # fmt: skip


def time_lists(database: Path) -> None:
    """Whole processes, the start of Python included."""
    model = ["--model", "mobilenet.tflite"]
    for arguments in ([], ["--all"], ["--all", "--json"], ["--all", *model]):
        times, before = [], resource.getrusage(resource.RUSAGE_CHILDREN)
        for _ in range(RUNS):
            began = time.perf_counter()
            command = [
                sys.executable,
                "-c",
                "from edgeq.cli import main; main()",
                "history",
                "list",
            ]
            done = subprocess.run(
                [*command, "--database", str(database), *arguments], check=True, capture_output=True
            )
            times.append(time.perf_counter() - began)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        work = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        shown = " ".join(["edgeq history list", *arguments])
        lines = done.stdout.count(b"\n")
        print(f"{shown}: median {statistics.median(times):.2f} s of {RUNS} ({min(times):.2f} to "
              f"{max(times):.2f}), of which {work / RUNS:.2f} s of processor time, "
              f"{lines} lines")  # fmt: skip


def main() -> None:
    """Print one line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--listed", type=int, default=100_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "history.sqlite"
        write(database, given.records)
        fill(database, given.listed)
        time_lists(database)


if __name__ == "__main__":
    main()
