"""A worker process, as the coordinator sees it."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from .job import JobError

ARCHIVE = Path(__file__).resolve().parents[1]  # the agent's one file, which Python runs
TAIL_BYTES = 4096  # of what native code printed
PATIENCE_S = 600.0  # without a sign of life: the worker has hung
FIRST_CRASH = 0xC0000000  # exit statuses of Windows from here on are NTSTATUS errors
SINGLE_THREADED = {
    **dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    # TensorFlow imports pandas where it is installed, and pandas pyarrow, whose allocator has one.
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}

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
    news: ClassVar[threading.Condition] = threading.Condition()  # of replies
    home: ClassVar[str | None] = None  # of a kept agent: the folder of all its jobs
    idle: ClassVar[list[Child]] = []  # of a kept agent: each has a reply to receive

    def __init__(self, deadline: float | None, patience_s: float = PATIENCE_S):
        self.deadline, self.patience_s = deadline, patience_s
        self.doing, self.heard = "starting", time.monotonic()
        self.lines: deque[bytes] = deque()  # replies that were not polled yet
        self.is_over = False  # no more of them come
        self.printed = b""
        self.process = subprocess.Popen(
            [sys.executable, str(ARCHIVE), "worker", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=Child.home,
            # Threads that a library starts before the sandbox would not be confined.
            env=dict(os.environ, **SINGLE_THREADED),
        )
        self.readers = [
            threading.Thread(target=work, daemon=True) for work in (self._listen, self._keep_log)
        ]
        for reader in self.readers:
            reader.start()
        Child.alive.append(self)

    def _listen(self) -> None:
        """Read replies: threads do it, because Windows cannot wait for several pipes."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with Child.news:
                self.lines.append(line)
                self.heard = time.monotonic()
                Child.news.notify_all()
        with Child.news:
            self.is_over = True
            Child.news.notify_all()

    def _keep_log(self) -> None:
        assert self.process.stderr is not None
        while chunk := os.read(self.process.stderr.fileno(), TAIL_BYTES):
            self.printed = (self.printed + chunk)[-TAIL_BYTES:]

    def send(self, call: str, **arguments: Any) -> None:
        """Start a call; `receive` returns its result."""
        if call in ("check", "load"):
            arguments["sandbox"] = Child.sandbox
        line = json.dumps({"call": call, "arguments": arguments}) + "\n"
        self.doing, self.heard = DOING.get(call, "measuring memory"), time.monotonic()
        assert self.process.stdin is not None
        # If the worker is dead, receive reports how it died.
        with contextlib.suppress(OSError):
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
        with Child.news:
            Child.news.wait_for(self.has_answered, max(0.0, left))
            line = self.lines.popleft() if self.lines else None
            is_over = self.is_over
        if line is not None and line.endswith(b"\n"):  # not cut off by its death
            reply: dict[str, Any] = json.loads(line)
            if "error" in reply:
                error = reply["error"]
                raise JobError(error["code"], error["message"], error["details"] or self.tail())
            if "ok" in reply:
                return reply
        elif is_over:
            raise self.post_mortem()
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
        return bool(self.lines) or self.is_over

    @staticmethod
    def wait_for_any(children: Sequence[Child], patience_s: float) -> None:
        """Wait until one of them has answered, or this time is over."""
        with Child.news:
            Child.news.wait_for(lambda: any(c.has_answered() for c in children), patience_s)

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
        self._join()
        if status >= FIRST_CRASH:
            how = f"the worker crashed with the error 0x{status:08X} while {self.doing}"
            return JobError("crashed", how, self.tail())
        if status >= 0:
            how = f"the worker ended with status {status} while {self.doing}"
            return JobError("crashed", how, self.tail())
        name = signal_name(-status)
        how = f"the worker was killed by {name} while {self.doing}"
        extra = ", probably out of memory" if name == "SIGKILL" else ""
        return JobError("crashed", how + extra, self.tail())

    def tail(self) -> str:
        """The last lines that native code printed."""
        return self.printed.decode("utf-8", "replace").strip()

    def _join(self) -> None:
        """Wait until all that the dead worker wrote is read."""
        for reader in self.readers:
            reader.join(5.0)

    def kill(self) -> None:
        """End the worker, whatever it is doing."""
        self.process.kill()
        self.process.wait()
        self._join()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            with contextlib.suppress(OSError):  # stdin may hold a call that nobody reads
                stream.close()
        for known in (Child.alive, Child.idle):
            if self in known:
                known.remove(self)


def signal_name(number: int) -> str:
    """Name of a signal, such as SIGSEGV; real-time signals have only numbers."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
