"""Trials on a Dask cluster that the user already has.

Tasks name their files by digest, so each worker receives a file once. If a worker dies, nothing is
lost: Dask gives its tasks to another worker, and files that only the dead worker had are sent
again.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from edgeq.errors import ClusterError, MissingExtraError
from edgeq.files import scratch
from edgeq.files.storage import to_plain
from edgeq.tuning.content_store import Store
from edgeq.tuning.pool import Outcome, Worker
from edgeq.tuning.trial import Task, read_task
from edgeq.version import VERSION

_ANSWER_S = 10  # for a scheduler to answer
_FRUITLESS_ROUNDS = 5  # rounds in a row that lose every task, before the search stops
_PAUSE_S = 1  # after such a round, one more second each time, for the scheduler to recover

_worker = threading.local()  # one store and one child for each thread of a Dask worker


def run_remote(version: str, plain: Mapping[str, Any], files: Mapping[str, bytes]) -> Any:
    """One trial on a worker of the cluster.

    Args:
        version: of the edgeq that asks.
        plain: the task.
        files: digest to content of all it needs.

    Returns:
        The fields of its `Trial`; {"version": ...} if this worker has a different version of edgeq.
    """
    if version != VERSION:
        return {"version": VERSION}
    if not hasattr(_worker, "child"):
        stack = ExitStack()
        _worker.store = Store(stack.enter_context(scratch.folder()))
        atexit.register(stack.close)
        _worker.child = Worker(_worker.store.folder)
    for digest, content in files.items():
        if not _worker.store.path(digest).exists():
            _worker.store.put(content)
    return _worker.child.ask(read_task(plain))


class DaskCluster:
    """The workers behind a scheduler.

    Args:
        address: of the scheduler, e.g. "tcp://host:8786".

    Raises:
        MissingExtraError: Dask is not installed here.
        ClusterError: nobody answers there, or there are no workers.
    """

    def __init__(self, address: str, store: Store):
        try:
            import distributed
        except ImportError as error:
            raise MissingExtraError(
                "--cluster needs Dask, which is not installed here.",
                hint='Install it with: pip install "edgeq[cluster]"',
            ) from error
        self._dask, self._address, self._store = distributed, address, store
        self._sent: dict[str, Any] = {}
        try:
            self._client = distributed.Client(
                address, timeout=_ANSWER_S, set_as_default=False, name="edgeq"
            )
        except (OSError, ValueError) as error:
            raise ClusterError(
                f"No Dask scheduler answers at {address} within {_ANSWER_S} s.",
                hint="Start one with `dask scheduler`, or leave --cluster out to use this machine.",
                details=str(error),
            ) from error
        if not self._client.scheduler_info()["workers"]:
            self._client.close()
            raise ClusterError(
                f"The Dask scheduler at {address} has no workers.",
                hint=f"Start some with `dask worker {address}`, where edgeq is installed.",
            )

    def __enter__(self) -> DaskCluster:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._sent.clear()
        self._client.close(timeout=_ANSWER_S)

    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """Try them all, as they finish.

        Raises:
            ClusterError: the scheduler is gone, or a worker has a different version of edgeq.
        """
        try:
            yield from self._run(tasks)
        except (OSError, TimeoutError, CancelledError, asyncio.CancelledError) as error:
            raise self._gone() from error

    def _run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        waiting, fruitless = list(tasks), 0
        while waiting:
            if fruitless == _FRUITLESS_ROUNDS:
                yield from ((task, {"failure": f"lost {fruitless} times"}) for task in waiting)
                return
            time.sleep(fruitless * _PAUSE_S)
            futures = {self._submit(task): task for task in waiting}
            waiting = []
            for future in self._dask.as_completed(futures, loop=self._client.loop):
                task = futures[future]
                outcome = _outcome_of(future)
                if outcome is not None:
                    yield task, self._check(outcome)
                else:  # the worker was lost, or the only copy of the data with it
                    self._require_scheduler()
                    waiting.append(task)
            fruitless = fruitless + 1 if len(waiting) == len(futures) else 0
            if waiting:
                self._sent.clear()

    def _submit(self, task: Task) -> Any:
        for digest in sorted(task.digests):
            if digest not in self._sent:
                content = self._store.read(digest)
                self._sent[digest] = self._client.scatter(content, broadcast=True, hash=False)
        files = {digest: self._sent[digest] for digest in task.digests}
        return self._client.submit(
            run_remote, VERSION, to_plain(task), files, pure=False, retries=1
        )

    def _check(self, outcome: dict[str, Any]) -> dict[str, Any]:
        if "version" in outcome:
            raise ClusterError(
                f"A worker of the cluster has edgeq {outcome['version']}, this machine {VERSION}.",
                hint="Install the same release there.",
            )
        return outcome

    def _require_scheduler(self) -> None:
        if self._client.status != "running":
            raise self._gone()

    def _gone(self) -> ClusterError:
        return ClusterError(
            f"The Dask scheduler at {self._address} is gone.",
            hint="The trials are kept: run the same command again, with or without --cluster, to "
            "continue.",
        )


def _outcome_of(future: Any) -> dict[str, Any] | None:
    """Return None if the result was lost, which is possible even after the task finished."""
    if future.status != "finished":
        return None
    try:
        outcome: dict[str, Any] = future.result()
    except (CancelledError, asyncio.CancelledError):
        return None
    return outcome
