"""Two boards (a real sshd each, on this machine) and one that does not exist, at the same time."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from edgeq import api, models
from edgeq.cli import cli
from edgeq.device_runners.devices import registry
from edgeq.device_runners.devices.addresses import resolve_device
from edgeq.device_runners.devices.device import events_as_progress, upload_event
from edgeq.devices.fleet import Fleet, FleetEntry, run_fleet, split_names
from edgeq.errors import DeviceError, UsageError
from edgeq.issues import make_issue
from edgeq.render.fleet import show_fleet
from edgeq.values import Issue
from tests.device_runners.boards import SSHD, Board, start_sshd

pytestmark = pytest.mark.skipif(not Path(SSHD).exists(), reason="openssh-server is not installed")


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Board]]:
    made = [
        start_sshd(folder, folder / "cache")
        for folder in (tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two"))
    ]
    yield made
    for item in made:
        item.stop()


@pytest.fixture
def names(boards: list[Board], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Devices by name; the user's ~/.ssh and registry are in a folder of the test."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    ssh = tmp_path / ".ssh"
    ssh.mkdir(mode=0o700)
    known, config = "", ""
    for number, board in enumerate(boards):
        known += (board.folder / "known_hosts").read_text()
        config += (
            f"Host board{number}\n  HostName 127.0.0.1\n  Port {board.port}\n"
            f"  User {board.address().user}\n  IdentityFile {board.folder / 'key'}\n"
        )
    (ssh / "known_hosts").write_text(known)
    (ssh / "config").write_text(config)
    for number in range(2):
        registry.add_device(f"pi{number}", f"ssh://board{number}", sys.executable, in_project=False)
    return ["pi0", "pi1"]


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(cli, list(map(str, arguments)), standalone_mode=False)


def test_an_upload_tells_how_far_it_is() -> None:
    seen: list[tuple[str, int, int | None]] = []
    show = events_as_progress(lambda *step: seen.append(step))
    for sent in (1_048_576, 1_500_001):
        show(upload_event(sent, 1_500_001))
    show({"event": "progress", "step": "load", "done": 0})
    assert seen == [("upload, kB", 1049, 1501), ("upload, kB", 1501, 1501), ("load", 0, None)]


def test_where_path_has_no_python_the_one_that_is_named_serves(
    names: list[str], tmp_path: Path
) -> None:
    bare = tmp_path / "bare"  # a home without a .bashrc, which might repair PATH
    board = start_sshd(bare, bare / "cache", PATH="/none", HOME=str(bare))
    try:
        ssh = tmp_path / ".ssh"
        with (ssh / "known_hosts").open("a") as known:
            known.write((board.folder / "known_hosts").read_text())
        with (ssh / "config").open("a") as config:
            config.write(
                f"Host bare\n  HostName 127.0.0.1\n  Port {board.port}\n"
                f"  User {board.address().user}\n  IdentityFile {board.folder / 'key'}\n"
            )
        with pytest.raises(DeviceError, match=r"^bare has no python3: .*command not found\. Inst"):
            resolve_device("bare").facts()
        odd = tmp_path / "o'dd $PATH"
        odd.mkdir()
        (odd / "python").symlink_to(sys.executable)
        facts = resolve_device("bare", odd / "python").facts()
        assert facts.python_path == str(odd / "python")
    finally:
        board.stop()


def test_bench_on_two_boards_and_one_that_is_gone(names: list[str], int8_mobilenet: Path) -> None:
    devices = [*names, "nobody@127.0.0.1:1"]
    done = run("bench", int8_mobilenet, "--runs", 30, "--json", "--device", ",".join(devices))
    assert isinstance(done.exception, SystemExit)
    assert done.exception.code == 1
    record = json.loads(done.stdout)
    assert record["kind"] == "fleet-bench"
    assert [entry["device"] for entry in record["entries"]] == devices
    for entry in record["entries"][:2]:
        assert entry["error"] is None
        assert entry["result"]["facts"]["device"] == entry["device"]
        assert entry["result"]["runs"][0]["latency"]["count"] == 30
    assert record["entries"][2]["result"] is None
    assert record["entries"][2]["error"] == (
        "nobody@127.0.0.1:1 cannot be reached: connection refused."
    )


def test_eval_and_compare_agree_with_this_machine(
    names: list[str], int8_mobilenet: Path, float_mobilenet: Any
) -> None:
    data = ["--data", models.path("fashion_mnist_test.npz"), "--samples", 60]
    devices = ["--device", ",".join(["local", *names])]
    done = run("eval", int8_mobilenet, *data, "--json", *devices)
    assert done.exception is None
    entries = json.loads(done.stdout)["entries"]
    assert len({entry["result"][0]["metrics"][0]["value"] for entry in entries}) == 1
    shown = run("compare", float_mobilenet.file.path, int8_mobilenet, *data, "--no-latency",
                "--preprocess", "scale=1/255", *devices)  # fmt: skip
    assert shown.exception is None
    lines = [line.split() for line in shown.output.splitlines()]
    rows = {line[0]: line[1:] for line in lines if line[:1] in (["local"], ["pi0"], ["pi1"])}
    assert rows["local"] == rows["pi0"] == rows["pi1"]


def test_devices_are_named_once_and_known() -> None:
    assert split_names(["local", "local,local"]) == ("local",)
    with pytest.raises(UsageError, match=r"^Unknown device 'toaster'; known forms are local, "):
        split_names(["local,toaster"])
    with pytest.raises(UsageError, match="--device names nothing"):
        split_names([","])


def test_ctrl_c_stops_the_others() -> None:
    """The one that stops the fleet; the other notices at its next progress."""
    started, ended = threading.Event(), []

    def work(name: str, show: Any) -> None:
        if name == "a":
            started.wait()
            raise KeyboardInterrupt
        started.set()
        try:
            while True:
                show("run", 0, None)
        finally:
            ended.append(name)

    with pytest.raises(KeyboardInterrupt):
        run_fleet("bench", ["a", "b"], work, lambda step, done, total: None)
    assert ended == ["b"]


def test_a_doubt_names_the_devices_it_is_about(int8_mobilenet: Path) -> None:
    measured = api.bench([int8_mobilenet], runs=30)
    noisy, few = make_issue("bench.noisy", "it scatters"), make_issue("bench.few_runs", "too few")

    def entry(device: str, *issues: Issue) -> FleetEntry:
        return FleetEntry(
            device, replace(measured, runs=(replace(measured.runs[0], issues=issues),))
        )

    shown = show_fleet(Fleet("bench", (entry("pi0", noisy, few), entry("pi1", noisy))))
    assert "warning pi0, pi1: it scatters [bench.noisy]" in click.unstyle(shown)
    assert "warning pi0: too few [bench.few_runs]" in click.unstyle(shown)
