"""A virtual arm64 board on this machine: real aarch64 wheels, real NEON kernels, real SSH.

The real thing is a Raspberry Pi; what differs is speed, which no test here looks at.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeq
from edgeq import models
from edgeq.comparison.parity import parity
from edgeq.device_runners.devices.addresses import resolve_device
from edgeq.device_runners.devices.board import BoardDevice
from edgeq.device_runners.devices.emulated import VirtualBoard, build, start, stop
from edgeq.device_runners.devices.local import LocalDevice
from edgeq.device_runners.measuring import run_job
from edgeq.devices import inventory
from edgeq.devices.doctor import doctor
from edgeq.devices.fleet import run_fleet
from edgeq.errors import DeviceError, UsageError
from edgeq.tflite import flatbuffer
from edgeq.values import BenchOptions

QUICK = BenchOptions(runs=10, rounds=1)
OLD_PYTHON = os.environ.get("EDGEQ_TFLITE_RUNTIME_PYTHON")


def why_not() -> str | None:
    """Why no virtual board can run here."""
    if os.geteuid() != 0:
        return "a virtual board needs root"
    for tool in ("mmdebstrap", "qemu-aarch64-static", "ssh-keygen"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    if subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], check=False).returncode:
        return "this machine does not let us unshare"
    binfmt = Path("/proc/sys/fs/binfmt_misc")
    if not (binfmt / "register").exists():
        command = ["mount", "-t", "binfmt_misc", "binfmt_misc", str(binfmt)]
        if subprocess.run(command, check=False, capture_output=True).returncode:
            return "binfmt_misc cannot be mounted"
    return None


@pytest.fixture
def board() -> Iterator[str]:
    """Its address. It is built once and stays; one test at a time has it, of all test processes."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    made = VirtualBoard.of("arm64")
    build("arm64")
    with (made.folder / "test-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield "emulated:arm64"


@pytest.fixture
def device(board: str) -> Iterator[BoardDevice]:
    made = resolve_device(board)
    assert isinstance(made, BoardDevice)
    yield made
    made.close()


# This one first: it empties the board, and all others need what it is brought once.


def test_it_works_the_first_time(device: BoardDevice, int8_mobilenet: Path, save: Any) -> None:
    """The board has sshd and python3, and no runtime. One test, of one connection: Python takes
    seconds to start there.
    """
    device.clean()
    bring_nothing_for_a_model_that_cannot_run(device, save(newer_than(int8_mobilenet)))
    tell_that_the_first_run_brings_a_runtime()
    device.forget_facts()
    assert device.facts().runtimes == ()
    steps: list[str] = []
    result = run_job.bench(
        [int8_mobilenet], device, QUICK, on_event=lambda event: steps.append(event.get("step", ""))
    )
    assert any(step.startswith("fetch ai-edge-litert-") for step in steps)
    assert result.facts.machine == "aarch64"
    assert result.facts.cpu_model == "Cortex-A72 (Virtual arm64 board (qemu-user))"
    assert result.runs[0].runtime.name == "ai-edge-litert"
    assert result.runs[0].latency.count == 10
    before = device.sent_bytes
    run_job.bench([int8_mobilenet], device, QUICK)
    assert device.sent_bytes - before < 60_000 < int8_mobilenet.stat().st_size
    make_an_environment_once(device)


def bring_nothing_for_a_model_that_cannot_run(device: BoardDevice, newer: Path) -> None:
    old = BenchOptions(runs=10, runtime="tflite-runtime")
    with pytest.raises(DeviceError, match=r"needs TensorFlow Lite 2\.17\.0 or newer; tflite-runt"):
        run_job.bench([newer], device, old)
    device.forget_facts()
    device.session.open()
    assert device.session.hello["environments"] == []


def tell_that_the_first_run_brings_a_runtime() -> None:
    """An error would send people away whom bench would have served."""
    checkup = doctor("emulated:arm64")
    assert checkup.can_run
    (problem,) = [item for item in checkup.problems if "runtime" in item.code]
    assert problem.code == "doctor.no_runtime_yet"
    assert problem.message == (
        "emulated:arm64 has no runtime yet; the first run brings ai-edge-litert there."
    )
    assert problem.remedy == "edgeq devices setup emulated:arm64"


def make_an_environment_once(device: BoardDevice) -> None:
    name = device.set_up()
    device.facts()
    before = device.sent_bytes
    assert device.set_up() == name
    assert device.sent_bytes == before


def newer_than(model: Path) -> bytes:
    """The model, as if only a newer runtime than the older one could run it."""
    tree = flatbuffer.read(model)
    flatbuffer.set_metadata(tree, "min_runtime_version", b"2.17.0")
    return flatbuffer.serialize(tree)


def test_int8_outputs_on_arm64_are_nearly_those_on_x86(
    device: BoardDevice, int8_mobilenet: Path
) -> None:
    images = np.load(models.path("fashion_mnist_test.npz"))["x"][:60]
    samples = (images.astype(np.int16) - 128).astype(np.int8).reshape(60, 28, 28, 1)
    found = [
        next(run_job.infer([int8_mobilenet], iter([[{"image": samples}]]), runner))[0]["class"]
        for runner in (device, LocalDevice())
    ]
    apart = np.abs(found[0].astype(int) - found[1])
    assert apart.max() <= 1  # XNNPACK rounds ties differently on the two
    assert np.mean(apart > 0) < 0.01


def test_the_older_runtime_has_an_environment_of_its_own(
    device: BoardDevice, int8_mobilenet: Path, save: Any
) -> None:
    """tflite-runtime 2.14 with numpy < 2; a model that needs a newer one is not even sent."""
    old = BenchOptions(runs=10, rounds=1, runtime="tflite-runtime")
    device.set_up("ai-edge-litert")
    result = run_job.bench([int8_mobilenet], device, old)
    assert result.runs[0].runtime.version == "2.14.0"
    names = [runtime.name for runtime in device.facts().runtimes]
    assert names == ["ai-edge-litert", "tflite-runtime"]

    newer = save(newer_than(int8_mobilenet))
    before = device.sent_bytes
    with pytest.raises(DeviceError) as caught:
        run_job.bench([newer], device, old)
    assert caught.value.message == (
        f"{newer} needs TensorFlow Lite 2.17.0 or newer; tflite-runtime there is 2.14.0."
    )
    assert str(caught.value.hint).startswith("Pass --runtime ai-edge-litert, which edgeq brings")
    assert device.sent_bytes == before


def test_accuracy_there_is_accuracy_here(board: str, int8_mobilenet: Path) -> None:
    data = models.path("fashion_mnist_test.npz")
    there, here = (
        edgeq.evaluate([int8_mobilenet], data, samples=30, device=name)[0]
        for name in (board, "local")
    )
    assert there.sample_count == here.sample_count == 30
    assert there.metrics == here.metrics
    assert there.metrics[0].value > 80
    assert (there.device, here.device) == (board, "local")
    assert there.processor != here.processor


@pytest.mark.slow
def test_parity_tells_each_sample(board: str, int8_mobilenet: Path) -> None:
    result = parity(
        int8_mobilenet, models.path("fashion_mnist_test.npz"), devices=[board], samples=40
    )
    row = next(row for row in result.rows if row.device == board and row.kernels == "xnnpack")
    assert row.verdict in ("exact", "off by one")
    assert row.same_samples >= 38
    assert len(result.different[result.rows.index(row)]) == 40 - row.same_samples


@pytest.mark.slow
@pytest.mark.skipif(OLD_PYTHON is None, reason="EDGEQ_TFLITE_RUNTIME_PYTHON is not set")
def test_the_older_runtime_is_compared_with_itself(board: str, int8_mobilenet: Path) -> None:
    data = models.path("fashion_mnist_test.npz")
    result = parity(
        int8_mobilenet, data, devices=[board], samples=8, runtime="tflite-runtime",
        python=OLD_PYTHON,
    )  # fmt: skip
    here, there = result.rows[0], result.rows[-1]
    assert (here.kernels, here.verdict) == ("builtin", "exact")  # 2.14 has no INT8 in XNNPACK
    # Its own kernels round otherwise on arm64: a step in a layer, a few at the output.
    assert (there.device, there.error, there.top1_changes) == (board, None, 0)
    assert there.first is None or there.first.largest == 1


@pytest.mark.slow
def test_operators_are_timed_and_the_times_mean_nothing(board: str, int8_mobilenet: Path) -> None:
    result = edgeq.profile(int8_mobilenet, device=board, runs=3)
    (model,) = result.models
    assert [op.operator for op in model.operators if not op.is_delegated] == ["SOFTMAX"]
    assert model.unmapped == ()
    assert all(op.time_ms is not None for op in model.operators)
    assert (result.validity, result.reasons) == ("invalid", ())
    assert "bench.emulated" in [issue.code for issue in result.issues]


@pytest.mark.slow
def test_two_boards_work_at_the_same_time(board: str, int8_mobilenet: Path) -> None:
    """The second is a copy with its own keys, and without the files that were sent to the first."""
    second = VirtualBoard.of("arm64-2")
    build("arm64-2")
    shutil.rmtree(second.root / "home/pi/.cache", ignore_errors=True)
    names = [board, "emulated:arm64-2"]
    seen: list[str] = []

    def bench(name: str, show: Any) -> Any:
        return edgeq.bench([int8_mobilenet], device=name, options=QUICK, on_progress=show)

    def note(step: str, done: int, total: int | None) -> None:
        seen.append(step)

    try:
        result = run_fleet("bench", names, bench, note)
        assert result.is_complete
        assert [entry.result.facts.device for entry in result.entries] == names
        assert any(step.startswith("emulated:arm64-2: fetch ai-edge") for step in seen)
    finally:
        stop("arm64-2")


def test_it_starts_again_after_it_was_stopped(board: str) -> None:
    made = VirtualBoard.of("arm64")
    stop("arm64")
    assert made.port is None
    (found,) = inventory.check_devices([board])
    assert found.facts is not None
    assert made.port == start(made)


def test_a_number_that_belongs_to_another_process_by_now_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restart of this machine, the file with the number is still there."""
    other = subprocess.Popen(["sleep", "60"])
    try:
        monkeypatch.setenv("EDGEQ_BOARDS", str(tmp_path))
        made = VirtualBoard.of("arm64")
        made.folder.mkdir()
        (made.folder / "running").write_text(f"1 {other.pid}")
        stop("arm64")
        assert made.port is None
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.5)
    finally:
        other.kill()
        other.wait()


def test_an_unknown_machine_is_told() -> None:
    with pytest.raises(UsageError, match=r"Unknown board 'emulated:riscv'; use emulated:arm"):
        resolve_device("emulated:riscv")


def test_one_that_is_not_built_says_how(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEQ_BOARDS", str(tmp_path))
    with pytest.raises(DeviceError) as caught:
        resolve_device("emulated:arm64").facts()
    assert caught.value.message == "emulated:arm64 is not built yet."
    assert caught.value.hint == "Build it once, as root: edgeq devices setup emulated:arm64"
