"""Runs commands of edgeq one after another, each in a process of its own.

Jobs come in as JSON lines and answers go out so. It runs under strace (see `watch.py`) and looks at
its jobs from outside only: their exit status, how much memory their whole tree takes, who is left.
Commands run in a fork of this process, which has imported edgeq already; `whole` ones start anew.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

# A path that is not there: who tries to open it says which case the calls that follow belong to.
MARKER = "/edgeq-fuzz-case/"

# How the name of a reader of `direct.py` begins, in the place of a command.
DIRECT = "direct:"

_SUBREAPER = 36  # prctl: orphans of our jobs become our children, so that none escapes
_POLL_S = 0.02
_SAMPLE_S = 0.05
# What a dead command's children may take to see that they are alone.
_GRACE_S = 3.0
# More than any sound command takes: the job ends before the machine does.
_MOST_KB = 8 << 20
_PAGE_KB = os.sysconf("SC_PAGE_SIZE") >> 10


def warm() -> None:
    """Import what the commands import, once."""
    import asyncssh  # noqa: F401 - looks for a library by gcc and ldconfig, as it is imported
    import PIL.Image  # noqa: F401
    from ai_edge_litert import interpreter, schema_py_generated  # noqa: F401

    from edgeq import cli

    for module in (
        "edgeq.api", "edgeq.history.store", "edgeq.history.writing",
        "edgeq.inspection.contents", "edgeq.packaging.assembly.build",
        "edgeq.packaging.verification.verify", "edgeq.records.reading",
    ):  # fmt: skip
        importlib.import_module(module)
    for name in cli.cli.list_commands(None):  # type: ignore[arg-type]
        cli.cli.get_command(None, name)  # type: ignore[arg-type]


def children(pid: int) -> list[int]:
    """Every descendant of a process that is there."""
    found: list[int] = []
    pending = [pid]
    while pending:
        folder = f"/proc/{pending.pop()}/task"
        try:
            own = [int(word) for task in os.listdir(folder)  # noqa: PTH208 - ten times as fast
                   for word in Path(folder, task, "children").read_text().split()]  # fmt: skip
        except OSError:
            continue  # it has ended
        found += own
        pending += own
    return found


def resident_kb(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_KB
    except (OSError, IndexError):
        return 0


def command_line(pid: int) -> str:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        text = (
            Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        )
    except OSError:
        return ""
    return "" if state == "Z" else text.strip()


def start(job: dict[str, Any]) -> NoReturn:
    """Become the command."""
    folder = Path(job["folder"])
    for name in ("stdout", "stderr"):
        handle = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(handle, 1 if name == "stdout" else 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    with suppress(FileNotFoundError):
        os.close(os.open(MARKER + job["case"], os.O_RDONLY))
    os.chdir(folder / "work")
    os.environ.update({"TMPDIR": str(folder / "tmp"), "HOME": str(folder / "home")})
    tempfile.tempdir = None
    os.setsid()
    if job["program"]:
        os.execvp(job["program"][0], job["program"])
    sys.argv = ["edgeq", *job["arguments"]]
    status = 0
    try:
        _call(job["arguments"])
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - what Python itself would do
        traceback.print_exc()
        status = 1
    try:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _call(arguments: list[str]) -> None:
    if arguments[0].startswith(DIRECT):
        from tests.fuzzing import direct

        direct.main(arguments[0].removeprefix(DIRECT), arguments[1])
    from edgeq.cli import main

    main(arguments)


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Run one command to its end, or to that which the job has set."""
    begun = time.monotonic()
    pid = os.fork()
    if pid == 0:
        start(job)
    peak, sampled, is_late, is_killed = 0, 0.0, False, False
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            break
        now = time.monotonic() - begun
        if now - sampled >= _SAMPLE_S:
            sampled = now
            peak = max(peak, sum(map(resident_kb, [pid, *children(pid)])))
        if job["kill_after_s"] is not None and now >= job["kill_after_s"]:
            os.kill(pid, signal.SIGKILL)
            is_killed = True
        elif now >= job["deadline_s"] or peak > _MOST_KB:
            is_late = now >= job["deadline_s"]
            for process in (pid, *children(pid)):
                _kill(process)
        time.sleep(_POLL_S if now > 0.2 else 0.002)
    left = _wait_for_rest()
    return {
        "status": os.waitstatus_to_exitcode(status), "is_late": is_late, "is_killed": is_killed,
        "seconds": time.monotonic() - begun, "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_kb": max(peak, usage.ru_maxrss), "left": left,
    }  # fmt: skip


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):  # it has ended
        os.kill(pid, signal.SIGKILL)


def _wait_for_rest() -> list[str]:
    """Processes that outlive their command, as their command lines; they are ended then."""
    until = time.monotonic() + _GRACE_S
    while True:
        _reap()
        left = [pid for pid in children(os.getpid()) if command_line(pid)]
        if not left:
            return []
        if time.monotonic() > until:
            break
        time.sleep(_POLL_S)
    lines = [command_line(pid) for pid in left]
    while left:
        for pid in left:
            _kill(pid)
        time.sleep(_POLL_S)
        _reap()
        left = children(os.getpid())
    return lines


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def main() -> None:
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warm()
    print(json.dumps({"ready": True}), file=replies, flush=True)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), file=replies, flush=True)


if __name__ == "__main__":
    main()
