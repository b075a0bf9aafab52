"""A worker process, as the coordinator sees it."""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar

from .job import JobError

ARCHIVE = Path(__file__).resolve().parents[1]  # the agent's one file, which Python runs
PATIENCE_S = 600.0  # without a sign of life: the worker has hung
SINGLE_THREADED = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

DOING = {
    "check": "importing the runtime",
    "enter": "starting a job",
    "rest": "ending a job",
    "pin": "choosing its cores",
    "load": "loading the model",
    "feed": "setting the inputs",
    "burst": "running the model",
    "infer": "running the model",
}


class Child:
    """A worker process that the coordinator has started.

    Args:
        deadline: of the job, on the monotonic clock.
        patience_s: seconds without a sign of life until the worker counts as hung.
    """

    alive: ClassVar[list[Child]] = []
    sandbox: ClassVar[str | None] = None  # its source, from the job
    home: ClassVar[str | None] = None  # of a kept agent: the folder of all its jobs
    idle: ClassVar[list[Child]] = []  # of a kept agent: each has a reply to receive

    def __init__(self, deadline: float | None, patience_s: float = PATIENCE_S):
        self.deadline, self.patience_s = deadline, patience_s
        self.doing, self.heard = "starting", time.monotonic()
        # In the job's folder: tempfile tests a temporary folder with a file, which a killed agent
        # would leave there.
        self.log = tempfile.TemporaryFile(dir=".")  # noqa: SIM115 -- lives as long as the worker
        replies, theirs = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, str(ARCHIVE), "worker", str(theirs), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=self.log,
            stderr=self.log,
            pass_fds=(theirs,),
            cwd=Child.home,
            # Threads that a library starts before the sandbox would not be confined.
            env=dict(os.environ, **SINGLE_THREADED),
        )
        os.close(theirs)
        self.replies = os.fdopen(replies, "rb", buffering=0)
        self.buffer = b""
        Child.alive.append(self)

    def send(self, call: str, **arguments: Any) -> None:
        """Start a call; `receive` returns its result."""
        if call in ("check", "load"):
            arguments["sandbox"] = Child.sandbox
        line = json.dumps({"call": call, "arguments": arguments}) + "\n"
        self.doing, self.heard = DOING.get(call, "measuring memory"), time.monotonic()
        assert self.process.stdin is not None
        # If the worker is dead, receive reports how it died.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(line.encode())
            self.process.stdin.flush()

    def receive(self) -> Any:
        """The result of the call that was sent.

        Raises:
            JobError: the call failed, the worker died or hangs, or the deadline passed.
        """
        while True:
            reply = self.poll(1.0)
            if reply is not None:
                return reply["ok"]

    def poll(self, patience_s: float) -> dict[str, Any] | None:
        """{"ok": result} if it comes within `patience_s`, or None; raises as `receive` does."""
        now = time.monotonic()
        left = min(patience_s, math.inf if self.deadline is None else self.deadline - now)
        ready, _, _ = select.select([self.replies], [], [], max(0.0, left))
        if ready:
            chunk = os.read(self.replies.fileno(), 65536)
            if not chunk:
                raise self.post_mortem()
            self.buffer += chunk
            self.heard = time.monotonic()
        while b"\n" in self.buffer:
            line, _, self.buffer = self.buffer.partition(b"\n")
            reply: dict[str, Any] = json.loads(line)
            if "error" in reply:
                error = reply["error"]
                raise JobError(error["code"], error["message"], error["details"] or self.tail())
            if "ok" in reply:
                return reply
        self.check_time()
        return None

    def check_time(self) -> None:
        """Kill the worker and raise JobError when its time is over."""
        now, tail = time.monotonic(), self.tail()
        if self.deadline is not None and now >= self.deadline:
            self.kill()
            raise JobError("timeout", "the model did not finish before the deadline", tail)
        if now - self.heard >= self.patience_s:
            self.kill()
            message = f"it hung: no sign of life for {self.patience_s:g} s while {self.doing}"
            raise JobError("hung", message, tail)

    def has_answered(self) -> bool:
        """Whether a reply, or the worker's end, waits to be received."""
        return bool(select.select([self.replies], [], [], 0.0)[0])

    def call(self, name: str, **arguments: Any) -> Any:
        """Send and receive."""
        self.send(name, **arguments)
        return self.receive()

    def post_mortem(self) -> JobError:
        """How the worker died, from its exit status."""
        try:
            status = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        if status >= 0:
            how = f"the worker ended with status {status} while {self.doing}"
            return JobError("crashed", how, self.tail())
        how = f"the worker was killed by {signal_name(-status)} while {self.doing}"
        extra = ", probably out of memory" if -status == signal.SIGKILL else ""
        return JobError("crashed", how + extra, self.tail())

    def tail(self) -> str:
        """The last lines that native code printed."""
        if self.log.closed:
            return ""
        # pread: the worker writes through the same file offset.
        begin = max(0, os.fstat(self.log.fileno()).st_size - 4096)
        return os.pread(self.log.fileno(), 4096, begin).decode("utf-8", "replace").strip()

    def kill(self) -> None:
        """End the worker, whatever it is doing."""
        self.process.kill()
        self.process.wait()
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
        self.replies.close()
        self.log.close()
        for known in (Child.alive, Child.idle):
            if self in known:
                known.remove(self)


def signal_name(number: int) -> str:
    """Name of a signal, such as SIGSEGV; real-time signals have only numbers."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
