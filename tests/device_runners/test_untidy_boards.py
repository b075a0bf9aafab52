"""Boards that are not tidy, each against a real sshd on loopback: what a login prints, what is
missing there, how it is mounted."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq.device_runners.devices import environment
from edgeq.device_runners.devices.board import BoardDevice
from edgeq.device_runners.links import keeper_link, session, ssh
from edgeq.device_runners.links.link import LinkLostError
from edgeq.device_runners.measuring import run_job
from edgeq.device_runners.on_board.keeper.frames import frames as keeper_frames
from edgeq.errors import DeviceError
from edgeq.values import BenchOptions
from tests.device_runners.boards import SSHD, USER, Board, Cable, free_port, start_sshd, wait_until

pytestmark = pytest.mark.skipif(not Path(SSHD).exists(), reason="openssh-server is not installed")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")

SFTP_SERVERS = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server")

Start = Callable[..., Board]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a board, with lines for its sshd_config and variables."""
    made: list[Board] = []

    def begin(*settings: str, **rest: Any) -> Board:
        made.append(start_sshd(tmp_path / "sshd", tmp_path / "cache", settings, **rest))
        return made[-1]

    yield begin
    for item in made:
        item.stop()


def behind(folder: Path, script: str) -> str:
    """A line for sshd_config: a login that runs this script, and then the command."""
    path = folder / "login"
    path.write_text(f'{script}\nexec /bin/sh -c "$SSH_ORIGINAL_COMMAND"\n')
    return f"ForceCommand /bin/sh {path}"


def own(board: Board) -> BoardDevice:
    """The board with the interpreter of its choice, so that edgeq's environments count."""
    where = board.address()
    return BoardDevice("board", lambda: ssh.connect(where))


def copies(device: BoardDevice, folder: Path) -> None:
    """A file of some blocks goes there and comes back."""
    path, back = folder / "sent", folder / "back"
    path.write_bytes(np.random.default_rng(0).bytes((5 << 19) + 7))
    digest = device.session.send(path, lambda size: None)
    source = Path(device.session.hello["root"]) / "files" / digest
    device.session.fetch(str(source), digest, back)
    assert back.read_bytes() == path.read_bytes()


def refuses(device: BoardDevice) -> DeviceError:
    with pytest.raises(DeviceError) as caught:
        device.facts()
    assert "\n" not in caught.value.message
    assert "\x1b" not in caught.value.message
    return caught.value


# ---------------------------------------------------------------- what a login prints

NOISE = {
    "a title without a line's end": r"printf '\033]0;pi@board\007'",
    "a message of the day": "echo Welcome; echo; echo to the board",
    "bytes that are not text": r"printf '\377\376\000\200\n\303'",
    "carriage returns": r"printf 'loading 1%%\rloading 2%%\r\r\n'",
    "a megabyte in one line": "head -c 1000000 /dev/zero | tr '\\0' x",
    "a megabyte of lines": "yes 'a line of the message of the day' | head -c 1000000",
    "a megabyte of warnings": "yes warning | head -c 1000000 >&2",
    "an incomplete mark": "printf '\\nedgeq-keeper-'",
    "text of a program left running": "(while sleep 0.05; do echo tick; done) & sleep 0.1",
}


@pytest.mark.parametrize("noise", NOISE)
def test_what_a_login_prints_is_skipped(start: Start, tmp_path: Path, noise: str) -> None:
    board = start(behind(tmp_path, NOISE[noise]))
    device = board.device()
    assert device.facts().device == "board"
    copies(device, tmp_path)
    assert board.logins() == 1
    device.close()


@pytest.mark.parametrize("sftp", ["none", "internal", "external", "one session"])
def test_no_sftp_is_needed(start: Start, tmp_path: Path, sftp: str) -> None:
    server = next((path for path in SFTP_SERVERS if Path(path).exists()), None)
    if sftp == "external" and server is None:
        pytest.skip("openssh-sftp-server is not installed")
    lines = {"internal": "Subsystem sftp internal-sftp", "external": f"Subsystem sftp {server}",
             "one session": "MaxSessions 1", "none": ""}  # fmt: skip
    board = start(lines[sftp], behind(tmp_path, "echo Welcome to the board"))
    device = board.device()
    assert device.facts().device == "board"
    copies(device, tmp_path)
    assert board.logins() == 1
    device.close()


def test_a_login_that_prints_without_end_is_told(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_link, "MOST_NOISE_BYTES", 1 << 20)
    told = refuses(start(behind(tmp_path, "yes for ever")).device())
    assert told.message == "A login there prints without end: for ever."


@pytest.mark.parametrize(
    ("command", "printed"),
    [
        ("/usr/sbin/nologin", "This account is currently not available"),
        ("echo Only backups are made here", "Only backups are made here"),
        (r"printf '\033[31mLocked\033[0m\r\n' >&2; false", "Locked"),
        ("true", "it printed nothing"),
    ],
)
def test_what_an_account_says_that_runs_no_command(
    start: Start, command: str, printed: str
) -> None:
    board = start(f"ForceCommand {command}")
    told = refuses(board.device(python="python3"))
    assert told.message.startswith(f"{board.address()} did not start python3; the login ended ")
    assert told.message.endswith(f": {printed}.")
    assert told.hint == (
        "See what a login there says to a command: "
        f"ssh -p {board.port} {USER}@127.0.0.1 python3 -V; "
        "another interpreter there is named with --python."
    )
    assert board.logins() == 1


def test_a_login_that_echoes_all_it_is_sent_is_told(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "_START_S", 1.0)
    told = refuses(start("ForceCommand echo hello; cat").device(python="python3"))
    assert told.message.startswith(
        "board cannot be reached: it lets us in, but python3 did not answer within 1 s; the login "
        "printed: "
    )
    assert "python3 -V" in str(told.hint)


CUT = """
import os, subprocess, sys
words = ["/bin/sh", "-c", "exec " + os.environ["SSH_ORIGINAL_COMMAND"]]
child = subprocess.Popen(words, stdout=subprocess.PIPE)
for _ in range(1000):
    os.write(1, child.stdout.read(1))
child.kill()
"""


def test_a_link_that_always_breaks_is_given_up(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each login ends in the middle of a longer answer."""
    monkeypatch.setattr(session, "PAUSES_S", (0.0,) * 5)
    program = tmp_path / "cut.py"
    program.write_text(CUT)
    board = start(behind(tmp_path, f"exec {sys.executable} {program}"))
    told = refuses(board.device())
    assert told.message.startswith("The link to board was lost 5 times in a row: ")
    assert board.logins() <= 10


@pytest.mark.parametrize("place", [10, 2000, 4000, 8000, 16000, 30000])
def test_a_link_that_is_cut_before_it_works_is_told(start: Start, place: int) -> None:
    """In the greeting, in the login, in what is sent to start the keeper."""
    board = start()
    cable = Cable(board.port, cut_after=place)
    board.know(cable.port)
    device = board.device(port=cable.port)
    try:
        with contextlib.suppress(DeviceError):
            device.session.open()
    finally:
        device.close()
        cable.close()


def test_a_board_that_opens_no_session_is_told(start: Start) -> None:
    board = start("MaxSessions 0")
    told = refuses(board.device())
    assert told.message.startswith(f"{board.address()} lets us in, and opens no session: ")
    assert told.hint == "See MaxSessions in its sshd_config."


def test_text_inside_a_part_of_an_answer_is_noticed() -> None:
    (answer,) = keeper_frames({"ok": 1}, b"x" * 100)
    frames = keeper_link.Frames()
    frames.feed(b"before" + answer[:60] + b"tick\n" + answer[60:])
    with pytest.raises(LinkLostError, match="other text came into an answer"):
        frames.next()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_answers_are_found_wherever_they_are_cut(size: int) -> None:
    content = bytes(range(256)) * 40
    parts = [*keeper_frames({"ok": 1}, b""), *keeper_frames({"ok": 2}, content)]
    assert len(parts) == 4
    assert max(map(len, parts)) <= 4096  # the most that a pipe writes at once
    stream = b"a\nb" + b"\n\nedgeq-keep".join(parts) + b"c"
    frames, found = keeper_link.Frames(), []
    for start in range(0, len(stream), size):
        frames.feed(stream[start : start + size])
        while (answer := frames.next()) is not None:
            found.append(keeper_link.split(answer))
    assert found == [({"ok": 1}, b""), ({"ok": 2}, content)]
    assert frames.rest() == b"a\nb" + b"\n\nedgeq-keep" * 3 + b"c"


# ---------------------------------------------------------------- the Python there


def with_module(folder: Path, name: str, text: str) -> dict[str, str]:
    """Variables under which Python finds this module first."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(text)
    return {"PYTHONPATH": str(folder)}


def test_a_missing_module_is_named(start: Start, tmp_path: Path) -> None:
    with_module(tmp_path / "m", "tarfile", "raise ImportError('no lzma')")
    variables = with_module(tmp_path / "m", "json", "raise ModuleNotFoundError('json')")
    board = start(**variables)
    told = refuses(board.device())
    version = ".".join(map(str, sys.version_info[:3]))
    assert told.message == (
        f"{sys.executable} on {board.address()}, Python {version}, lacks a part of the standard "
        "library: importlib.metadata, json, tarfile."
    ).replace(
        "importlib.metadata, ", "" if "importlib" not in told.message else "importlib.metadata, "
    )
    assert "Debian: sudo apt install python3" in str(told.hint)
    assert "3.8" not in str(told)


def test_all_that_is_sent_is_asked_for() -> None:
    prologue = keeper_link.programs()[0].decode()
    for name in ("fcntl", "hashlib", "json", "zlib", "tempfile", "subprocess"):
        assert f" {name} " in prologue.replace("'", " ")


def test_too_old_a_python_is_told(start: Start, tmp_path: Path) -> None:
    text = "import sys\nsys.version_info = (3, 7, 3, 'final', 0)\n"
    board = start(**with_module(tmp_path / "m", "sitecustomize", text))
    told = refuses(board.device())
    assert told.message == (
        f"{sys.executable} on {board.address()} is Python 3.7.3, and edgeq needs 3.8 or newer "
        "there."
    )


@pytest.mark.parametrize("name", ["python2.7", "python3.6", "python3.7"])
def test_a_really_old_python_is_told(start: Start, name: str) -> None:
    python = shutil.which(name)
    if (
        python is None
        or subprocess.run([python, "-V"], check=False, capture_output=True).returncode != 0
    ):
        pytest.skip(f"{name} is not installed")
    told = refuses(start().device(python=python))
    assert f"is Python {name.removeprefix('python')}." in told.message


def test_a_module_in_the_folder_of_a_login_is_not_imported(start: Start, tmp_path: Path) -> None:
    home = tmp_path / "home"
    for name in ("json", "numpy", "sitecustomize"):
        with_module(home, name, f"open({str(tmp_path / 'oops')!r}, 'w')")
    device = start(behind(tmp_path, f"cd {home}")).device()
    assert device.facts().device == "board"
    assert not (tmp_path / "oops").exists()
    device.close()


LIBC = """
import os, platform, sys
def none(*_): raise ValueError("unrecognized configuration name")
os.confstr, platform.libc_ver = none, lambda *_, **__: ("", "")
sys.executable = {!r}
"""


@pytest.mark.parametrize(
    ("loader", "library"),
    [
        ("/lib/ld-musl-aarch64.so.1", "musl"),
        ("/lib/ld-uClibc.so.0", "uClibc"),
        ("/system/bin/linker64", "bionic"),
        ("", "one that it does not name"),
    ],
)
def test_a_c_library_without_wheels_is_named(
    start: Start, tmp_path: Path, loader: str, library: str
) -> None:
    program = tmp_path / "python"
    program.write_bytes(b"\x7fELF" + bytes(300) + loader.encode() + b"\0")
    board = start(**with_module(tmp_path / "m", "sitecustomize", LIBC.format(str(program))))
    device = own(board)
    with pytest.raises(DeviceError) as caught:
        device.set_up()
    assert caught.value.message == (
        f"No runtime can be set up on board: its C library is {library}, and all runtimes have "
        "wheels for glibc alone."
    )
    assert device.installable() is None
    device.close()


# ---------------------------------------------------------------- environments there


def make_environment(device: BoardDevice, folder: Path, name: str, package: str) -> None:
    """One that holds a package with nothing in it."""
    site = folder / name / package
    site.mkdir(parents=True)
    (site / "__init__.py").write_text("")
    (site.parent / "numpy-1.26.4.dist-info").mkdir()
    (site.parent / "numpy-1.26.4.dist-info" / "METADATA").write_text("Name: numpy\nVersion: 1.26.4")
    archive = folder / f"{name}.tar.gz"
    environment._pack(folder / name, archive)
    digest = device.session.send(archive, lambda size: None)
    device.session.call("make_environment", name=name, archive=digest)
    device.forget_facts()


def test_an_environment_that_an_upgrade_broke_is_passed_over(start: Start, tmp_path: Path) -> None:
    board = start(PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    device = own(board)
    device.session.open()
    make_environment(device, tmp_path, "old-1-cp311", "tflite_runtime")
    assert "tflite-runtime" in [item.name for item in device.facts().runtimes]
    assert device.works("old-1-cp311")
    python = board.root / "environments" / "old-1-cp311" / "bin" / "python3"
    for broken in ("/usr/bin/python3.0", shutil.which("false")):
        python.unlink()
        python.symlink_to(str(broken))
        device.forget_facts()
        assert "tflite-runtime" not in [item.name for item in device.facts().runtimes]
        assert not device.works("old-1-cp311")
    python.unlink()
    shutil.rmtree(tmp_path / "old-1-cp311")
    make_environment(device, tmp_path, "old-1-cp311", "tflite_runtime")
    assert device.works("old-1-cp311")
    with pytest.raises(DeviceError) as caught:
        device._require_import("tflite-runtime", "old-1-cp311")
    assert caught.value.message.startswith(
        "tflite-runtime was brought to board, and cannot be imported there: "
    )
    assert "tflite_runtime.interpreter" in caught.value.message
    assert not device.works("old-1-cp311")
    assert device.session.hello["environments"] == []
    device.close()


# ---------------------------------------------------------------- shells, mounts, clocks


@pytest.mark.parametrize("shell", ["fish", "tcsh", "mksh", "busybox sh"])
def test_a_shell_of_another_kind_starts_it(start: Start, tmp_path: Path, shell: str) -> None:
    """A path with all that one of them might expand."""
    if shutil.which(shell.partition(" ")[0]) is None:
        pytest.skip(f"{shell} is not installed")
    folder = tmp_path / "it's $HOME; ~ (a) {b} [c] *"
    folder.mkdir()
    (folder / "python").symlink_to(sys.executable)
    login = tmp_path / "login"
    login.write_text(f'exec {shell} -c "$SSH_ORIGINAL_COMMAND"\n')
    board = start(f"ForceCommand /bin/sh {login}")
    device = board.device(python=shlex.quote(str(folder / "python")))
    assert device.facts().device == "board"
    device.close()


@needs_root
def test_a_tmp_that_runs_nothing_is_no_matter(
    start: Start, tmp_path: Path, tiny: Any, save: Any
) -> None:
    """Its own mounts, so that /tmp here stays as it is; the cache is below, too."""
    # The libraries of these tests may lie below /tmp themselves; a board's do not.
    script = (
        "mount --bind /tmp /tmp && mount -o remount,bind,noexec /tmp && "
        f"mount --bind '{sys.prefix}' '{sys.prefix}' && "
        f'mount -o remount,bind,exec \'{sys.prefix}\' && exec "$0" "$@"'
    )
    board = start(wrapper=["unshare", "--mount", "/bin/sh", "-c", script], HOME=str(tmp_path))
    device = board.device()
    assert run_job.bench([save(tiny.add_one())], device, BenchOptions(runs=30, rounds=2)).runs
    assert device.session.hello["root"] == f"/var/tmp/edgeq-{os.getuid()}"
    device.session.call("forget")
    device.close()


def test_a_clock_of_1970_is_no_matter(start: Start, tmp_path: Path, tiny: Any, save: Any) -> None:
    text = "import time\nreal = time.time\nstart = real()\ntime.time = lambda: real() - start + 9\n"
    device = start(**with_module(tmp_path / "m", "sitecustomize", text)).device()
    found = run_job.bench([save(tiny.add_one())], device, BenchOptions(runs=30, rounds=2))
    assert found.runs[0].latency.count == 30
    copies(device, tmp_path)
    device.close()


@needs_root
def test_a_disk_that_fills_up_in_an_upload_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=True)
    board = start_sshd(tmp_path / "sshd", folder / "cache")
    try:
        device = board.device()
        path = tmp_path / "large"
        path.write_bytes(bytes(3 << 20))
        device.session.open()
        link = device.session._link
        assert link is not None
        with pytest.raises(OSError, match="No space left on device"):
            link.send(path, f"{device.session.hello['root']}/incoming/x", 0, lambda size: None)
        assert device.session.call("missing", files={"x": 1}) == ["x"]  # and it still answers
        device.close()
    finally:
        board.stop()
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


# ---------------------------------------------------------------- another sshd

DROPBEAR = shutil.which("dropbear")


@needs_root
@pytest.mark.skipif(DROPBEAR is None, reason="dropbear is not installed")
def test_a_dropbear_without_sftp(start: Start, tmp_path: Path, tiny: Any, save: Any) -> None:
    """The ssh server of Yocto and buildroot; it reads keys in the user's home, which is mounted."""
    plain = start()  # for its keys
    keys = tmp_path / "ssh"
    keys.mkdir(mode=0o700)
    shutil.copy(plain.folder / "key.pub", keys / "authorized_keys")
    host_key, port = tmp_path / "dropbear_key", free_port()
    subprocess.run(["dropbearkey", "-t", "ed25519", "-f", str(host_key)], check=True,
                   capture_output=True)  # fmt: skip
    home = Path("~root/.ssh").expanduser()
    had_home = home.exists()
    home.mkdir(mode=0o700, exist_ok=True)
    words = [str(DROPBEAR), "-F", "-E", "-e", "-r", str(host_key), "-p", f"127.0.0.1:{port}",
             "-P", str(tmp_path / "pid")]  # fmt: skip
    script = f'mount --bind {keys} {home} && exec "$0" "$@"'
    with (tmp_path / "log").open("wb") as log:
        child = subprocess.Popen(
            ["unshare", "--mount", "/bin/sh", "-c", script, *words], stderr=log,
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}, start_new_session=True,
        )  # fmt: skip
    try:
        shown = subprocess.run(["dropbearkey", "-y", "-f", str(host_key)], check=True, text=True,
                               capture_output=True).stdout  # fmt: skip
        line = next(line for line in shown.splitlines() if line.startswith("ssh-ed25519"))
        (plain.folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {line}\n")
        wait_until(lambda: b"Not backgrounding" in (tmp_path / "log").read_bytes())
        device = plain.device(port=port, user="root")
        assert run_job.bench([save(tiny.add_one())], device, BenchOptions(runs=30, rounds=2)).runs
        copies(device, tmp_path)
        device.close()
    finally:
        child.terminate()
        child.wait()
        if not had_home:
            home.rmdir()
