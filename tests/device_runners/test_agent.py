from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq.device_runners import agent
from edgeq.values import FloatModel


def run(folder: Path, job: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The agent as a board runs it: its file, a folder, nothing of edgeq importable."""
    (folder / "job.json").write_text(json.dumps({"protocol": 1, "threads": 1, **job}))
    done = subprocess.run(
        [sys.executable, "-I", agent.__file__, "run", str(folder)],
        capture_output=True,
        text=True,
        check=True,
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return json.loads((folder / "result.json").read_text()), events


@pytest.fixture
def folder(tmp_path: Path, float_cnn: FloatModel) -> Path:
    (tmp_path / "m.tflite").write_bytes(Path(float_cnn.file.path).read_bytes())
    return tmp_path


BENCH = {"task": "bench", "runs": 40, "min_time_s": 0, "max_time_s": 1}


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([5.0], (5.0, 5.0, 5.0)),
        ([1.0, 2.0, 3.0, 4.0], (1.0, 2.5, 4.0)),
        # n = 100: ranks 50 -+ 9.8, so the 41st and the 61st value
        (list(range(1, 101)), (41, 50.5, 61)),
    ],
)
def test_median_interval(times: list[float], expected: tuple[float, float, float]) -> None:
    assert agent.median_interval(times) == expected


def test_a_measurement_is_tight_within_one_per_cent() -> None:
    assert agent.is_tight([100.0, 101.0] * 50)
    assert not agent.is_tight([100.0, 110.0] * 50)
    assert not agent.is_tight([100.0] * 5)


def test_it_imports_nothing_of_edgeq() -> None:
    assert "edgeq" not in {
        line.split()[1].split(".")[0]
        for line in Path(agent.__file__).read_text().splitlines()
        if line.startswith(("import ", "from "))
    }


def test_bench_keeps_raw_times_by_round_and_ends_with_an_end(folder: Path) -> None:
    result, events = run(folder, {**BENCH, "models": [{"path": "m.tflite"}] * 2})
    assert events[-1] == {"event": "end", "result": "result.json"}
    for model in result["models"]:
        assert sum(map(len, model["rounds_ns"])) == 40
        assert len(model["warmup_ns"]) >= 3
        assert min(min(times) for times in model["rounds_ns"]) > 0
        assert model["peak_rss_bytes"] > 10_000_000
        # 28 x 28 floats in, and a first convolution's output at least
        assert model["arena_bytes"] > 28 * 28 * 4
    assert result["facts"]["runtimes"][0]["name"] == "ai-edge-litert"


def test_a_broken_model_does_not_stop_the_others(folder: Path) -> None:
    (folder / "bad.tflite").write_bytes(b"\0\0\0\0TFL3" + b"\0" * 100)
    models = [{"path": "bad.tflite"}, {"path": "m.tflite"}]
    result, _ = run(folder, {**BENCH, "models": models})
    assert result["models"][0]["error"]["code"] == "bad_model"
    assert sum(map(len, result["models"][1]["rounds_ns"])) == 40


def test_a_runtime_that_is_not_there_is_named(folder: Path) -> None:
    job = {**BENCH, "runtime": "tflite-runtime-9000", "models": [{"path": "m.tflite"}]}
    result, _ = run(folder, job)
    error = result["models"][0]["error"]
    assert error["code"] == "runtime_missing"
    assert error["message"].startswith("tflite-runtime-9000 is not installed (ai-edge-litert")


def infer_job(folder: Path, count: int, chunks: int = 1) -> dict[str, Any]:
    random = np.random.default_rng(0)
    written = []
    for number in range(chunks):
        np.save(folder / f"i{number}.npy", random.random((count, 28, 28, 1), np.float32))
        written.append({"inputs": {"image": f"i{number}.npy"},
                        "outputs": {"dense_1": f"o{number}.npy"}})  # fmt: skip
    return {"task": "infer", "model": "m.tflite", "workers": 2, "chunks": written}


@pytest.fixture
def names(float_cnn: FloatModel) -> tuple[str, str]:
    return float_cnn.inputs[0].name, float_cnn.outputs[0].name


def rename(job: dict[str, Any], names: tuple[str, str]) -> dict[str, Any]:
    for chunk in job["chunks"]:
        chunk["inputs"] = {names[0]: chunk["inputs"]["image"]}
        chunk["outputs"] = {names[1]: chunk["outputs"]["dense_1"]}
    return job


def test_infer_runs_every_chunk_and_resumes_without_repeating(
    folder: Path, names: tuple[str, str]
) -> None:
    job = rename(infer_job(folder, 5, chunks=3), names)
    run(folder, job)
    first = np.load(folder / "o1.npy")
    assert first.shape == (5, 10)
    np.save(folder / "o1.npy", np.full_like(first, 7.0))  # would be overwritten if run again
    (folder / "o2.npy").unlink()
    _, events = run(folder, job)
    assert np.load(folder / "o1.npy")[0, 0] == 7.0
    assert np.load(folder / "o2.npy").shape == (5, 10)
    assert [event["done"] for event in events if event["event"] == "progress"] == [3]


def test_a_missing_input_is_named(folder: Path, names: tuple[str, str]) -> None:
    job = rename(infer_job(folder, 2), names)
    job["chunks"][0]["inputs"] = {}
    result, _ = run(folder, job)
    assert result["error"]["code"] == "bad_input"
    assert result["error"]["message"] == f"no values for input {names[0]}"


def test_a_worker_that_is_killed_is_reported_by_signal(folder: Path) -> None:
    """The real thing: SIGKILL to the worker in the middle of a measurement, as the OOM killer."""
    job: dict[str, Any] = {**BENCH, "runs": 100_000_000}
    job["models"] = [{"path": "m.tflite"}]
    (folder / "job.json").write_text(json.dumps({"protocol": 1, "threads": 1, **job}))
    coordinator = subprocess.Popen(
        [sys.executable, agent.__file__, "run", str(folder)], stdout=subprocess.PIPE, text=True
    )
    worker = wait_for_child(coordinator.pid)
    time.sleep(1.0)
    os.kill(worker, signal.SIGKILL)
    assert coordinator.wait(timeout=20) == 0
    assert coordinator.stdout is not None
    coordinator.stdout.close()
    error = json.loads((folder / "result.json").read_text())["models"][0]["error"]
    assert error["code"] == "crashed"
    assert error["message"] == "the worker was killed by SIGKILL, probably out of memory"


def test_a_deadline_ends_a_measurement(folder: Path) -> None:
    job = {**BENCH, "runs": 10_000_000, "deadline_s": 2.0, "models": [{"path": "m.tflite"}]}
    began = time.monotonic()
    result, _ = run(folder, job)
    assert time.monotonic() - began < 15
    assert result["models"][0]["error"]["code"] == "timeout"


def test_workers_die_with_the_coordinator(folder: Path) -> None:
    job: dict[str, Any] = {**BENCH, "runs": 100_000_000}
    job["models"] = [{"path": "m.tflite"}]
    (folder / "job.json").write_text(json.dumps({"protocol": 1, "threads": 1, **job}))
    coordinator = subprocess.Popen(
        [sys.executable, agent.__file__, "run", str(folder)], stdout=subprocess.DEVNULL
    )
    worker = wait_for_child(coordinator.pid)
    coordinator.kill()
    coordinator.wait()
    for _ in range(100):
        if not is_running(worker):
            return
        time.sleep(0.1)
    pytest.fail("the worker outlived the coordinator by ten seconds")


def wait_for_child(parent: int) -> int:
    path = Path(f"/proc/{parent}/task/{parent}/children")
    for _ in range(200):
        children = path.read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.05)
    raise AssertionError("no worker was started")


def is_running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
