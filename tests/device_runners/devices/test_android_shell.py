"""Against a real adb server, with an endpoint that has a phone's tools and no Python.

`benchmark_model` is a stand-in that really runs the model; see its file.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from edgeq import models
from edgeq.cli import cli
from edgeq.device_runners.devices.adb import AdbDevice
from edgeq.device_runners.devices.local import LocalDevice
from edgeq.device_runners.links import link
from edgeq.device_runners.measuring import bench as measuring
from edgeq.device_runners.measuring import benchmark_tool_run, run_job
from edgeq.devices import inventory
from edgeq.errors import DeviceError, EdgeqError, UsageError
from edgeq.values import BenchOptions, BenchResult
from tests.device_runners.boards import Cable, wait_until
from tests.device_runners.phones import (
    AdbServer,
    Endpoint,
    pause,
    program,
    programs,
    stand_in,
    start_server,
)

QUICK = BenchOptions(runs=30)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdbServer]:
    made = start_server(tmp_path_factory.mktemp("adb"))
    yield made
    made.stop()


@pytest.fixture
def server(running: AdbServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AdbServer:
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(running.port))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(benchmark_tool_run, "LOOK_S", 0.1)
    monkeypatch.setattr(benchmark_tool_run, "_SHARE", 1.0)
    return running


@pytest.fixture
def phone(server: AdbServer, tmp_path: Path) -> Iterator[Endpoint]:
    """A phone with benchmark_model where it is looked for."""
    made = server.start_phone(tmp_path / "it's a; $HOME phone")
    stand_in(made.folder / "benchmark_model")
    yield made
    server.forget()


def open_phone(phone: Endpoint, **settings: Any) -> AdbDevice:
    return AdbDevice(f"adb:{phone.serial}", phone.serial, **settings)


def bench(phone: Endpoint, *paths: Path, **changes: Any) -> BenchResult:
    settings = {"runs": 30, **changes}
    return measuring.bench(paths, open_phone(phone), BenchOptions(**settings))


def refusal(work: Any) -> EdgeqError:
    with pytest.raises(EdgeqError) as caught:
        work()
    return caught.value


def test_a_run_is_a_record_like_another(phone: Endpoint, int8_mobilenet: Path) -> None:
    phone.thermal(2)
    device = open_phone(phone)
    result = measuring.bench([int8_mobilenet], device, BenchOptions(runs=2000, threads=2))
    (run,) = result.runs
    assert result.facts.device == f"adb:{phone.serial}"
    assert result.facts.release == "Android 15"
    assert str(result.facts.cpu_model).endswith("(Pretend 9)")
    assert (result.facts.python, result.facts.runtimes) == (None, ())
    latency = run.latency
    assert latency.count == 2000
    assert latency.p50_ms is not None
    assert 0 < latency.min_ms <= latency.p50_ms <= latency.max_ms  # type: ignore[operator]
    assert (latency.p50_low_ms, latency.p90_ms, latency.p99_ms) == (None, None, None)
    assert (run.threads, run.latencies_ms, run.warmup_ms, run.arena_bytes) == (2, (), (), None)
    assert run.init_ms > 0
    assert run.first_ms > 0
    assert run.peak_rss_bytes is None or run.peak_rss_bytes > 10e6
    assert (run.runtime.name, run.runtime.version[:7]) == ("benchmark_model", "sha256:")
    assert result.speedups == ()
    assert [issue.code for issue in run.issues if issue.code != "bench.coarse_clock"] == [
        "bench.no_raw_times", "bench.throttled",
    ]  # fmt: skip
    assert run.issues[-1].message == (
        "The processor was slowed down during the measurement (thermal status moderate) at 52 "
        "degrees Celsius."
    )
    assert run.validity == "degraded"
    assert len(result.looks) >= 3
    assert {look.temperature_celsius for look in result.looks} == {51.5}  # no cached value
    before = device.sent_bytes
    measuring.bench([int8_mobilenet], device, QUICK)
    assert device.sent_bytes == before == int8_mobilenet.stat().st_size
    assert phone.left() == []


def test_a_program_from_here_is_brought_there_once(phone: Endpoint, tiny: Any, save: Any) -> None:
    own = stand_in(phone.folder.parent / "a program; of 'mine'")
    (phone.folder / "benchmark_model").unlink()
    device = open_phone(phone)
    options = BenchOptions(runs=30, benchmark_model=str(own))
    for _ in range(2):
        measuring.bench([save(tiny.add_one())], device, options)
    assert device.sent_bytes == own.stat().st_size + save(tiny.add_one()).stat().st_size
    on_phone = next(path for path in (phone.root / "files").iterdir() if b"python" in
                    path.read_bytes()[:200])  # fmt: skip
    bench(phone, save(tiny.add_one()), benchmark_model=str(on_phone))


def test_what_has_no_python_says_so(phone: Endpoint, int8_mobilenet: Path) -> None:
    device = open_phone(phone)
    found = refusal(lambda: next(run_job.infer([int8_mobilenet], iter([]), device)))
    assert found.message == (
        f"{device.name} has no Python 3.8 or newer (python3), "
        "which every command except bench needs."
    )
    assert found.hint == (
        "bench runs there with TensorFlow's benchmark_model: --benchmark-model PATH. If its "
        "Python is elsewhere, name it: --python PATH"
    )
    named = open_phone(phone, python="/no/python3")  # and is not replaced by benchmark_model
    found = refusal(lambda: measuring.bench([int8_mobilenet], named, QUICK))
    assert found.message == (
        f"{device.name} has no Python 3.8 or newer (/no/python3), "
        "which every command except bench needs."
    )
    data = ["--data", models.path("fashion_mnist_test.npz")]
    for verb, more in (("eval", data), ("profile", [])):
        words = [verb, int8_mobilenet, *more, "--device", device.name]
        done = CliRunner().invoke(cli, list(map(str, words)), standalone_mode=False)
        assert "has no Python 3.8 or newer (python3)" in str(done.exception), done.output


@pytest.mark.parametrize(
    ("changes", "option"),
    [({"sustained_s": 60.0, "runs": None}, "--sustained"),
     ({"rounds": 9}, "--rounds 9"),
     ({"runtime": "tensorflow"}, "--runtime tensorflow")],
)  # fmt: skip
def test_what_the_program_cannot_do_is_refused(
    phone: Endpoint, tiny: Any, save: Any, changes: dict[str, Any], option: str
) -> None:
    found = refusal(lambda: bench(phone, save(tiny.add_one()), **changes))
    assert isinstance(found, UsageError)
    assert found.message == (
        f"{option} needs edgeq's agent, and adb:{phone.serial} is measured with benchmark_model."
    )


def test_without_a_program_it_says_what_to_type(phone: Endpoint, tiny: Any, save: Any) -> None:
    (phone.folder / "benchmark_model").unlink()
    name, path = f"adb:{phone.serial}", save(tiny.add_one())
    found = refusal(lambda: bench(phone, path))
    assert found.message == f"{name} has neither Python nor {phone.folder}/benchmark_model."
    assert found.hint == (
        "Pass TensorFlow Lite's benchmark tool: --benchmark-model PATH (for most phones, "
        "android_aarch64_benchmark_model)."
    )
    assert refusal(lambda: bench(phone, path, benchmark_model="/no/such")).message == (
        f"--benchmark-model /no/such is neither a file here nor a program on {name}."
    )
    assert refusal(lambda: bench(phone, path, benchmark_model="no-such")).message == (
        f"--benchmark-model no-such is neither a file here nor an absolute path on {name}."
    )
    found = refusal(
        lambda: measuring.bench([path], LocalDevice(), BenchOptions(benchmark_model="no-such"))
    )
    assert found.message == "--benchmark-model is only for devices behind adb, not for local."


def test_a_program_for_another_processor_is_told(phone: Endpoint, tiny: Any, save: Any) -> None:
    head = bytearray(Path(sys.executable).resolve().read_bytes()[:64])
    head[18] = 0xF3  # e_machine: RISC-V
    binary = phone.folder.parent / "for_riscv"
    binary.write_bytes(head)
    found = refusal(lambda: bench(phone, save(tiny.add_one()), benchmark_model=str(binary)))
    machine = os.uname().machine
    assert found.message == (f"{binary} is built for RISC-V, and adb:{phone.serial} is {machine}.")
    assert phone.left() == []


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'ERROR: Didn'\\''t find op for builtin opcode 9'; exit 1",
         "Didn't find op for builtin opcode 9"),
        ("kill -9 $$", "benchmark_model was killed by SIGKILL, probably for lack of memory"),
        ("exit 3", "it printed nothing"),
    ],
)  # fmt: skip
def test_a_failing_program_is_told(
    phone: Endpoint, tiny: Any, save: Any, script: str, message: str
) -> None:
    program(phone.folder / "benchmark_model", f"#!/bin/sh\n{script}\n")
    path = save(tiny.add_one())
    found = refusal(lambda: bench(phone, path))
    assert found.message == f"{path} cannot be run on adb:{phone.serial}: {message}."
    assert phone.left() == []


def test_a_model_that_it_refuses_is_told(phone: Endpoint, tiny: Any, save: Any) -> None:
    path: Path = save(tiny.add_one())
    path.write_bytes(path.read_bytes().replace(b"TFL3", b"TFL9"))
    assert isinstance(refusal(lambda: bench(phone, path)), EdgeqError)
    assert not (phone.root / "files").exists()  # nothing was sent


def test_a_run_goes_on_without_its_cable(
    server: AdbServer, phone: Endpoint, int8_mobilenet: Path
) -> None:
    cable = Cable(phone.port)
    serial = server.attach(cable.port)

    def pull_once(event: dict[str, Any]) -> None:
        # The tool does not tell how many inferences it has done.
        assert event.get("step") != "measure" or event["done"] == 0
        if event.get("step") == "measure" and not cable.cuts:
            cable.cut()
            threading.Thread(target=lambda: (pause(), server.attach(cable.port))).start()

    device = AdbDevice(f"adb:{serial}", serial)
    options = BenchOptions(min_time_s=2, max_time_s=2)
    (run,) = measuring.bench([int8_mobilenet], device, options, on_event=pull_once).runs
    assert cable.cuts == 1
    assert run.latency.count * run.latency.mean_ms > 1000
    assert phone.left() == []
    cable.close()


def test_an_upload_that_is_stopped_leaves_nothing(phone: Endpoint, tiny: Any, save: Any) -> None:
    path: Path = save(tiny.add_one())
    path.write_bytes(path.read_bytes() + bytes(10 << 20))

    def stop(event: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measuring.bench([path], open_phone(phone), QUICK, on_event=stop)
    assert phone.left() == []


def test_a_job_that_vanishes_is_told(phone: Endpoint, int8_mobilenet: Path) -> None:
    def remove(event: dict[str, Any]) -> None:
        if event.get("step") == "measure":
            for path in (phone.root / "jobs").iterdir():
                shutil.rmtree(path)

    device = open_phone(phone)
    options = BenchOptions(min_time_s=2, max_time_s=2)
    found = refusal(lambda: measuring.bench([int8_mobilenet], device, options, on_event=remove))
    assert found.message == f"The run on {device.name} was killed, or {device.name} was restarted."
    for pid in programs(phone):
        os.kill(pid, signal.SIGKILL)


def test_a_cable_that_stays_away_is_told(
    server: AdbServer, phone: Endpoint, int8_mobilenet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark_tool_run, "_CLEAN_UP_S", 0.1)
    cable = Cable(phone.port)
    serial = server.attach(cable.port)

    def pull(event: dict[str, Any]) -> None:
        if event.get("step") == "measure":
            cable.is_dead = True
            cable.cut()

    device = AdbDevice(f"adb:{serial}", serial, patience_s=0.5)
    options = BenchOptions(min_time_s=1, max_time_s=1)
    with pytest.raises(DeviceError) as caught:
        measuring.bench([int8_mobilenet], device, options, on_event=pull)
    assert caught.value.message.startswith(
        f"The link to adb:{serial} was lost and did not come back in 0.5 s: "
    )
    assert caught.value.hint == "Run the same command again when adb devices shows it."


@pytest.mark.parametrize("how", ["ctrl-c", "kill"])
def test_nothing_is_left_running(phone: Endpoint, tiny: Any, save: Any, how: str) -> None:
    words = ["bench", str(save(tiny.add_one())), "--device", f"adb:{phone.serial}",
             "--min-time", "60", "--max-time", "60"]  # fmt: skip
    child = subprocess.Popen(
        [sys.executable, "-c", "from edgeq.cli import main; main()", *words],
        stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    wait_until(lambda: programs(phone))
    if how == "ctrl-c":
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=30)
        assert errors.decode().strip() == "Interrupted; nothing was written."
    else:
        for pid in programs(phone):
            os.kill(pid, signal.SIGKILL)
        _, errors = child.communicate(timeout=30)
        assert "benchmark_model was killed by SIGKILL, probably for lack of memory." in (
            errors.decode()
        )
    assert programs(phone) == []
    assert phone.left() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_full_disk_is_told(
    phone: Endpoint, tiny: Any, save: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path: Path = save(tiny.add_one())
    path.write_bytes(path.read_bytes() + bytes(24 << 20))
    phone.root.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(phone.root)]
    subprocess.run(command, check=True)
    try:
        found = refusal(lambda: bench(phone, path))
        assert found.message == (
            f"The disk of adb:{phone.serial} is too full for {path.name}: it needs 25.2 MB, "
            f"and 2.1 MB are free in {phone.root}."
        )
        assert found.hint == (
            "Make room there, or empty edgeq's cache: edgeq devices clean adb:" + phone.serial
        )
        monkeypatch.setattr(link, "_FEWEST_FREE_BYTES", -100_000_000)  # filled meanwhile
        found = refusal(lambda: bench(phone, path))
        assert found.message.startswith(f"adb:{phone.serial} cannot store {path.name}: head: ")
        assert found.message.endswith("No space left on device.")
        assert phone.left() == []
    finally:
        subprocess.run(["umount", str(phone.root)], check=True)


# ---------------------------------------------------------------- devices and doctor


def run(*words: Any) -> Any:
    return CliRunner().invoke(cli, list(map(str, words)), standalone_mode=False)


def test_it_is_named_checked_set_up_and_cleaned(phone: Endpoint, tiny: Any, save: Any) -> None:
    (phone.folder / "benchmark_model").unlink()
    own = stand_in(phone.folder.parent / "own")
    assert run("devices", "add", "phone", f"adb:{phone.serial}").exception is None
    shown = run("devices", "check", "phone").output
    assert "empty" in shown
    assert "no Python, no benchmark_model: edgeq devices setup phone" in " ".join(shown.split())
    checkup = run("doctor", "phone", "--json")
    assert checkup.return_value == 1
    problems = json.loads(checkup.output)["problems"]
    assert [item["code"] for item in problems if "governor" not in item["code"]] == [
        "doctor.no_benchmark_model", "doctor.no_python",
    ]  # fmt: skip
    assert refusal(lambda: inventory.set_up("phone", on_progress=quiet)).message == (
        f"phone has neither Python nor {phone.folder}/benchmark_model."
    )
    found = run("devices", "setup", "phone", "--benchmark-model", own)
    assert found.output.startswith(f"phone is ready: {phone.folder}/benchmark_model (sha256:")
    assert run("doctor", "phone").return_value == 0
    assert "ready" in run("devices", "check", "phone").output
    bench(phone, save(tiny.add_one()))
    assert run("devices", "clean", "phone").output == "phone: 0.0 MB freed\n"
    assert list((phone.root / "files").iterdir()) == []


def quiet(step: str, done: int, total: int | None) -> None:
    pass


def test_two_at_once_are_one_table(
    server: AdbServer, phone: Endpoint, tmp_path: Path, tiny: Any, save: Any
) -> None:
    other = server.start_phone(tmp_path / "other")
    names = [f"adb:{item.serial}" for item in (phone, other)]
    stand_in(other.folder / "benchmark_model")
    words = [
        "bench",
        save(tiny.add_one()),
        "--runs",
        30,
        "--device",
        ",".join([*names, "adb:gone"]),
    ]
    entries = json.loads(run(*words, "--json").output)["entries"]
    assert [entry["device"] for entry in entries] == [*names, "adb:gone"]
    assert [entry["result"]["facts"]["device"] for entry in entries[:2]] == names
    assert [entry["result"]["runs"][0]["latency"]["count"] for entry in entries[:2]] == [30, 30]
    assert entries[2]["error"].startswith("adb has no device 'gone'; it has: ")


def test_arrays_are_refused(phone: Endpoint, tiny: Any, save: Any) -> None:
    path = save(tiny.add_one())
    given = {str(path): {"x": np.zeros((1, 4), np.float32)}}
    found = refusal(lambda: measuring.bench([path], open_phone(phone), QUICK, given))
    assert found.message.startswith("--data needs edgeq's agent, and ")
