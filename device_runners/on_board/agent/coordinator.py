"""The coordinator: does a job, or prints what the machine is."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from .bench import run_bench
from .child import Child
from .facts import machine_facts
from .infer import run_infer, start_ready
from .job import PROTOCOL, JobError, emit
from .profile import run_profile


def coordinate(folder: str | None, *, is_kept: bool = False) -> None:
    """Do the job in a folder or, without one, print the facts of this machine.

    Args:
        is_kept: the folder is for many jobs, which stdin names.
    """
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK"):  # of Windows is the last
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), stop)
    try:
        if folder is None:
            print(json.dumps(machine_facts()))
        elif is_kept:
            keep(folder)
        else:
            run_job(folder)
    finally:
        for child in list(Child.alive):
            child.kill()


def keep(folder: str) -> None:
    """Start workers, and do one job after the other with them until stdin ends.

    The workers are confined to the folder of all jobs.
    """
    os.chdir(folder)
    plan = json.loads(sys.stdin.readline())
    Child.sandbox, Child.home = plan["sandbox"], folder
    for _ in range(plan["workers"]):
        start_ready(plan["runtime"])
    for line in sys.stdin:
        run_job(json.loads(line))
        os.chdir(folder)  # Windows removes no folder in which a process works


def stop(number: int, frame: Any) -> None:
    """On a signal, end the workers too."""
    sys.exit(128 + number)


def run_job(folder: str) -> None:
    """Do a job and write its result.

    There is a result even when every model failed: {"facts", "models": [{...} or {"error"}]}.
    """
    os.chdir(folder)
    job = json.loads(Path("job.json").read_text("utf-8"))
    if job["protocol"] != PROTOCOL:
        raise SystemExit(f"this agent speaks protocol {PROTOCOL}, the job {job['protocol']}")
    Child.sandbox = job.get("sandbox")
    limit = job.get("deadline_s")
    deadline = None if limit is None else time.monotonic() + limit
    tasks = {"bench": run_bench, "infer": run_infer, "check": run_check, "profile": run_profile}
    result = {"protocol": PROTOCOL, "facts": machine_facts()}
    result.update(tasks[job["task"]](job, deadline))
    Path("result.json.tmp").write_bytes(json.dumps(result).encode())
    Path("result.json.tmp").replace("result.json")
    emit("end", result="result.json")


def run_check(job: dict[str, Any], deadline: float | None) -> dict[str, Any]:
    """The task `check`: import a runtime in a child process, where it may crash."""
    child = Child(deadline)
    try:
        gaps = child.call("check", runtime=job["runtime"])
    except JobError as error:
        return {"error": error.plain(), "sandbox": None}
    finally:
        child.kill()
    return {"error": None, "sandbox": gaps}
