"""`edgeq doctor`, and the options of `edgeq bench` about cores and sustained runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgeq.device_runners.on_board.agent.machine import own_cores
from edgeq.values import FloatModel


def edgeq(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from edgeq.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def model(float_cnn: FloatModel) -> str:
    return float_cnn.file.path


def test_doctor_of_this_machine(model: str) -> None:
    done = edgeq("doctor", "--model", model, "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert (record["kind"], record["can_run"]) == ("doctor", True)
    assert record["facts"]["core_kinds"][0]["numbers"] == own_cores()
    assert record["runtimes"][0] == {
        "runtime": record["facts"]["runtimes"][0], "failure": None, "runs_model": True
    }  # fmt: skip


def test_doctor_of_a_python_without_a_runtime_has_status_1(tmp_path: Path) -> None:
    """The real thing: an empty virtual environment."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "v"], check=True)
    python = tmp_path / "v" / "bin" / "python"
    done = edgeq("doctor", "--python", python)
    assert done.returncode == 1
    assert done.stderr == ""
    assert f"{python} -m pip install ai-edge-litert" in done.stdout
    assert done.stdout.endswith("No run is possible there.\n")


def test_devices_of_which_one_does_not_answer_have_status_1() -> None:
    gone = "nobody@127.0.0.1:1"
    for devices, status in (
        (["local"], 0),
        ([gone], 1),
        (["local", gone], 1),
        ([gone, "local"], 1),
    ):
        done = edgeq("devices", "check", *devices, "--json")
        assert done.returncode == status, done.stderr
        found = {item["device"]: item for item in json.loads(done.stdout)["devices"]}
        assert list(found) == devices
        if gone in found:
            assert found[gone]["facts"] is None
            assert found[gone]["error"] == f"{gone} cannot be reached: connection refused."


def test_doctor_of_an_unknown_device() -> None:
    done = edgeq("doctor", "toaster")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: Unknown device 'toaster'; known forms are ")


def test_a_sustained_run_on_one_core(model: str) -> None:
    core = own_cores()[0]
    done = edgeq("bench", model, "--cores", core, "--sustained", "0.05", "--json")
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(done.stdout)["runs"]
    assert run["cores"] == [core]
    sustained = run["sustained"]
    assert (sustained["duration_s"], sustained["window_s"]) == (3.0, 1.0)
    assert [window["began_s"] for window in sustained["windows"]] == [0.0, 1.0, 2.0]
    assert sustained["steady"]["count"] == sustained["windows"][-1]["count"] > 30
    assert sustained["slowdown"] == pytest.approx(
        sustained["steady"]["p50_ms"] / sustained["burst"]["p50_ms"]
    )


def test_rounds_with_more_threads_than_cores(model: str) -> None:
    threads = len(own_cores()) + 7
    done = edgeq("bench", model, "--rounds", 3, "--runs", 30, "--threads", threads, "--json")
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(done.stdout)["runs"]
    assert [one["count"] for one in run["rounds"]] == [10, 10, 10]
    latency, medians = run["latency"], sorted(one["p50_ms"] for one in run["rounds"])
    assert latency["p50_low_ms"] < latency["p50_ms"] == medians[1] < latency["p50_high_ms"]
    (said,) = (i["message"] for i in run["issues"] if i["code"] == "bench.threads")
    assert f"{threads} threads on the " in said and "wait for each other" in said


def test_a_sustained_run_is_shown_by_window(model: str) -> None:
    done = edgeq("bench", model, "--sustained", "0.03")
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["from", "p50", "ms", "p90", "ms", "inferences", "clock", "MHz", "celsius", "slowed",
            "by"] in lines  # fmt: skip
    assert [line[0] for line in lines if line[1:2] == ["s"]] == ["0", "0.6", "1.2"]
    assert any(line[:2] == ["steady", "state"] for line in lines)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cores", "x"], "error: --cores 'x' cannot be read.\nhint:  Write big, little, all, or "
         "numbers such as 0-3 or 0,2.\n"),
        (["--sustained", "1", "--runs", "5"],
         "error: --sustained runs one process for a time; remove --runs 5.\n"),
        (["--sustained", "1", "--rounds", "5"],
         "error: --sustained runs one process for a time; remove --rounds 5.\n"),
        (["{model}", "--sustained", "1"],
         "error: --sustained takes one model (2 given): a second one would start on a hot "
         "processor.\n"),
    ],
)  # fmt: skip
def test_options_that_cannot_be_followed(model: str, options: list[str], message: str) -> None:
    done = edgeq("bench", model, *(option.format(model=model) for option in options))
    assert (done.returncode, done.stdout, done.stderr) == (2, "", message)
