"""Against a real sshd on loopback; the board is this machine under another cache folder."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncssh
import numpy as np
import pytest

from edgeq.device_runners.devices.board import BoardDevice
from edgeq.device_runners.devices.local import LocalDevice
from edgeq.device_runners.links import ssh
from edgeq.device_runners.measuring import run_job
from edgeq.errors import DeviceError
from edgeq.values import BenchOptions
from tests.device_runners.boards import (
    SSHD,
    Board,
    Cable,
    descendants,
    free_port,
    make_key,
    start_sshd,
    wait_until,
)

pytestmark = pytest.mark.skipif(not Path(SSHD).exists(), reason="openssh-server is not installed")

QUICK = BenchOptions(runs=30, rounds=2)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """The name of its cache's folder would be several words for a shell."""
    folder = tmp_path_factory.mktemp("sshd")
    made = start_sshd(folder, folder / "it's a; $HOME board")
    yield made
    made.stop()


@pytest.fixture
def device(board: Board) -> Iterator[BoardDevice]:
    made = board.device()
    yield made
    made.close()


@pytest.fixture
def cable(board: Board) -> Iterator[Cable]:
    made = Cable(board.port)
    board.know(made.port)
    yield made
    made.close()


@pytest.fixture
def large_model(tiny: Any, save: Any, tmp_path: Path) -> Path:
    """A model with a few megabytes behind it, so that an upload can be cut."""
    path: Path = save(tiny.add_one())
    noise = np.random.default_rng(0).bytes(6 << 20)
    path.write_bytes(path.read_bytes() + noise)
    return path


def test_a_second_bench_sends_no_byte_of_the_model(
    board: Board, device: BoardDevice, int8_mobilenet: Path
) -> None:
    first = run_job.bench([int8_mobilenet], device, QUICK)
    assert first.runs[0].latency.count == 30
    assert first.facts.device == "board"
    before = device.sent_bytes
    run_job.bench([int8_mobilenet], device, QUICK)
    assert device.sent_bytes - before < 60_000 < int8_mobilenet.stat().st_size
    assert board.jobs() == []
    assert list((board.root / "incoming").iterdir()) == []
    for path in (board.root / "files").iterdir():
        digest = subprocess.run(
            ["sha256sum", str(path)], capture_output=True, text=True, check=True
        )
        assert digest.stdout.lstrip("\\").startswith(path.name)


def test_outputs_are_those_of_this_machine(device: BoardDevice, int8_mobilenet: Path) -> None:
    samples = np.random.default_rng(1).integers(-128, 128, (40, 28, 28, 1)).astype(np.int8)
    found = [
        next(run_job.infer([int8_mobilenet], iter([[{"image": samples}]]), runner))[0]["class"]
        for runner in (device, LocalDevice())
    ]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"port": 1}, "board cannot be reached: connection refused."),
        ({"host": "no-such-host.invalid"}, "board cannot be reached: "),
        ({"known_hosts": "/dev/null"}, "is not in known_hosts: Host key is not trusted"),
        ({"python": "python9"}, "has no python9: "),
    ],
)
def test_what_keeps_us_out_is_told(board: Board, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DeviceError) as caught:
        board.device(**changes).facts()
    assert message in caught.value.message
    assert caught.value.hint


def test_a_wrong_host_key_is_refused(board: Board, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other").with_suffix(".pub").read_text().split()[:2]
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{board.port} {' '.join(other)}\n")
    with pytest.raises(DeviceError) as caught:
        board.device(known_hosts=str(known)).facts()
    shown = asyncssh.read_public_key(board.folder / "host_key.pub").get_fingerprint()
    assert caught.value.message == (
        f"{board.address()} shows another host key than the one in known_hosts, {shown}: Host key "
        "is not trusted for host 127.0.0.1."
    )
    assert caught.value.hint == (
        "Another machine may answer in its place. If the board was installed again, remove the old "
        f"key: ssh-keygen -f {known} -R '[127.0.0.1]:{board.port}'"
    )


def test_an_unknown_host_says_its_fingerprint(board: Board, tmp_path: Path) -> None:
    shown = asyncssh.read_public_key(board.folder / "host_key.pub").get_fingerprint()
    with pytest.raises(DeviceError) as caught:
        board.device(known_hosts=str(tmp_path / "none")).facts()
    assert caught.value.message.startswith(f"The host key of {board.address()}, which is {shown}, ")
    assert caught.value.hint == (
        "Log in once by hand and compare the fingerprint: "
        f"ssh -p {board.port} {board.address().user}@127.0.0.1"
    )


@pytest.mark.parametrize(
    ("python", "message"),
    [
        ("/none/python", "board has no usable Python at /none/python: No such file or directory."),
        ("/bin/true", "board has no usable Python at /bin/true: it does not answer like one."),
    ],
)
def test_an_interpreter_there_that_is_none_is_told(board: Board, python: str, message: str) -> None:
    where = board.address()
    with pytest.raises(DeviceError) as caught:
        BoardDevice("board", lambda: ssh.connect(where), python=python).facts()
    assert caught.value.message == message
    assert "--python" in str(caught.value.hint)


def test_what_a_wrong_interpreter_prints_is_kept_for_later(board: Board) -> None:
    where = board.address()
    with pytest.raises(DeviceError) as caught:
        BoardDevice("board", lambda: ssh.connect(where), python="/bin/sh").facts()
    assert caught.value.message.startswith("board failed: ")
    assert "\n" not in caught.value.message
    assert "\n" in str(caught.value.details)


def test_a_refused_key_is_told(board: Board, tmp_path: Path) -> None:
    with pytest.raises(
        DeviceError, match="accepts none of your SSH keys: Permission denied"
    ) as caught:
        board.device(keys=(str(make_key(tmp_path / "stranger")),)).facts()
    where = board.address()
    assert caught.value.hint == f"Give it yours: ssh-copy-id -p {board.port} {where.user}@127.0.0.1"


def test_a_key_that_is_not_the_one_of_its_pub_file_is_told(board: Board, tmp_path: Path) -> None:
    key = make_key(tmp_path / "key")
    shutil.copy(make_key(tmp_path / "other").with_suffix(".pub"), key.with_suffix(".pub"))
    with pytest.raises(DeviceError, match=r"cannot be used: .*/key: Public key mism") as caught:
        board.device(keys=(str(key),)).facts()
    assert "ssh-keygen -y -f KEY" in str(caught.value.hint)


def test_what_a_login_prints_is_no_reply(
    board: Board, tmp_path: Path, tiny: Any, save: Any
) -> None:
    noisy = tmp_path / "python"
    noisy.write_text(f"#!/bin/sh\necho 'Welcome to the board'\nexec {sys.executable} \"$@\"\n")
    noisy.chmod(0o755)
    device = board.device(python=str(noisy))
    assert run_job.bench([save(tiny.add_one())], device, QUICK).runs[0].latency.count == 30
    device.close()


def test_an_upload_that_is_cut_goes_on_where_it_was(
    board: Board, cable: Cable, large_model: Path
) -> None:
    device = board.device(port=cable.port)
    cable.cut_after = 3 << 20
    run_job.bench([large_model], device, QUICK)
    assert cable.cuts == 1
    size = large_model.stat().st_size
    assert size < cable.carried < size + (2 << 20)  # blocks on their way are sent again
    device.close()


def test_a_run_goes_on_without_its_link(board: Board, cable: Cable, int8_mobilenet: Path) -> None:
    device = board.device(port=cable.port)
    steps: list[str] = []

    def cut_once(event: dict[str, Any]) -> None:
        steps.append(str(event.get("step")))
        if event.get("step") == "measure" and not cable.cuts:
            cable.cut()

    options = BenchOptions(min_time_s=2, max_time_s=2)
    result = run_job.bench([int8_mobilenet], device, options, on_event=cut_once)
    assert cable.cuts == 1
    assert sum(map(sum, result.runs[0].latencies_ms)) > 1900  # of the run that was cut off
    assert steps.count("load") == 1  # it was not started again
    assert board.jobs() == []
    device.close()


def test_a_result_outlives_a_jump_of_the_clock(
    board: Board, cable: Cable, int8_mobilenet: Path
) -> None:
    """A Raspberry Pi's clock jumps by years when it gets a network, while the link is away."""
    device = board.device(port=cable.port)

    def jump(event: dict[str, Any]) -> None:
        if event.get("step") == "measure" and not cable.cuts:
            cable.cut()
            wait_until(lambda: not board.agents())
            (folder,) = board.jobs()
            os.utime(folder, (0, 0))  # a new keeper now finds a job of 1970

    options = BenchOptions(min_time_s=1, max_time_s=1)
    result = run_job.bench([int8_mobilenet], device, options, on_event=jump)
    assert cable.cuts == 1
    assert sum(map(sum, result.runs[0].latencies_ms)) > 900
    assert board.jobs() == []
    device.close()


def test_a_link_that_does_not_come_back_is_told(
    board: Board, cable: Cable, tiny: Any, save: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeq.device_runners.devices.board._CLEAN_UP_S", 0.5)
    device = board.device(port=cable.port, patience_s=1)

    def cut(event: dict[str, Any]) -> None:
        cable.is_dead = True
        cable.cut()

    options = BenchOptions(min_time_s=1, max_time_s=1)
    with pytest.raises(DeviceError) as caught:
        run_job.bench([save(tiny.add_one())], device, options, on_event=cut)
    assert caught.value.message.startswith(
        "The link to board was lost and did not come back in 1 s"
    )
    wait_until(lambda: not board.agents())
    for path in board.jobs():
        shutil.rmtree(path)


def test_ctrl_c_leaves_nothing_running(board: Board, tiny: Any, save: Any) -> None:
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from pathlib import Path; from edgeq.device_runners.links import ssh;"
        "from edgeq.device_runners.measuring import run_job;"
        "from edgeq.device_runners.devices.board import BoardDevice;"
        "from edgeq.values import BenchOptions;"
        f"where = ssh.{board.address()!r};"
        "device = BoardDevice('board', lambda: ssh.connect(where), python=sys.executable);"
        f"run_job.bench([Path({str(save(tiny.add_one()))!r})], device,"
        "BenchOptions(min_time_s=60, max_time_s=60))"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
    wait_until(board.agents)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=30)
    assert errors.decode().rstrip().endswith("KeyboardInterrupt")
    assert board.agents() == []
    assert board.jobs() == []


def test_nothing_is_deleted_under_a_run(board: Board, int8_mobilenet: Path) -> None:
    told: list[str] = []

    def clean(event: dict[str, Any]) -> None:
        if event.get("step") == "measure" and not told:
            (job,) = board.jobs()
            with pytest.raises(DeviceError) as caught:
                board.device().clean()
            told.append(caught.value.message.replace(job.name, "JOB"))

    device = board.device()
    options = BenchOptions(min_time_s=2, max_time_s=2)
    result = run_job.bench([int8_mobilenet], device, options, on_event=clean)
    assert result.runs[0].latency.count > 0
    assert told == ["A run on board needs what would be deleted: JOB."]


def test_two_runs_at_once_do_not_collide(board: Board, int8_mobilenet: Path) -> None:
    samples = np.random.default_rng(2).integers(-128, 128, (20, 28, 28, 1)).astype(np.int8)

    def run(number: int) -> np.ndarray:
        device = board.device()
        chunks = iter([[{"image": samples[number:]}]])
        (found,) = run_job.infer([int8_mobilenet], chunks, device, workers=1)
        device.close()
        return np.asarray(found[0]["class"])

    with ThreadPoolExecutor(3) as pool:
        first, *others = pool.map(run, range(3))
    for number, found in enumerate(others, 1):
        np.testing.assert_array_equal(first[number:], found)
    assert board.jobs() == []


def strike(board: Board, wanted: str) -> Any:
    """Called with each event: once the model runs, kill these processes."""
    done = threading.Event()

    def act(event: dict[str, Any]) -> None:
        if event.get("step") == "measure" and not done.is_set():
            done.set()
            (folder,) = board.jobs()
            group = json.loads((folder / "process.json").read_text())["group"]
            if wanted == "agent":
                agents = [pid for pid in board.agents() if pid != group]
                os.kill(agents[0], signal.SIGKILL)
                return
            if wanted == "reboot":
                (folder / "process.json").write_text(json.dumps({"group": group, "boot": "other"}))
            os.killpg(group, signal.SIGKILL)

    return act


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("agent", "The agent on board was killed by SIGKILL, probably for lack of memory."),
        ("all", "The run on board was killed, or board was restarted."),
        ("reboot", "board was restarted during the run."),
    ],
)
def test_a_run_that_dies_is_told(
    board: Board, device: BoardDevice, int8_mobilenet: Path, wanted: str, message: str
) -> None:
    options = BenchOptions(min_time_s=20, max_time_s=20)
    with pytest.raises(DeviceError) as caught:
        run_job.bench([int8_mobilenet], device, options, on_event=strike(board, wanted))
    assert caught.value.message == message
    assert board.agents() == []
    assert board.jobs() == []


def test_a_missing_runtime_is_told_before_anything_is_sent(
    device: BoardDevice, tiny: Any, save: Any
) -> None:
    device.facts()
    before = device.sent_bytes
    with pytest.raises(DeviceError) as caught:
        run_job.bench([save(tiny.add_one())], device, BenchOptions(runtime="tflite-runtime"))
    assert caught.value.message == f"{sys.executable} on board has no tflite-runtime."
    assert device.sent_bytes == before


# ---------------------------------------------------------------- where the cache cannot be

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Any]:
    """Mount a small tmpfs; gives its folder."""
    made: list[Path] = []

    def mount(options: str) -> Path:
        folder = tmp_path / "mounted"
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
        made.append(folder)
        return folder

    yield mount
    for folder in made:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def board_in(tmp_path: Path) -> Iterator[Any]:
    """A board with its cache in a folder."""
    made: list[Board] = []

    def start(cache: Path, **environment: str) -> Board:
        made.append(start_sshd(tmp_path / "sshd", cache, **environment))
        return made[-1]

    yield start
    for item in made:
        item.stop()


@needs_root
def test_a_full_disk_is_told(mounted: Any, board_in: Any, large_model: Path) -> None:
    board = board_in(mounted("size=2m") / "cache")
    with pytest.raises(DeviceError) as caught:
        run_job.bench([large_model], board.device(), QUICK)
    assert caught.value.message.startswith("The disk of board is too full for ")
    assert "MB are free in " in caught.value.message
    assert caught.value.hint == (
        "Make room there, or empty edgeq's cache: edgeq devices clean board"
    )


@needs_root
@pytest.mark.parametrize("options", ["noexec", "ro"])
def test_a_home_that_cannot_hold_libraries_is_passed_over(
    mounted: Any, board_in: Any, tiny: Any, save: Any, options: str
) -> None:
    folder = mounted("size=2m,noexec" if options == "noexec" else "size=2m")
    (folder / "cache").mkdir()
    if options == "ro":
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    device = board_in(folder / "cache", HOME=str(folder)).device()
    assert run_job.bench([save(tiny.add_one())], device, QUICK).runs[0].latency.count == 30
    root = Path(device.session.hello["root"])
    assert root == Path(f"/var/tmp/edgeq-{os.getuid()}")
    assert root.stat().st_mode & 0o077 == 0  # anybody may look into the folder above
    device.session.call("forget")
    device.close()


def test_a_command_is_one_word_for_each_argument(board: Board, tmp_path: Path) -> None:
    """The interpreter's path is quoted for the remote shell."""
    python = tmp_path / "a folder; touch oops" / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    device = board.device(python=shlex.quote(str(python)))
    assert device.facts().device == "board"
    device.close()
    assert not (Path.home() / "oops").exists()


def test_a_board_that_stops_answering_is_lost(board: Board, monkeypatch: Any) -> None:
    """Its sshd is frozen in the middle: keepalives find out."""
    monkeypatch.setattr(ssh, "_KEEPALIVE_S", 0.2)
    port_owner = start_sshd(board.folder.parent / f"frozen-{free_port()}", board.cache)
    device = port_owner.device(patience_s=0.5)
    device.facts()
    frozen = descendants(port_owner.process.pid)
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr(ssh, "_CONNECT_S", 0.5)
    with pytest.raises(DeviceError, match=r"was lost and did not come back in 0\.5 s"):
        device.session.call("room")
    for pid in frozen:
        os.kill(pid, signal.SIGKILL)
    port_owner.stop()


# ---------------------------------------------------------------- batches


def test_an_interrupted_run_goes_on_at_its_last_batch(
    board: Board, int8_mobilenet: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(run_job, "_BATCH_BYTES", 1)  # a chunk each
    samples = np.random.default_rng(3).integers(-128, 128, (50, 28, 28, 1)).astype(np.int8)

    def run(device: BoardDevice, chunks: int, on_event: Any = None) -> list[np.ndarray]:
        fed = ([{"image": samples[10 * n : 10 * n + 10]}] for n in range(chunks))
        found = run_job.infer([int8_mobilenet], fed, device, on_event=on_event)
        return [item[0]["class"] for item in found]

    jobs: list[str] = []

    def die_in_the_third(event: dict[str, Any]) -> None:
        if event["event"] == "end":
            jobs.append("done")
        if len(jobs) == 2 and event.get("step") == "upload, kB":
            raise KeyboardInterrupt

    device = board.device()
    with pytest.raises(KeyboardInterrupt):
        run(device, 5, die_in_the_third)
    (kept,) = (tmp_path / "cache" / "edgeq" / "runs").iterdir()
    assert len(list(kept.iterdir())) == 2

    jobs.clear()
    found = run(device, 5, lambda event: jobs.append("done") if event["event"] == "end" else None)
    assert len(jobs) == 3  # two of five were not run again
    (expected,) = run_job.infer([int8_mobilenet], iter([[{"image": samples}]]), LocalDevice())
    np.testing.assert_array_equal(np.concatenate(found), expected[0]["class"])
    assert list((tmp_path / "cache" / "edgeq" / "runs").iterdir()) == []
    device.close()
