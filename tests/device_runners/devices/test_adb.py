"""Against a real adb server, with endpoints on loopback that have a Python: the agent's way."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq.device_runners.devices.adb import AdbDevice
from edgeq.device_runners.devices.addresses import resolve_device
from edgeq.device_runners.devices.local import LocalDevice
from edgeq.device_runners.measuring import run_job
from edgeq.errors import DeviceError, EdgeqError, UsageError
from edgeq.values import BenchOptions
from tests.device_runners.boards import Cable, free_port
from tests.device_runners.phones import AdbServer, Endpoint, pause, start_server

QUICK = BenchOptions(runs=30, rounds=2)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdbServer]:
    made = start_server(tmp_path_factory.mktemp("adb"))
    yield made
    made.stop()


@pytest.fixture
def server(running: AdbServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[AdbServer]:
    """Without any device at first."""
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(running.port))
    yield running
    running.forget()


@pytest.fixture
def endpoint(server: AdbServer, tmp_path: Path) -> Endpoint:
    """Its folder's name is one that a shell would take apart."""
    made = server.start_endpoint(tmp_path / "it's a; $HOME device")
    server.attach(made.port)
    return made


@pytest.fixture
def cable(server: AdbServer, endpoint: Endpoint) -> Iterator[Cable]:
    made = Cable(endpoint.port)
    server.attach(made.port)
    yield made
    made.close()


def open_device(serial: str, **settings: Any) -> AdbDevice:
    return AdbDevice(f"adb:{serial}", serial, python=sys.executable, **settings)


def put_back(server: AdbServer, cable: Cable) -> None:
    """Plug a cable in again in a moment, as its owner would."""

    def work() -> None:
        pause()
        server.attach(cable.port)

    threading.Thread(target=work, daemon=True).start()


def test_it_is_a_board_like_another(endpoint: Endpoint, int8_mobilenet: Path) -> None:
    device = AdbDevice("adb", None, python=sys.executable)
    result = run_job.bench([int8_mobilenet], device, QUICK)
    assert result.facts.device == device.name == f"adb:{endpoint.serial}"
    assert result.runs[0].latency.count == 30
    before = device.sent_bytes
    samples = np.random.default_rng(1).integers(-128, 128, (40, 28, 28, 1)).astype(np.int8)
    found = [
        next(run_job.infer([int8_mobilenet], iter([[{"image": samples}]]), runner))[0]["class"]
        for runner in (device, LocalDevice())
    ]
    np.testing.assert_array_equal(*found)
    # The samples, the job, and what tar fills up; neither the agent nor the model again.
    most = samples.nbytes + (32 << 10)
    assert device.sent_bytes - before < most < int8_mobilenet.stat().st_size
    root = endpoint.folder / "cache" / "edgeq"
    assert list((root / "jobs").iterdir()) == list((root / "incoming").iterdir()) == []
    device.close()


def test_an_upload_goes_on_when_the_cable_is_pulled(
    server: AdbServer, cable: Cable, tiny: Any, save: Any
) -> None:
    path: Path = save(tiny.add_one())
    path.write_bytes(path.read_bytes() + np.random.default_rng(0).bytes(20 << 20))
    device = open_device(f"127.0.0.1:{cable.port}")
    device.facts()
    cable.cut_after = cable.carried + (10 << 20)
    sent: list[int] = []

    def watch(event: dict[str, Any]) -> None:
        if event.get("step") == "upload, kB":
            sent.append(event["done"])

    threading.Thread(target=lambda: (wait_for_cut(cable), put_back(server, cable))).start()
    run_job.bench([path], device, QUICK, on_event=watch)
    assert cable.cuts == 1
    size = path.stat().st_size
    assert size < cable.carried < size + (6 << 20)  # one part of 4 MB was sent again
    device.close()


def wait_for_cut(cable: Cable) -> None:
    while not cable.cuts:
        pause()


def test_a_run_goes_on_without_its_cable(
    server: AdbServer, cable: Cable, endpoint: Endpoint, int8_mobilenet: Path
) -> None:
    device = open_device(f"127.0.0.1:{cable.port}")
    steps: list[str] = []

    def pull_once(event: dict[str, Any]) -> None:
        steps.append(str(event.get("step")))
        if event.get("step") == "measure" and not cable.cuts:
            cable.cut()
            put_back(server, cable)

    options = BenchOptions(min_time_s=2, max_time_s=2)
    result = run_job.bench([int8_mobilenet], device, options, on_event=pull_once)
    assert cable.cuts == 1
    assert sum(map(sum, result.runs[0].latencies_ms)) > 1900
    assert steps.count("load") == 1  # it was not started again
    assert list((endpoint.folder / "cache" / "edgeq" / "jobs").iterdir()) == []
    device.close()


# ---------------------------------------------------------------- what keeps us out


def refusal(serial: str | None) -> EdgeqError:
    with pytest.raises(DeviceError) as caught:
        AdbDevice("adb" if serial is None else f"adb:{serial}", serial).facts()
    return caught.value


def test_nothing_is_attached(server: AdbServer) -> None:
    found = refusal(None)
    assert found.message == "adb has no device."
    assert found.hint == (
        "Plug it in with USB debugging switched on, or type: adb connect HOST:5555"
    )
    assert refusal("X1").message == "adb has no device 'X1', and no other."


def test_two_are_attached_and_none_is_named(server: AdbServer, tmp_path: Path) -> None:
    serials = [
        server.attach(server.start_endpoint(tmp_path / name).port) for name in ("one", "two")
    ]
    found = refusal(None)
    assert found.message in (
        f"adb has 2 devices, and --device adb does not say which: {first}, {second}."
        for first, second in (serials, serials[::-1])
    )
    assert str(found.hint).startswith("Name one: --device adb:127.0.0.1:")


@pytest.mark.parametrize("serial", ["nobody", "-s"])
def test_an_unknown_serial_is_told(endpoint: Endpoint, serial: str) -> None:
    found = refusal(serial)
    assert found.message == f"adb has no device {serial!r}; it has: {endpoint.serial} (device)."
    assert found.hint == "Look which there are with: adb devices"


def test_an_unauthorized_device_is_told(server: AdbServer, tmp_path: Path) -> None:
    made = server.start_endpoint(tmp_path / "shy", "--never-authorize")
    serial = server.attach(made.port, "unauthorized")
    found = refusal(serial)
    assert found.message == (
        f"{serial} is unauthorized: it has not accepted this machine's adb key."
    )
    assert found.hint == (
        "Unlock it and accept 'Allow USB debugging?'. If it does not ask: adb kill-server, and "
        "plug it in again."
    )


def test_an_offline_device_is_told(server: AdbServer, cable: Cable) -> None:
    cable.is_dead = True
    cable.cut()
    serial = f"127.0.0.1:{cable.port}"
    while f"{serial}\toffline" not in server.adb("devices"):
        pause()
    found = refusal(serial)
    assert found.message == f"{serial} is offline: adb sees it, and it does not answer."
    assert found.hint == "Plug it in again, or type: adb reconnect offline"


def test_no_server_and_no_adb_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
    if shutil.which("adb") is not None:
        assert refusal(None).message == f"No adb server answers at 127.0.0.1:{port}."
        assert refusal(None).hint == "Start it: adb start-server"
    monkeypatch.setenv("PATH", "/nowhere")
    found = refusal(None)
    assert found.message == f"No adb server answers at 127.0.0.1:{port}, and adb is not installed."
    assert found.hint == ("Install it (Debian: sudo apt install adb). Start it: adb start-server")
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "x")
    with pytest.raises(UsageError) as caught:
        resolve_device("adb").facts()
    assert caught.value.message == "The adb server's address 'tcp:127.0.0.1:x' cannot be read."


def test_a_server_that_is_killed_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = start_server(tmp_path)
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(made.port))
    serial = made.attach(made.start_endpoint(tmp_path / "device").port)
    device = open_device(serial, patience_s=0.5)
    device.session.open()
    made.process.kill()
    made.process.wait()
    with pytest.raises(DeviceError) as caught:
        device.session.call("room")
    assert caught.value.message == (
        f"The link to adb:{serial} was lost and did not come back in 0.5 s: No adb server answers "
        f"at 127.0.0.1:{made.port}."
    )
    made.stop()
