from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq.device_runners.devices.device import agent_file
from edgeq.device_runners.on_board.agent import bench
from edgeq.device_runners.on_board.agent.job import JobError
from edgeq.device_runners.on_board.agent.statistics import is_tight, median_interval
from edgeq.device_runners.on_board.agent.watch import Watch
from edgeq.values import FloatModel


def run(folder: Path, job: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The agent as a board runs it: its one file, a folder, nothing of edgeq importable."""
    (folder / "job.json").write_text(json.dumps({"protocol": 1, "threads": 1, **job}))
    with agent_file() as path:
        done = subprocess.run(
            [sys.executable, "-I", path, "run", folder], capture_output=True, text=True, check=True
        )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return json.loads((folder / "result.json").read_text()), events


@pytest.fixture
def folder(tmp_path: Path, float_cnn: FloatModel) -> Path:
    (tmp_path / "m.tflite").write_bytes(Path(float_cnn.file.path).read_bytes())
    return tmp_path


@pytest.fixture
def agent() -> Iterator[Path]:
    with agent_file() as path:
        yield path


BENCH = {"task": "bench", "runs": 40, "min_time_s": 0, "max_time_s": 1}


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([5.0], (5.0, 5.0, 5.0)),
        ([1.0, 2.0, 3.0, 4.0], (1.0, 2.5, 4.0)),
        (list(range(1, 6)), (1, 3, 5)),  # 93.75 %: no interval of five values has 95 %
        (list(range(1, 7)), (1, 3.5, 6)),  # 96.9 %
        (list(range(1, 11)), (2, 5.5, 9)),  # 97.9 %
        (list(range(1, 31)), (10, 15.5, 21)),  # 95.7 %
        (list(range(1, 101)), (40, 50.5, 61)),  # 96.5 %
    ],
)
def test_median_interval(times: list[float], expected: tuple[float, float, float]) -> None:
    assert median_interval(times) == expected


def test_the_interval_covers_the_median_at_least_95_times_in_100() -> None:
    """Against the exact binomial sum."""
    for count in [*range(6, 400), 1001, 4000]:
        low, _, high = median_interval(range(1, count + 1))
        inside = sum(math.comb(count, below) for below in range(int(low), int(high)))
        assert inside / 2**count >= 0.95, count
        assert inside / 2**count < 0.975 or count < 45, count


def test_a_measurement_is_tight_within_one_per_cent() -> None:
    assert is_tight([100.0, 101.0] * 50)
    assert not is_tight([100.0, 110.0] * 50)
    assert not is_tight([100.0] * 5)
    # narrow below the median, wide above it
    assert not is_tight([99.9] * 30 + [100.0] + [103.0] * 30)


class Scripted:
    """A worker whose bursts take these times, the last of them for ever."""

    def __init__(self, *windows: list[int]):
        self.windows = list(windows)
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def call(self, command: str, **options: Any) -> list[int]:
        self.asked.append((command, options))
        return self.windows.pop(0) if len(self.windows) > 1 else self.windows[0]


def warmed(child: Scripted, **job: Any) -> bench.Bench:
    watch = Watch([], 1.0)
    run = bench.Bench(0, {"path": "m.tflite"}, {**BENCH, "runs": None, **job}, None, watch)
    run.child = child
    run.warm_up()
    return run


@pytest.mark.parametrize(
    ("medians", "windows"),
    [
        ([100, 100], 2),
        ([200, 100, 100], 3),
        ([400, 300, 200, 100, 100], 5),  # slow at first: on, until two agree
        ([100, 105], 2),
        ([100, 106, 106], 3),
        ([100, 95], 2),
        ([100, 94, 94], 3),
        ([100, 200, 100, 200, 200], 5),  # it is the last one that counts, not the first
    ],
)
def test_warming_up_ends_when_two_windows_agree_within_5_per_cent(
    medians: list[int], windows: int
) -> None:
    child = Scripted(*([median] * 3 for median in medians))
    run = warmed(child)
    assert [command for command, _ in child.asked] == ["burst"] * windows
    assert run.warmup == [median for median in medians[:windows] for _ in range(3)]


def test_warming_up_that_never_settles_ends_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "WARMUP_S", -1.0)
    assert warmed(Scripted([100], [200], [400], [800], [1600])).warmup == [100, 200, 400]


def test_warming_up_again_is_held_against_the_round_before() -> None:
    run = warmed(Scripted([100], [100]))
    for window, asked in (([104], 1), ([90], 2)):
        run.child = Scripted(window)
        run.warm_up()
        assert len(run.child.asked) == asked
    assert run.warmup == [100, 100]  # of the first round


@pytest.mark.parametrize(
    ("median_ns", "size"),
    [(1_000_000, 30), (100_000_000, 1), (1000, 1000)],  # 30 ms of them in a row, at most 1000
)
def test_bursts_are_of_30_ms(median_ns: int, size: int) -> None:
    assert warmed(Scripted([median_ns])).size == size


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([100.0] * 29, False),
        ([100.0] * 30, True),
        # Of 100 values the 40th and the 61st enclose the median: a unit is 1 %.
        ([99.0] * 45 + [100.0] * 55, True),
        ([98.9] * 45 + [100.0] * 55, False),
        ([100.0] * 55 + [101.0] * 45, True),
        ([100.0] * 55 + [101.1] * 45, False),
        ([1.0] * 39 + [100.0] * 22 + [900.0] * 39, True),
    ],
)
def test_one_per_cent_to_either_side_is_tight(times: list[float], expected: bool) -> None:
    assert is_tight(times) == expected


def wants(count: int, each_ns: int = 1_000_000, *, before: int = 0, left: int = 1,
          **job: Any) -> bool:  # fmt: skip
    """Whether a model that ran so often in this round wants more; all inferences take as long."""
    settings = {**BENCH, "runs": None, "min_time_s": 0.5, "max_time_s": 2.0, **job}
    run = bench.Bench(0, {"path": "m.tflite"}, settings, None, Watch([], 1.0))
    run.times = [each_ns] * before
    run.begin(left)
    run.rounds[-1] = [each_ns] * count
    run.times += run.rounds[-1]
    return run.wants_more()


def test_a_measurement_ends_when_it_is_known_well_enough() -> None:
    assert wants(0)
    assert wants(0, min_time_s=0.0, max_time_s=0.0)
    assert wants(499)  # 0.5 s are not over
    assert not wants(500)
    assert wants(29, each_ns=20_000_000)  # 0.58 s, and too few
    assert not wants(30, each_ns=20_000_000)
    assert wants(19, each_ns=100_000_000)
    assert not wants(20, each_ns=100_000_000)  # 2 s are over, whatever is known
    assert not wants(200_000, each_ns=1)  # the most
    assert wants(199_999, each_ns=1)


def test_the_rounds_that_are_left_divide_what_is_left() -> None:
    assert wants(49, before=300, left=4)  # 50 ms of 200
    assert not wants(50, before=300, left=4)
    assert wants(29, each_ns=20_000_000, left=2)  # too few for any round to end
    assert not wants(15, each_ns=20_000_000, before=15, left=3)
    assert wants(9, each_ns=100_000_000, left=2)
    assert not wants(10, each_ns=100_000_000, left=2)  # 1 s of 2
    assert wants(0, each_ns=10**9, before=5, left=2)  # each round has one, however late
    assert not wants(1, each_ns=10**9, before=5, left=2)


def test_a_measurement_of_so_many_runs_has_so_many() -> None:
    assert wants(39, runs=40)
    assert not wants(40, runs=40)
    assert wants(0, runs=1, each_ns=10**12)
    assert wants(12, runs=40, before=14, left=2)
    assert not wants(13, runs=40, before=14, left=2)


@pytest.mark.parametrize(
    ("models", "load_s", "warm_s", "typical_s", "job", "rounds"),
    [
        # Once: twice 0.13 (one for the arena), 0.1, 1 s; 0.5 s beside; a later one 0.13 + 0.05.
        (1, 0.13, 0.1, 1e-4, {}, 1 + 10),
        (1, 0.13, 0.1, 1e-4, {"runs": 40}, 1 + 4),  # 4 ms to measure
        (2, 0.26, 0.2, 2e-4, {}, 1 + 8),
        (1, 1.5, 0.1, 1e-2, {"spare_s": 4.0}, 1 + 5),  # a board that imports slowly
        (1, 20.0, 0.3, 0.1, {}, 1 + 2),  # 40.3 + 3 + 0.5 of 20.1
        # An inference of 5 s: 20 + 10 s, and later 10 + 5 s, of which 10 / 9 were counted.
        (1, 5.0, 10.0, 5.0, {}, 3),
        (1, 100.0, 0.0, 1e-4, {"runs": 1, "spare_s": 0.0}, 3),
    ],
)
def test_rounds_take_twice_the_time_of_one_at_most(
    models: int, load_s: float, warm_s: float, typical_s: float, job: dict[str, Any], rounds: int
) -> None:
    settings = {"rounds": 9, "runs": None, "min_time_s": 1.0, "max_time_s": 10.0, "spare_s": 0.5}
    found = bench.affordable_rounds({**settings, **job}, models, load_s, warm_s, typical_s)
    assert found == rounds


def test_a_model_that_failed_is_measured_no_more() -> None:
    run = bench.Bench(0, {"path": "m.tflite"}, dict(BENCH), None, Watch([], 1.0))
    run.begin(1)
    assert run.wants_more()
    run.error = JobError("died", "It died.").plain()
    assert not run.wants_more()


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


def test_a_crash_of_native_code_is_told_and_the_other_model_measured(
    folder: Path, tiny: Any
) -> None:
    """The real thing: a model that overflows the native stack."""
    (folder / "deep.tflite").write_bytes(tiny.bottomless())
    result, _ = run(folder, {**BENCH, "models": [{"path": "m.tflite"}, {"path": "deep.tflite"}]})
    error = result["models"][1]["error"]
    assert error["code"] == "crashed"
    assert error["message"] == "the worker was killed by SIGSEGV while loading the model"
    assert sum(map(len, result["models"][0]["rounds_ns"])) == 40


def test_a_model_that_never_ends_is_told_and_the_other_model_measured(
    folder: Path, tiny: Any
) -> None:
    """The real thing: a WHILE without end."""
    (folder / "endless.tflite").write_bytes(tiny.endless())
    models = [{"path": "endless.tflite"}, {"path": "m.tflite"}]
    result, _ = run(folder, {**BENCH, "patience_s": 1.5, "models": models})
    error = result["models"][0]["error"]
    assert error["code"] == "hung"
    assert error["message"] == "it hung: no sign of life for 1.5 s while running the model"
    assert sum(map(len, result["models"][1]["rounds_ns"])) == 40


@pytest.mark.parametrize(
    ("content", "code", "sentence"),
    [
        ("mystery", "unsupported_op", "lacks an operator: Encountered unresolved custom op: "
         "Mystery."),
        ("version_99", "runtime_too_old", "is too old: Didn't find op for builtin opcode 'ADD' "
         "version '99'"),
    ],
)  # fmt: skip
def test_what_a_runtime_lacks_has_a_code(
    tmp_path: Path, tiny: Any, content: str, code: str, sentence: str
) -> None:
    made = {"mystery": tiny.mystery, "version_99": lambda: tiny.add_one(version=99)}[content]()
    (tmp_path / "m.tflite").write_bytes(made)
    result, _ = run(tmp_path, {**BENCH, "models": [{"path": "m.tflite"}]})
    error = result["models"][0]["error"]
    assert error["code"] == code
    assert sentence in error["message"]


@pytest.mark.parametrize(
    ("name", "bytes_"),
    [
        ("add_one", 64 + 12),  # two tensors of 12 bytes, the second aligned to 64
        ("double_int8", 64 + 4),
        ("rows", 64 + 24),
        ("add_some", 64 + 12),  # a dynamic batch, at 1
    ],
)
def test_arena(tmp_path: Path, tiny: Any, name: str, bytes_: int) -> None:
    made = tiny.add_one(batch=-1) if name == "add_some" else getattr(tiny, name)()
    (tmp_path / "m.tflite").write_bytes(made)
    result, _ = run(tmp_path, {**BENCH, "models": [{"path": "m.tflite"}]})
    assert result["models"][0]["arena_bytes"] == bytes_


def test_each_round_measures_in_fresh_processes(folder: Path) -> None:
    job = {**BENCH, "runs": 42, "rounds": 4, "models": [{"path": "m.tflite"}] * 2}
    result, events = run(folder, job)
    for model in result["models"]:
        assert [len(times) for times in model["rounds_ns"]] == [11, 11, 10, 10]
        assert len({start["init_ms"] for start in model["starts"]}) == 4  # loaded four times
    steps = [event.get("step") for event in events if event.get("step") != "measure"]
    assert steps == ["load", "load", "warm up", "warm up", None]  # told once


def infer_one(
    folder: Path, content: bytes, runtime: str | None = None, **inputs: np.ndarray
) -> dict[str, Any]:
    """One chunk through a model; its output is in out.npy."""
    (folder / "m.tflite").write_bytes(content)
    for name, values in inputs.items():
        np.save(folder / f"{name}.npy", values)
    output = "difference" if "minuend" in inputs else "y"
    fed = {name: f"{name}.npy" for name in inputs}
    chunk = {"model": 0, "inputs": fed, "outputs": {output: "out.npy"}}
    job = {"task": "infer", "models": ["m.tflite"], "workers": 2, "runtime": runtime,
           "chunks": [chunk]}  # fmt: skip
    return run(folder, job)[0]


def test_tensorflow_is_the_third_runtime(tmp_path: Path, tiny: Any) -> None:
    result = infer_one(tmp_path, tiny.add_one(), runtime="tensorflow", x=np.zeros((1, 3), "f4"))
    assert result["runtime"]["name"] == "tensorflow"
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), np.ones((1, 3)))


def test_inputs_are_matched_by_signature_name(tmp_path: Path, tiny: Any) -> None:
    first, second = np.float32([[5, 7], [1, 1]]), np.float32([[2, 3], [4, 9]])
    infer_one(tmp_path, tiny.subtract(), minuend=first, subtrahend=second)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), first - second)


@pytest.mark.parametrize("batch", [1, 4, 7, -1])
def test_any_batch_gives_one_output_per_sample(tmp_path: Path, tiny: Any, batch: int) -> None:
    values = np.arange(27, dtype=np.float32).reshape(9, 3)  # 9: the last group is short
    infer_one(tmp_path, tiny.add_one(batch), x=values)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), values + 1)


def test_integers_come_back_as_they_are(tmp_path: Path, tiny: Any) -> None:
    values = np.int8([[-128, -1, 0, 127], [1, 2, 3, 4]])
    infer_one(tmp_path, tiny.double_int8(), x=values)
    found = np.load(tmp_path / "out.npy")
    assert found.dtype == np.int8
    np.testing.assert_array_equal(found, values)


def test_an_output_without_a_batch_dimension_is_kept_whole(tmp_path: Path, tiny: Any) -> None:
    values = np.arange(12, dtype=np.float32).reshape(2, 6)
    infer_one(tmp_path, tiny.rows(), x=values)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), values.reshape(2, 3, 2))


def test_inputs_of_different_length_are_named(tmp_path: Path, tiny: Any) -> None:
    one, two = np.ones((1, 2), np.float32), np.ones((2, 2), np.float32)
    error = infer_one(tmp_path, tiny.subtract(), minuend=one, subtrahend=two)["error"]
    assert error["code"] == "bad_input"
    assert error["message"] == "inputs with different numbers of samples: subtrahend 2, minuend 1"


def test_a_long_chunk_is_not_taken_for_a_hanging_one(folder: Path, names: tuple[str, str]) -> None:
    job = rename(infer_job(folder, 60_000), names)
    result, _ = run(folder, {**job, "patience_s": 1.2})
    assert "error" not in result
    assert np.load(folder / "o0.npy").shape == (60_000, 10)


def infer_job(folder: Path, count: int, chunks: int = 1) -> dict[str, Any]:
    random = np.random.default_rng(0)
    written = []
    for number in range(chunks):
        np.save(folder / f"i{number}.npy", random.random((count, 28, 28, 1), np.float32))
        written.append({"model": 0, "inputs": {"image": f"i{number}.npy"},
                        "outputs": {"dense_1": f"o{number}.npy"}})  # fmt: skip
    return {"task": "infer", "models": ["m.tflite"], "workers": 2, "chunks": written}


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


def test_a_worker_that_is_killed_is_reported_by_signal(folder: Path, agent: Path) -> None:
    """The real thing: SIGKILL to the worker in the middle of a measurement, as the OOM killer."""
    job: dict[str, Any] = {**BENCH, "runs": 100_000_000}
    job["models"] = [{"path": "m.tflite"}]
    (folder / "job.json").write_text(json.dumps({"protocol": 1, "threads": 1, **job}))
    coordinator = subprocess.Popen(
        [sys.executable, agent, "run", folder], stdout=subprocess.PIPE, text=True
    )
    worker = wait_for_child(coordinator.pid)
    time.sleep(1.0)
    os.kill(worker, signal.SIGKILL)
    assert coordinator.wait(timeout=240) == 0
    assert coordinator.stdout is not None
    coordinator.stdout.close()
    error = json.loads((folder / "result.json").read_text())["models"][0]["error"]
    assert error["code"] == "crashed"
    assert error["message"] == (
        "the worker was killed by SIGKILL while running the model, probably out of memory"
    )


def test_a_deadline_ends_a_measurement(folder: Path) -> None:
    job = {**BENCH, "runs": 10_000_000, "deadline_s": 2.0, "models": [{"path": "m.tflite"}]}
    result, _ = run(folder, job)
    assert result["models"][0]["error"]["code"] == "timeout"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_workers_die_with_the_coordinator(
    tmp_path: Path, agent: Path, tiny: Any, number: int
) -> None:
    """Even one that is inside an inference without end."""
    (tmp_path / "m.tflite").write_bytes(tiny.endless())
    job: dict[str, Any] = {**BENCH, "models": [{"path": "m.tflite"}]}
    (tmp_path / "job.json").write_text(json.dumps({"protocol": 1, "threads": 1, **job}))
    coordinator = subprocess.Popen(
        [sys.executable, agent, "run", tmp_path], stdout=subprocess.DEVNULL
    )
    worker = wait_for_child(coordinator.pid)
    time.sleep(0.6)
    assert is_running(worker)
    coordinator.send_signal(number)
    assert coordinator.wait() == (-number if number == signal.SIGKILL else 128 + number)
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
