from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq.device_runners.devices.kept_agent import KeptAgent
from edgeq.device_runners.measuring import run_job
from edgeq.errors import DeviceError

Save = Callable[..., Path]


def descendants(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [item for child in map(int, listed) for item in (child, *descendants(child))]


def agents() -> dict[int, list[int]]:
    """The workers of each kept agent that this process has started."""
    mine = [pid for pid in descendants(os.getpid()) if b"keep" in command(pid)]
    return {pid: descendants(pid) for pid in mine}


def only_agent() -> int:
    """The agent of the only block; the kernel lists a new process a moment after its start."""
    while not agents():
        time.sleep(0.01)
    (agent,) = agents()
    return agent


def is_confined(pid: int) -> bool:
    return "Seccomp:\t2\n" in Path(f"/proc/{pid}/status").read_text()


def command(pid: int) -> list[bytes]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")


def run(device: KeptAgent, model: Path, *values: float) -> np.ndarray[Any, Any]:
    chunks = iter([[{"x": np.full((2, 3), value, np.float32)}] for value in values])
    return np.concatenate([found[0]["y"] for found in run_job.infer([model], chunks, device)])


def test_the_same_workers_do_many_jobs_and_end_with_the_block(tiny: Any, save: Save) -> None:
    first, second = save(tiny.add_one(), "a.tflite"), save(tiny.add_one(), "b.tflite")
    with KeptAgent() as device:
        agent = only_agent()
        assert (run(device, first, 1.0, 2.0)[:, 0] == [2, 2, 3, 3]).all()
        workers = agents()[agent]
        assert len(workers) == os.cpu_count()
        assert [is_confined(pid) for pid in (*workers, agent)] == [*[True] * len(workers), False]
        assert (run(device, second, 5.0) == 6).all()
        assert agents() == {agent: workers}
    assert agents() == {}


def test_a_model_that_fails_leaves_the_agent_for_the_next_job(tiny: Any, save: Save) -> None:
    with KeptAgent() as device:
        with pytest.raises(DeviceError, match="cannot be run on local"):
            run(device, save(tiny.subtract(), "bad.tflite"), 1.0)
        assert (run(device, save(tiny.add_one()), 1.0) == 2).all()


def test_a_worker_that_was_killed_between_two_jobs_is_reported(tiny: Any, save: Save) -> None:
    model = save(tiny.add_one())
    with KeptAgent() as device:
        run(device, model, 1.0)
        ((_, workers),) = agents().items()
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(DeviceError, match="killed by SIGKILL"):
            run(device, model, 1.0)


def test_an_agent_that_was_killed_is_reported(tiny: Any, save: Save) -> None:
    with KeptAgent() as device:
        agent = only_agent()
        os.kill(agent, signal.SIGKILL)
        with pytest.raises(DeviceError, match="The agent was killed by SIGKILL before the end"):
            run(device, save(tiny.add_one()), 1.0)


def test_an_agent_that_hangs_is_killed(tmp_path: Path) -> None:
    with KeptAgent(grace_s=0.1) as device:
        agent = only_agent()
        os.kill(agent, signal.SIGSTOP)
        with pytest.raises(DeviceError, match=r"did not end within 0\.3 s and was killed"):
            device.run({"verb": "infer"}, {}, tmp_path, deadline_s=0.2)
    assert agents() == {}
