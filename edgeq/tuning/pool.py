"""Trials on the cores of this machine, each worker a child process that may die."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from edgeq import host
from edgeq.children.child import TIME_LIMIT, Child, time_limit_s
from edgeq.errors import QuantizationError
from edgeq.files.storage import to_plain
from edgeq.tuning.content_store import Store
from edgeq.tuning.trial import Task

_ATTEMPTS = 2  # a worker that was killed by somebody else deserves another try
_FAREWELL_S = 5  # from the end of its output to its own end

# A task, and the fields of its `Trial`; {"failure": sentence} when it has none.
Outcome = tuple[Task, dict[str, Any]]


class Executor(Protocol):
    """The interface for trying recipes: local processes, or a cluster."""

    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """Try them all, in any order."""


class Worker:
    """A child process over a store; it starts at once, so that its imports overlap our work.

    Attributes:
        corrected: digests of the float models that it corrected files of.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self.corrected: set[str] = set()
        self._child: Child | None = None
        self._start()

    def ask(self, task: Task, want: str = "trial") -> Any:
        """The answer to a task, see `trial_worker`; {"failure": sentence} when there is none."""
        how = ""
        for _ in range(_ATTEMPTS):
            child = self._start()
            child.send(json.dumps({"task": to_plain(task), "want": want}))
            with child.limited(time_limit_s()):
                line = child.stdout.readline()
            if line.endswith(b"\n"):
                reply = json.loads(line)
                return reply if "failure" in reply else reply["ok"]
            status, how = child.end(_FAREWELL_S), child.ending
            if status >= 0 and (last := child.last_line("")):
                how += f" ({last})"
            self.close()
            if child.is_late:
                return {"failure": f"the worker {how}; set {TIME_LIMIT} to allow more"}
        return {"failure": f"the worker {how}, {_ATTEMPTS} times"}

    def close(self) -> None:
        """End the process at once."""
        child, self._child = self._child, None
        if child is not None:
            child.close()

    def _start(self) -> Child:
        if self._child is None:
            command = ["edgeq.tuning.trial_worker", str(self._folder)]
            self._child = Child(
                command, folders=[self._folder], late=True, feed=True, output="pipe"
            )
        return self._child


class LocalPool:
    """Child processes over one store.

    Args:
        jobs: how many, one per core by default.
    """

    def __init__(self, store: Store, jobs: int | None = None):
        count = jobs or host.core_count()
        self._workers = [Worker(store.folder) for _ in range(count)]
        self._free: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._free.put(worker)
        self._threads = ThreadPoolExecutor(count)
        self._choosing = threading.Lock()

    def __enter__(self) -> LocalPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.close()

    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """Try them all, as they finish."""
        waiting = list(tasks)
        futures = [self._threads.submit(self._run_one, waiting) for _ in tasks]
        for future in as_completed(futures):
            yield future.result()

    def _run_one(self, waiting: list[Task]) -> Outcome:
        """Run one of the tasks: one whose float results the free worker has, if there is one."""
        worker = self._free.get()
        try:
            with self._choosing:
                task = min(waiting, key=lambda task: self._effort(worker, task))
                waiting.remove(task)
                if task.recipe.corrections:
                    worker.corrected.add(task.source)
            return task, worker.ask(task)
        finally:
            self._free.put(worker)

    def _effort(self, worker: Worker, task: Task) -> int:
        """0 if the worker has what a correction needs of the float model, 2 if another one has."""
        if not task.recipe.corrections or task.source in worker.corrected:
            return 0
        return 1 + any(task.source in other.corrected for other in self._workers)

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
        """One answer of a worker, see `Worker.ask`."""
        worker = self._free.get()
        try:
            return worker.ask(task, want)
        finally:
            self._free.put(worker)
