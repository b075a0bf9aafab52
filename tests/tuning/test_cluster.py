"""Against a real Dask scheduler with real workers on this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgeq.errors import ClusterError
from edgeq.files.storage import to_plain
from edgeq.tuning.cluster import DaskCluster, run_remote
from edgeq.tuning.pool import LocalPool
from tests.tuning.conftest import Bench

pytest.importorskip("distributed", reason="the extra edgeq[cluster] is not installed")


@dataclass
class Cluster:
    address: str
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]]


def _spawn(arguments: list[str], folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "distributed.cli." + arguments[0], *arguments[1:]],
            cwd=folder, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def cluster(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    address = f"tcp://127.0.0.1:{_free_port()}"
    own = ["--host", "127.0.0.1", "--port", address.rpartition(":")[2], "--no-dashboard"]
    scheduler = _spawn(["dask_scheduler", *own], tmp_path)
    count = getattr(request, "param", 2)
    settings = [address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    settings += ["--local-directory", str(tmp_path)]
    workers = [_spawn(["dask_worker", *settings], tmp_path) for _ in range(count)]
    yield Cluster(address, scheduler, workers)
    for process in (*workers, scheduler):
        process.poll() is None and os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def connect(cluster: Cluster, bench: Bench, workers: int) -> DaskCluster:
    """A client, once all workers are there."""
    deadline = time.monotonic() + 240
    while True:
        try:
            client = DaskCluster(cluster.address, bench.store)
            if len(client._client.scheduler_info()["workers"]) >= workers:
                return client
            client.__exit__(None, None, None)
        except ClusterError:
            pass
        assert time.monotonic() < deadline, "the workers did not come up"
        time.sleep(0.2)


@pytest.mark.filterwarnings("default")
def test_a_worker_killed_in_the_middle_loses_nothing(cluster: Cluster, bench: Bench) -> None:
    tasks = [bench.task(recipe) for recipe in bench.workshop.plain_recipes()]
    found = {}
    with connect(cluster, bench, 2) as client:
        for number, (task, outcome) in enumerate(client.run(tasks)):
            found[task.recipe] = outcome
            if number == 1:
                os.kill(cluster.workers[0].pid, signal.SIGKILL)
                cluster.workers[0].wait()
    assert set(found) == {task.recipe for task in tasks}
    with LocalPool(bench.store) as pool:
        assert {task.recipe: outcome for task, outcome in pool.run(tasks)} == found


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("cluster", [1], indirect=True)
def test_a_scheduler_that_dies_is_told(
    cluster: Cluster, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [bench.task(recipe) for recipe in bench.workshop.plain_recipes()]
    with connect(cluster, bench, 1) as client, pytest.raises(ClusterError) as caught:
        for number, _ in enumerate(client.run(tasks)):
            if number == 0:
                os.killpg(cluster.scheduler.pid, signal.SIGKILL)
    assert caught.value.message == f"The Dask scheduler at {cluster.address} is gone."


def test_nobody_at_the_address_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeq.tuning.cluster._ANSWER_S", 1)
    with pytest.raises(ClusterError) as caught:
        DaskCluster(f"tcp://127.0.0.1:{_free_port()}", bench.store)
    assert "No Dask scheduler answers at tcp://127.0.0.1:" in caught.value.message


def test_an_address_that_is_none_is_told(bench: Bench) -> None:
    with pytest.raises(ClusterError, match="No Dask scheduler answers at nonsense://x"):
        DaskCluster("nonsense://x", bench.store)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("cluster", [0], indirect=True)
def test_a_cluster_without_workers_is_told(cluster: Cluster, bench: Bench) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        with pytest.raises(ClusterError) as caught:
            DaskCluster(cluster.address, bench.store)
        if "answers" not in caught.value.message:
            break
    assert caught.value.message == f"The Dask scheduler at {cluster.address} has no workers."


def test_a_worker_of_another_release_says_so(bench: Bench) -> None:
    reply = run_remote("0.0.1", to_plain(bench.task()), {})
    assert reply == {"version": __import__("edgeq").__version__}
