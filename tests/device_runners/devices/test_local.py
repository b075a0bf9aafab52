from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeq.device_runners.devices.local import LocalDevice
from edgeq.device_runners.on_board.agent.job import PROTOCOL
from edgeq.errors import DeviceError

Save = Callable[..., Path]


@pytest.fixture
def interpreter(tmp_path: Path) -> Callable[[str], Path]:
    """A shell script in the place of a Python interpreter."""

    def write(script: str) -> Path:
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return write


def bench_job(**changes: Any) -> dict[str, Any]:
    return {"protocol": PROTOCOL, "task": "bench", "threads": 1, "runs": 30,
            "models": [{"path": "model.tflite"}], **changes}  # fmt: skip


def test_a_job_runs_in_its_folder_without_copying_the_model(
    tiny: Any, save: Save, tmp_path: Path
) -> None:
    model, folder = save(tiny.add_one()), tmp_path / "job"
    folder.mkdir()
    events: list[dict[str, Any]] = []
    result = LocalDevice().run(
        bench_job(), {"model.tflite": model}, folder, on_event=events.append, deadline_s=60
    )
    assert (folder / "model.tflite").is_symlink()
    assert sum(map(len, result["models"][0]["rounds_ns"])) == 30
    assert [event["event"] for event in events] == ["progress", "progress", "end"]


def test_the_oldest_python_is_a_device(python_3_8: Path, tmp_path: Path) -> None:
    device = LocalDevice(python_3_8)
    assert str(device.facts().python).startswith("3.8.")
    job = {"protocol": PROTOCOL, "task": "check", "runtime": "none-such"}
    assert device.run(job, {}, tmp_path)["error"]["code"] == "runtime_missing"


def test_a_hanging_agent_is_killed_with_all_it_started(
    interpreter: Callable[[str], Path], tmp_path: Path
) -> None:
    python = interpreter(f"sleep 1000 & echo $! >{tmp_path}/pid; wait")
    with pytest.raises(DeviceError) as caught:
        LocalDevice(python, grace_s=0.5).run(bench_job(), {}, tmp_path, deadline_s=0.5)
    assert str(caught.value) == f"The agent under {python} did not end within 1 s and was killed."
    with pytest.raises(ProcessLookupError):
        wait_until_gone(int((tmp_path / "pid").read_text()))


def wait_until_gone(pid: int) -> None:
    for _ in range(50):
        if Path(f"/proc/{pid}/stat").exists():
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            if state != "Z":
                time.sleep(0.1)
                continue
        raise ProcessLookupError
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("kill -SEGV $$", "The agent under {} was killed by SIGSEGV: it printed nothing"),
        ("echo no such thing >&2; exit 3", "The agent under {} ended with status 3: no such thing"),
        ("echo '{\"event\": \"progress\"'", "The agent stopped before the end of its job. "
         "Run it again."),
    ],
)  # fmt: skip
def test_an_agent_that_dies(
    interpreter: Callable[[str], Path], tmp_path: Path, script: str, sentence: str
) -> None:
    python = interpreter(script)
    with pytest.raises(DeviceError) as caught:
        LocalDevice(python).run(bench_job(), {}, tmp_path, on_event=print)
    assert str(caught.value) == sentence.format(python)


@pytest.mark.parametrize("output", ["", "hello", "[1]", "{}"])
def test_an_answer_that_is_no_facts(interpreter: Callable[[str], Path], output: str) -> None:
    python = interpreter(f"echo '{output}'")
    with pytest.raises(DeviceError) as caught:
        LocalDevice(python).facts()
    assert str(caught.value) == f"{python} did not answer like a Python 3.8+."


def test_an_old_result_is_not_taken_for_a_new_one(
    interpreter: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "result.json").write_text('{"models": []}')
    with pytest.raises(DeviceError, match="stopped before the end"):
        LocalDevice(interpreter("exit 0")).run(bench_job(), {}, tmp_path)
    assert not (tmp_path / "result.json").exists()


CTRL_C = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
import sys, tempfile
from pathlib import Path
from edgeq.device_runners.measuring import run_job
from edgeq.device_runners.devices.local import LocalDevice
from edgeq.values import BenchOptions
tell = lambda event: print(event, flush=True)
run_job.bench([Path(sys.argv[1])], LocalDevice(), BenchOptions(runs=10**9), on_event=tell)
"""


def test_ctrl_c_leaves_no_process_and_no_folder(tiny: Any, save: Save, tmp_path: Path) -> None:
    """The real thing: SIGINT to a process in the middle of a measurement."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    child = subprocess.Popen(
        [sys.executable, "-c", CTRL_C, str(save(tiny.add_one()))],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(temporary)},
        text=True,
    )
    assert child.stdout is not None
    assert json.loads(child.stdout.readline().replace("'", '"'))["step"] == "load"
    made = [path for path in temporary.glob("edgeq-*") if path.is_dir()]
    assert len(made) == 2  # of the job, and of the agent's file
    child.send_signal(signal.SIGINT)
    child.wait(timeout=10)
    child.stdout.close()
    assert list(temporary.iterdir()) == []
    time.sleep(0.2)
    shown = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert not [path for path in made if str(path) in shown]


def test_the_temporary_folder_of_a_failed_run_goes_too(
    tiny: Any, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeq.device_runners.measuring import run_job
    from edgeq.values import BenchOptions

    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with pytest.raises(DeviceError):
        run_job.bench([save(tiny.bottomless())], LocalDevice(), BenchOptions(runs=30))
    assert list(temporary.iterdir()) == []
