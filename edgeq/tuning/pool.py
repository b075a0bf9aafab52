"""Trials on the cores of this machine, each worker a child process that may die."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from edgeq.children import launch
from edgeq.errors import QuantizationError
from edgeq.files.storage import to_plain
from edgeq.tuning.content_store import Store
from edgeq.tuning.trial import Task

_ATTEMPTS = 2  # a worker that was killed by somebody else deserves another try
_FAREWELL_S = 5  # from the end of its output to its own end
_LOG_TAIL_BYTES = 2048

# A task, and the fields of its `Trial`; {"failure": sentence} when it has none.
Outcome = tuple[Task, dict[str, Any]]


class Executor(Protocol):
    """Whoever tries recipes."""

    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """Try them all, in any order."""


class Child:
    """A worker process over a store; it starts at once, so that its imports overlap our work."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None
        self._log: Any = None
        self._start()

    def ask(self, task: Task, want: str = "trial") -> Any:
        """What a worker says, see `trial_worker`; {"failure": sentence} when it cannot."""
        how = ""
        for _ in range(_ATTEMPTS):
            process = self._start()
            assert process.stdin is not None and process.stdout is not None
            line = ""
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps({"task": to_plain(task), "want": want}) + "\n")
                process.stdin.flush()
                line = process.stdout.readline()
            if line.endswith("\n"):
                reply = json.loads(line)
                return reply if "failure" in reply else reply["ok"]
            how = self._bury()
        return {"failure": f"the worker {how}, {_ATTEMPTS} times"}

    def close(self) -> None:
        """End the process at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._bury()

    def _start(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._log = tempfile.TemporaryFile()  # noqa: SIM115 -- lives as long as the process
            self._process = launch.start(
                ["edgeq.tuning.trial_worker", str(self._folder)],
                folders=[self._folder],
                late=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
                encoding="utf-8",
            )
        return self._process

    def _bury(self) -> str:
        """End the process and say how it ended."""
        process, self._process = self._process, None
        assert process is not None
        try:
            code = process.wait(_FAREWELL_S)
        except subprocess.TimeoutExpired:  # it closed its output and lives on
            os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
        last = self._log.read().decode("utf-8", "replace").strip().splitlines()[-1:]
        self._log.close()
        ended = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        return f"{ended} ({last[0]})" if last and code >= 0 else ended


class LocalPool:
    """Child processes over one store.

    Args:
        jobs: how many, one per core by default.
    """

    def __init__(self, store: Store, jobs: int | None = None):
        count = jobs or len(os.sched_getaffinity(0))
        self._children = [Child(store.folder) for _ in range(count)]
        self._free: queue.SimpleQueue[Child] = queue.SimpleQueue()
        for child in self._children:
            self._free.put(child)
        self._threads = ThreadPoolExecutor(count)

    def __enter__(self) -> LocalPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for child in self._children:
            child.close()

    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """Try them all, as they finish."""
        futures = {self._threads.submit(self.ask, task): task for task in tasks}
        for future in as_completed(futures):
            yield futures[future], future.result()

    def make(self, task: Task) -> str:
        """Put a file into the store; its digest.

        Raises:
            QuantizationError: it cannot be made.
        """
        reply = self.ask(task, "file")
        if "failure" in reply:
            raise QuantizationError(f"The file cannot be made: {reply['failure']}.")
        return str(reply["sha256"])

    def ask(self, task: Task, want: str = "trial") -> Any:
        """One answer of a worker, see `Child.ask`."""
        child = self._free.get()
        try:
            return child.ask(task, want)
        finally:
            self._free.put(child)
