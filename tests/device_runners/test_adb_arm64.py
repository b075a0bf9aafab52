"""A real adb server, with the arm64 userland of the virtual board behind the endpoint."""

from __future__ import annotations

import contextlib
import fcntl
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeq import models
from edgeq.device_runners.devices.adb import AdbDevice
from edgeq.device_runners.devices.emulated import VirtualBoard, build, start
from edgeq.device_runners.measuring import bench, run_job
from edgeq.errors import DeviceError
from edgeq.packaging.assembly.build import make_package
from edgeq.packaging.container.writing import write_package
from edgeq.values import BenchOptions
from tests.device_runners.devices.test_emulated import why_not
from tests.device_runners.phones import stand_in, start_server


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AdbDevice]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    board = VirtualBoard.of("arm64")
    build("arm64")
    with (board.folder / "test-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        start(board)  # it teaches the kernel to run arm64 programs
        server = start_server(tmp_path)
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server.port))
        endpoint = server.start_endpoint(
            tmp_path / "device", "--root", str(board.root), PATH="/usr/bin:/bin", HOME="/home/pi",
            TMPDIR="/tmp", XDG_CACHE_HOME="/home/pi/.cache", QEMU_CPU="cortex-a72",
        )  # fmt: skip
        serial = server.attach(endpoint.port)
        made = AdbDevice(f"adb:{serial}", serial)
        yield made
        made.close()
        server.stop()


def test_both_ways_of_measuring(device: AdbDevice, int8_mobilenet: Path) -> None:
    name = device.set_up()
    result = run_job.bench([int8_mobilenet], device, BenchOptions(runs=10, rounds=1))
    assert result.facts.machine == "aarch64"
    assert result.facts.cpu_model == "Cortex-A72 (Virtual arm64 board (qemu-user))"
    assert result.runs[0].validity == "invalid"  # an emulated latency

    root = VirtualBoard.of("arm64").root
    stand_in(root / "tmp/benchmark_model", f"/home/pi/.cache/edgeq/environments/{name}/bin/python3")
    options = BenchOptions(runs=10, benchmark_model="/tmp/benchmark_model")
    with sysfs(root):
        result = bench.bench([int8_mobilenet], device, options)
    assert {look.clock_mhz for look in result.looks} == {1800.0}
    assert {look.temperature_celsius for look in result.looks} == {61.5}
    assert (result.facts.machine, result.facts.cpu_model) == ("aarch64", "Cortex-A72")
    assert result.runs[0].latency.count == 10
    assert list((root / "tmp/edgeq-1000/jobs").iterdir()) == []

    shutil.copy(root / "usr/bin/true", root / "tmp/another arm64 program")
    where = "/tmp/another arm64 program"
    assert refusal(device, int8_mobilenet, where) == (
        f"{where} printed no result that edgeq can read."
    )
    if platform.machine() != "x86_64":
        return
    own = shutil.which("true")
    assert refusal(device, int8_mobilenet, own) == (
        f"{own} is built for x86-64, and {device.name} is aarch64."
    )


def test_a_package_is_verified_there(
    device: AdbDevice, int8_mobilenet: Path, tmp_path: Path
) -> None:
    data = models.path("fashion_mnist_test.npz")
    made = make_package(int8_mobilenet, "python", data=data, vectors=2)
    write_package(made.files, tmp_path / "package")
    done = subprocess.run(
        [sys.executable, "-c", "from edgeq.cli import main; main()", "verify", "package",
         "--device", device.name, "--json"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (check,) = (
        check for check in json.loads(done.stdout)["checks"]
        if check["name"] == f"golden vectors on {device.name}"
    )  # fmt: skip
    assert check["detail"][0].startswith("2 of 2 within tolerance")


@contextlib.contextmanager
def sysfs(root: Path) -> Iterator[None]:
    """A clock and a temperature where the kernel would tell them."""
    zone = root / "sys/class/thermal/thermal_zone0/temp"
    clocks = [root / f"sys/devices/system/cpu/cpu{n}/cpufreq/scaling_cur_freq" for n in (0, 1)]
    try:
        for path, text in ((zone, "61500"), (clocks[0], "600000"), (clocks[1], "1800000")):
            path.parent.mkdir(parents=True)
            path.write_text(f"{text}\n")
        yield
    finally:
        shutil.rmtree(root / "sys/class/thermal", ignore_errors=True)
        for path in clocks:
            shutil.rmtree(path.parents[1], ignore_errors=True)


def refusal(device: AdbDevice, model: Path, binary: str | None) -> str:
    with pytest.raises(DeviceError) as caught:
        bench.bench([model], device, BenchOptions(runs=1, benchmark_model=binary))
    return caught.value.message
