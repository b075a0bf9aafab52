"""SIGKILL of edgeq alone at random moments, and the next run of the same command."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzzing import samples, truth
from tests.fuzzing.driving import Finding, Outcome, Session, judge
from tests.fuzzing.kinds import Command, Files, all_of, inside, taken

_DATA = "--data", "data.npz", "--test-data", "test.npz"
_DEADLINE_S = 240.0


@dataclass(frozen=True)
class Job:
    """A command that is ended in the middle.

    Attributes:
        check: what it says of its command, so that both runs can be looked at.
    """

    name: str
    files: Callable[[Path], Files]
    command: Command
    check: Callable[[Path, Path], list[str]] = lambda case, folder: []


def _check_run(case: Path, folder: Path) -> list[str]:
    """The conversion was measured on a part of its own samples, the comparison on the test data."""
    build = case / "build"
    found = truth.check_conversion(build, "tiny.tflite", None)
    compared, output = build / "tiny.compare-local.json", build / "tiny.tflite"
    if compared.exists() and output.exists():
        quality = json.loads(compared.read_text())["quality"]
        found += truth.check_quality(quality, output, folder / "test.npz", case / "tiny.tflite")
    return found


def _check_history(case: Path, folder: Path) -> list[str]:
    import sqlite3

    if not (case / "h.sqlite").exists():
        return []
    with sqlite3.connect(case / "h.sqlite") as connection:
        (word,) = connection.execute("PRAGMA integrity_check").fetchone()
    return [] if word == "ok" else [f"SQLite says {word}"]


JOBS = (
    Job(
        "convert",
        taken("tiny.tflite", "data.npz", "test.npz"),
        ("convert", "tiny.tflite", *_DATA, "-o", "out.tflite"),
        lambda case, folder: truth.check_conversion(
            case, "out.tflite", folder / "test.npz", case / "tiny.tflite"
        ),
    ),
    Job("tune", taken("tiny.tflite", "data.npz", "test.npz"), samples.tune_arguments()),
    Job(
        "run",
        taken("tiny.tflite", "data.npz", "test.npz", edgeq_toml="project.toml"),
        ("run",),
        _check_run,
    ),
    Job(
        "package",
        taken("int8.tflite", "test.npz", "labels.txt"),
        (
            "package",
            "int8.tflite",
            "--target",
            "python",
            "--data",
            "test.npz",
            "--labels",
            "labels.txt",
            "-o",
            "p",
        ),
    ),
    Job(
        "history",
        all_of(taken("export.zip"), inside("export")),
        ("history", "import", "export.zip", "--database", "h.sqlite"),
        _check_history,
    ),
)


def run_kills(
    session: Session, folder: Path, *, count: int, seed: int, jobs: Sequence[Job] = JOBS
) -> Outcome:
    """`count` kills, of the commands in turn."""
    outcome = Outcome("kills")
    lengths = {}
    for job in jobs[:count]:
        case = f"kills-sound-{job.name}"
        session.write(case, job.files(folder))
        done = session.run(case, job.command, deadline_s=_DEADLINE_S, is_whole=True)
        if done["status"] != 0:
            text = (session.folder(case) / "stderr").read_text("utf-8", "replace")
            raise RuntimeError(f"edgeq {job.name} does not do its work: {text}")
        lengths[job.name] = done["seconds"], done["peak_kb"]
    for number in range(count):
        job = jobs[number % len(jobs)]
        found = _kill(session, folder, job, f"kills-{number:04}", seed, *lengths[job.name])
        outcome.findings += found
        outcome.cases += 1
        if not found:
            shutil.rmtree(session.folder(f"kills-{number:04}"))
    return outcome


def _kill(
    session: Session, folder: Path, job: Job, case: str, seed: int, seconds: float, sound_kb: int
) -> list[Finding]:
    session.write(case, job.files(folder))
    moment = random.Random(f"{seed}/{case}").uniform(0.02, 1.0) * seconds
    own = session.folder(case)
    found = []
    for kill_after_s in (moment, None):
        done = session.run(
            case, job.command, deadline_s=_DEADLINE_S, is_whole=True, kill_after_s=kill_after_s
        )
        found += judge(case, own, done, sound_kb)
        found += [Finding(case, "truth", text) for text in job.check(own / "work", folder)]
    if done["status"] != 0:
        found.append(Finding(case, "status", f"edgeq {job.name} after a kill at {moment:.2f} s: "
                             f"exit status {done['status']}"))  # fmt: skip
    return found
