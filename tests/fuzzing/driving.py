"""Runs cases and judges them from outside: see `Session`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.fuzzing import hostile
from tests.fuzzing.direct import MOST_S
from tests.fuzzing.kinds import Command, Kind, damaged
from tests.fuzzing.server import DIRECT
from tests.fuzzing.watch import STRACE, Event, Watcher

MOST_ABOVE_SOUND_KB = 1 << 20
# Models that one child opens: a child that dies takes no more with it.
_BATCH = 25
STATUSES = (0, 1, 2, 3, 4)
# Temporary files beside an output, and folders in the temporary folder, of which none may stay.
_TEMPORARY = re.compile(r"^\..*\.(tmp|lock)$")
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Finding:
    """Something that must not be.

    Attributes:
        check: which: "traceback", "status", "silence", "late", "memory", "left", "truth",
            "program", "file", "socket", "read" or "other".
        is_denied: the kernel refused it, so that it is told and does not count.
    """

    case: str
    check: str
    text: str
    is_denied: bool = False


@dataclass
class Outcome:
    """What all cases of a kind came to."""

    name: str
    cases: int = 0
    accepted: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    sound_kb: int = 0
    most_kb: int = 0
    findings: list[Finding] = field(default_factory=list)


class Session:
    """A server of commands under strace, and the folder that its cases lie in.

    Args:
        work: a new folder; cases with findings stay in it.
        canary: a file that no case may open.
    """

    def __init__(self, work: Path, canary: Path):
        self._folder = work / "cases"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._log = work / "strace.log"
        self._canary = canary
        # Numeric libraries start threads that a fork would not have.
        environment = {
            **os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(_ROOT),
            "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "100", "TERM": "dumb",
        }  # fmt: skip
        for name in ("EDGEQ_HISTORY", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
            environment.pop(name, None)
        self._errors = (work / "server.log").open("w+")
        self._server = subprocess.Popen(
            [*STRACE, "-o", self._log, sys.executable, "-m", "tests.fuzzing.server"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True,
            env=environment, cwd=_ROOT,
        )  # fmt: skip
        self._answer()
        self._events: dict[str, list[Event]] | None = None

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> dict[str, list[Event]]:
        """End the server; what its cases' processes did, by case."""
        if self._events is None:
            assert self._server.stdin is not None
            self._server.stdin.close()
            self._server.wait()
            assert self._server.stdout is not None
            self._server.stdout.close()
            self._errors.close()
            self._events = Watcher(self._folder, self._canary).read(self._log)
            self._log.unlink()
        return self._events

    def _answer(self) -> dict[str, Any]:
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise RuntimeError(f"the server of commands has ended: {self._errors.read()[-2000:]}")
        return dict(json.loads(line))

    def folder(self, case: str) -> Path:
        """Where a case lies: its files in `work`, what it printed in `stdout` and `stderr`."""
        return self._folder / case

    def write(self, case: str, files: Mapping[str, bytes]) -> None:
        """Lay a case's files down."""
        for name in ("work", "tmp", "home"):
            (self.folder(case) / name).mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            path = self.folder(case) / "work" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def run(
        self, case: str, command: Sequence[str], *, deadline_s: float, is_whole: bool = False,
        kill_after_s: float | None = None, program: Sequence[str] = (),
    ) -> dict[str, Any]:  # fmt: skip
        """Run a command of edgeq in a case's folder; what the server says of it."""
        if is_whole:
            program = (str(Path(sys.executable).parent / "edgeq"), *command)
        job = {
            "case": case, "folder": str(self.folder(case)), "arguments": list(command),
            "program": list(program), "deadline_s": deadline_s, "kill_after_s": kill_after_s,
        }  # fmt: skip
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        return self._answer()


def leftovers(folder: Path) -> list[str]:
    """Temporary files and folders that a case's commands left."""
    beside = [path for path in (folder / "work").rglob("*") if _TEMPORARY.match(path.name)]
    inside = (folder / "tmp").iterdir()
    return [str(path.relative_to(folder)) for path in (*beside, *inside)]


def judge(case: str, folder: Path, done: Mapping[str, Any], sound_kb: int | None) -> list[Finding]:
    """What is wrong with a finished command, all but what strace and the truth tell."""
    printed = [(folder / name).read_text("utf-8", "replace") for name in ("stdout", "stderr")]
    found: list[tuple[str, str]] = []
    whole = "\n".join(printed)
    if "Traceback (most recent call last)" in whole:
        found.append(("traceback", _last_of_traceback(whole)))
    if done["is_late"]:
        found.append(("late", f"no end after {done['seconds']:.0f} s"))
    elif done["status"] not in STATUSES and not done["is_killed"]:
        found.append(("status", f"exit status {done['status']}"))
    elif done["status"] and not done["is_killed"] and not whole.strip():
        found.append(("silence", f"exit status {done['status']} without a word"))
    if done["left"]:
        found.append(("left", f"processes: {'; '.join(line[:80] for line in done['left'])}"))
    if sound_kb is not None and done["peak_kb"] > sound_kb + MOST_ABOVE_SOUND_KB:
        found.append(
            ("memory", f"{done['peak_kb'] >> 10} MB, and {sound_kb >> 10} MB for the sound file")
        )
    if not done["is_killed"]:
        found += [("left", path) for path in leftovers(folder)]
    return [Finding(case, check, text) for check, text in found]


def _last_of_traceback(text: str) -> str:
    lines = text[text.rindex("Traceback (most recent call last)") :].splitlines()
    places = [line.strip() for line in lines if line.startswith("  File ") and "edgeq" in line]
    errors = [line for line in lines[1:] if line and not line.startswith((" ", "\t"))]
    place = re.sub(
        r'File "\S*/((?:edgeq|converters|device_runners)/\S+)"', r"\1", (places or [""])[-1]
    )
    return f"{(errors or [''])[0][:160]} ({place})"


def run_kind(
    kind: Kind, session: Session, samples: Path, *, each: int, seed: int, first: int = 0
) -> Outcome:
    """All cases of a kind; what strace saw is added by `add_events`."""
    outcome = Outcome(kind.name)
    numbers = range(first, first + each)
    # The first is the one that accepts every sound file.
    commands = dict.fromkeys(kind.commands[number % len(kind.commands)] for number in (0, *numbers))
    outcome.sound_kb, found = run_sound(kind, session, samples, [*commands])
    outcome.findings += found
    for number in numbers:
        case = f"{kind.name}-{number:04}"
        files, command = damaged(kind, samples, seed, number)
        session.write(case, files)
        done = _run(kind, session, case, command)
        found = judge(case, session.folder(case), done, outcome.sound_kb)
        if kind.then is not None:
            then = _run(kind, session, case, kind.then)
            found += judge(case, session.folder(case), then, outcome.sound_kb)
        found += _judge_truth(kind, session, case, samples, done)
        outcome.cases += 1
        outcome.accepted += done["status"] == 0
        outcome.cpu_s += done["cpu_s"]
        outcome.most_kb = max(outcome.most_kb, done["peak_kb"])
        outcome.findings += dict.fromkeys(found)
        if not found:
            shutil.rmtree(session.folder(case))
    return outcome


def run_batches(
    kind: Kind, session: Session, samples: Path, *, each: int, seed: int, first: int = 0
) -> Outcome:
    """The same files as `run_kind`, lowered by few children, whose start takes the longest."""
    outcome = Outcome(f"{kind.name}-lowered")
    outcome.sound_kb = run_batch(outcome, session, "sound", {"0": kind.files(samples)}, None)
    models = {
        f"{number:04}": damaged(kind, samples, seed, number)[0]
        for number in range(first, first + each)
    }
    names = [*models]
    for start in range(0, each, _BATCH):
        batch = {name: models[name] for name in names[start : start + _BATCH]}
        run_batch(outcome, session, f"{start:04}", batch, outcome.sound_kb)
    return outcome


def run_batch(
    outcome: Outcome,
    session: Session,
    name: str,
    models: Mapping[str, Mapping[str, bytes]],
    sound_kb: int | None,
) -> int:
    """Lower models in one child; the most memory that it took.

    Args:
        models: files of each, of which those called `m` and an ending are the model.
    """
    case = f"{outcome.name}-{name}"
    files = {
        f"models/{model}{path[1:]}": content
        for model, own in models.items()
        for path, content in own.items()
        if path.startswith(("m.", "m/"))
    }
    session.write(case, files)
    deadline_s = 120.0 + 20 * len(models)
    done = session.run(case, [f"{DIRECT}lowered", "models"], deadline_s=deadline_s)
    found = judge(case, session.folder(case), done, sound_kb)
    told = (session.folder(case) / "stdout").read_text("utf-8", "replace")
    late = re.findall(r"(.*): late\n", told)
    found += [Finding(case, "late", f"{model} was not lowered in {MOST_S} s") for model in late]
    seen = told.count(": lowered\n") + told.count(": refused: ") + len(late)
    if seen != len(models):
        found.append(Finding(case, "status", f"it ended after {seen} of {len(models)} models"))
    if sound_kb is not None:
        outcome.cases += len(models)
        outcome.accepted += told.count(": lowered\n")
    outcome.cpu_s += done["cpu_s"]
    outcome.most_kb = max(outcome.most_kb, done["peak_kb"])
    outcome.findings += found
    if not found:
        shutil.rmtree(session.folder(case))
    return int(done["peak_kb"])


def run_hostile(
    session: Session, samples: Path, outside: Path, *, count: int, seed: int, has: Sequence[str]
) -> Outcome:
    """Some of the hostile models, of every kind; has: frameworks whose Python is there."""
    outcome = Outcome("hostile")
    limits = _measure_sound(session, samples, has)
    outcome.sound_kb = max(limits.values())
    models = [item for item in hostile.every(samples, outside) if item.needs in (None, *has)]
    chosen = hostile.choose(models, count, seed)
    for needs in (None, *has):
        own = {
            item.name: item
            for item in chosen
            if item.needs == needs and not item.name.startswith("tflite")
        }
        for start in range(0, len(own), _BATCH):
            batch = {name: own[name].make() for name in [*own][start : start + _BATCH]}
            run_batch(outcome, session, f"{needs}-{start}", batch, outcome.sound_kb)
    for item in (item for item in chosen if item.name.startswith("tflite")):
        case = f"hostile-{item.name}"
        session.write(case, item.make())
        done = session.run(case, item.command, deadline_s=240, is_whole=True)
        found = judge(case, session.folder(case), done, limits[item.name.partition("-")[0]])
        outcome.cases += 1
        outcome.accepted += done["status"] == 0
        outcome.most_kb = max(outcome.most_kb, done["peak_kb"])
        outcome.findings += found
        if not found:
            shutil.rmtree(session.folder(case))
    return outcome


def _measure_sound(session: Session, samples: Path, has: Sequence[str]) -> dict[str, int]:
    """Memory that sound models of each kind take."""
    found = {}
    names = {"keras": "tiny.keras", "h5": "legacy.h5", "saved": "saved", "tflite": "tiny.tflite"}
    names |= {"pt2": "dynamic.pt2"} if "torch" in has else {}
    names |= {"onnx": "tiny.onnx"} if "onnx" in has else {}
    for kind, name in names.items():
        case = f"hostile-sound-{kind}"
        session.write(case, {})
        command = "convert", str(samples / name), "--scheme", "fp16", "-o", "out.tflite"
        found[kind] = session.run(case, command, deadline_s=240, is_whole=True)["peak_kb"]
    return found


def run_sound(
    kind: Kind, session: Session, samples: Path, commands: Sequence[Command]
) -> tuple[int, list[Finding]]:
    """Some of the kind's commands on its sound files: how much memory they take, and what is
    wrong.
    """
    most, found, statuses = 0, [], set()
    for number, command in enumerate(commands):
        case = f"{kind.name}-sound{number}"
        session.write(case, kind.files(samples))
        done = _run(kind, session, case, command)
        most, statuses = max(most, done["peak_kb"]), {*statuses, done["status"]}
        found += judge(case, session.folder(case), done, None)
        found += _judge_truth(kind, session, case, samples, done)
    if kind.is_accepted and 0 not in statuses:
        found.append(Finding(f"{kind.name}-sound", "sound", "no command accepts the sound file"))
    return most, found


def _run(kind: Kind, session: Session, case: str, command: Command) -> dict[str, Any]:
    return session.run(case, command, deadline_s=kind.deadline_s, is_whole=kind.is_framework)


def _judge_truth(
    kind: Kind, session: Session, case: str, samples: Path, done: Mapping[str, Any]
) -> list[Finding]:
    if kind.truth is None or done["status"] != 0:
        return []
    try:
        wrong = kind.truth(session.folder(case) / "work", samples)
    except Exception as error:  # noqa: BLE001 - accepted, and not readable by other means: told
        wrong = [f"accepted, and cannot be checked: {error!r}"[:200]]
    return [Finding(case, "truth", text) for text in wrong]


def add_events(outcome: Outcome, events: Mapping[str, Sequence[Event]]) -> None:
    """What strace saw in the cases of a kind."""
    for case, seen in events.items():
        if case.startswith(f"{outcome.name}-"):
            outcome.findings += [
                Finding(case, event.kind, event.text, event.is_denied)
                for event in dict.fromkeys(seen)
            ]
