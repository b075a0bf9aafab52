"""The task `profile`: times each operator of the models."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .child import ARCHIVE, Child, signal_name
from .job import JobError, emit

PROFILE_TURNS = 3  # processes per model


def run_profile(job: dict[str, Any], deadline: float | None) -> dict[str, Any]:
    """Time each operator of the models, which alternate; each turn is a new process."""
    found: list[dict[str, Any]] = [{"turns": []} for _ in job["models"]]
    turns = min(PROFILE_TURNS, job["runs"])
    for number in range(turns):
        size = job["runs"] // turns + (number < job["runs"] % turns)
        for index, model in enumerate(job["models"]):
            done = number * len(found) + index
            emit("progress", step="profile", done=done, total=turns * len(found))
            if "error" not in found[index]:
                try:
                    turn = profile_once(model, job["threads"], size, deadline)
                    found[index]["runtime"] = turn.pop("runtime")
                    found[index]["turns"].append(turn)
                except JobError as error:
                    found[index] = {"error": error.plain()}
    return {"models": found}


def profile_once(model: str, threads: int, runs: int, deadline: float | None) -> dict[str, Any]:
    """The result of one process of the profiler.

    Raises:
        JobError: it reports an error, crashes, or does not end before the deadline.
    """
    result = Path("profile.json")
    with contextlib.suppress(FileNotFoundError):
        result.unlink()
    arguments = [model, str(result), str(threads), str(runs)]
    left = None if deadline is None else max(0.0, deadline - time.monotonic())
    with tempfile.TemporaryFile(dir=".") as log:
        try:
            done = subprocess.run(
                [sys.executable, str(ARCHIVE), "profile", str(os.getpid()), *arguments],
                input=json.dumps(Child.sandbox).encode(),
                stdout=log,
                stderr=log,
                timeout=left,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            message = "the profiler did not finish before the deadline"
            raise JobError("timeout", message) from error
        log.seek(max(0, log.tell() - 4096))
        tail = log.read().decode("utf-8", "replace").strip()
    if done.returncode < 0:
        raise JobError(
            "crashed", f"the profiler was killed by {signal_name(-done.returncode)}", tail
        )
    if done.returncode > 0 or not result.exists():
        raise JobError("crashed", f"the profiler ended with status {done.returncode}", tail)
    found: dict[str, Any] = json.loads(result.read_text("utf-8"))
    if "error" in found:
        refused = found["error"]
        raise JobError(refused["code"], refused["message"], refused["details"] or tail)
    return found
