"""The main path, where edgeq's modules see a system like Windows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.hosts.absent import MISUSED, absent, is_absent
from tests.house import SOURCES, imported

HERE = Path(__file__).parent
MODELS = HERE.parents[1] / "models"

_PEAK_BYTES = 1 << 20  # that the stand-in for Windows reports
_COMMANDS = """
import sys
from edgeq import host
from edgeq.cli import main
assert host.IS_WINDOWS
for words in (line.split() for line in sys.argv[1:]):
    print("$", *words, flush=True)
    try:
        main(words)
    except SystemExit as ended:
        print("status", ended.code, flush=True)
"""


@pytest.fixture
def like_windows(tmp_path: Path) -> dict[str, str]:
    """Variables for a Python whose edgeq sees Windows; its temporary folder is `tmp_path`/temp."""
    modules = {name for path in SOURCES.values() for name in imported(path)}
    lacking = {
        name: "all" if is_absent(name, "win32")
        else sorted(absent(name, "win32") | MISUSED.get(name, set()) - {"kill", "select"})
        for name in {*modules, "os", "sys", "signal", "fcntl", "resource"}
        if absent(name, "win32")
    }  # fmt: skip
    assert lacking["fcntl"] == lacking["resource"] == "all" and "killpg" in lacking["os"]
    (tmp_path / "absent.json").write_text(json.dumps(lacking))
    (tmp_path / "temp").mkdir()
    return {
        **os.environ, "EDGEQ_TEST_ABSENT": str(tmp_path / "absent.json"),
        "EDGEQ_TEST_PLACE": str(tmp_path.resolve()), "TMPDIR": str(tmp_path / "temp"),
        "PYTHONPATH": os.pathsep.join([str(HERE / "like_windows"), str(HERE.parents[1])]),
        "EDGEQ_MACHINE_ROOT": str(tmp_path / "no-proc"), "COLUMNS": "100",
    }  # fmt: skip


def test_the_main_path_without_what_windows_lacks(
    like_windows: dict[str, str], tmp_path: Path
) -> None:
    for name in ("calibration", "test"):
        with np.load(MODELS / f"fashion_mnist_{name}.npz") as data:
            np.savez(tmp_path / name, **{key: data[key][:64] for key in data.files})
    source = MODELS / "fmnist_cnn.keras"
    lines = [
        f"convert {source} --data calibration.npz --effort fast -o m.tflite",
        f"compare {source} m.tflite --data test.npz --runs 30 -o c.json",
        "package m.tflite --target python --data test.npz --release 1.0.0 -o made",
        "doctor",
    ]
    done = subprocess.run(
        [sys.executable, "-c", _COMMANDS, *lines], cwd=tmp_path, env=like_windows,
        capture_output=True, encoding="utf-8", timeout=300, check=False,
    )  # fmt: skip
    told = f"{done.stdout}\n{done.stderr}"
    assert done.stdout.count("status 0") == len(lines), told
    assert "Windows has neither Landlock nor seccomp, so a child can do" in done.stderr, told
    assert "[doctor.no_sandbox]" in done.stdout, told
    record = json.loads((tmp_path / "c.json").read_text("utf-8"))
    assert record["quality"]["agreement_percent"] > 95
    assert [run["peak_rss_bytes"] for run in record["bench"]["runs"]] == [_PEAK_BYTES] * 2
    # Nothing is left, although no open file and no folder in use can be removed there.
    assert [*(tmp_path / "temp").iterdir()] == [], told
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == [], told


_OPEN_FILE = """
import sys, threading
from pathlib import Path
from edgeq import errors
from edgeq.files import storage
target, held = Path("out.txt"), open("out.txt", "wb")
try:
    target.unlink()
except PermissionError as error:
    print("refused:", error.strerror)
try:
    storage.write_atomically(target, b"new")
except errors.OutputError as error:
    print(error.message, error.hint)
threading.Timer(0.5, held.close).start()
storage.write_atomically(target, b"new")
print(target.read_bytes(), sorted(path.name for path in Path().iterdir()))
"""


def test_a_file_that_another_program_has_open_is_tried_again_then_named(
    like_windows: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", _OPEN_FILE], cwd=folder, env=like_windows,
        capture_output=True, encoding="utf-8", timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    refused, named, written = done.stdout.splitlines()
    assert refused.startswith("refused: process")
    assert named.startswith("Cannot write out.txt: process")
    assert named.endswith("Close the program that has it open, or check that you may write there.")
    assert written == "b'new' ['out.txt']"


_CALLS = """
import errno, os, sys, types
from edgeq.host import windows

def refuse(*_):
    raise OSError(errno.EINVAL, "no locks on this drive")

handle = os.open(os.devnull, os.O_RDWR)
windows.msvcrt = types.SimpleNamespace(LK_NBLCK=2, locking=refuse)
for wait in (False, True):
    try:
        print(windows.lock(handle, wait=wait))
    except OSError as error:
        print(error.strerror)

calls, refused, group = [], "SetInformationJobObject", None

def kernel(name, *_):
    calls.append(name)
    if name == "CloseHandle" and group is not None:
        group.kill_job()  # as at Ctrl-C, in a thread of Windows
        group.close()
    if name == refused:
        raise OSError(name)
    return 7

windows._kernel = kernel
try:
    windows.Group()
except OSError as error:
    print(error, calls.count("CloseHandle"), len(windows._live))
refused = "CreateJobObjectW"
try:
    windows.Group()
except OSError as error:
    print(error, len(windows._live))
    windows._on_console_event(0)
refused = None
group = windows.Group()
print("live", len(windows._live))
calls.clear()
group.close()
print(*calls, len(windows._live))
refused = "AssignProcessToJobObject"
group = None
try:
    windows.enter_job("edgeq-1")
except OSError as error:
    print(error, calls[-1])
"""


def test_handles_are_closed_once_and_errors_are_not_waited_for(
    like_windows: dict[str, str],
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _CALLS], env=like_windows,
        capture_output=True, encoding="utf-8", timeout=30, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "no locks on this drive",
        "no locks on this drive",
        "SetInformationJobObject 1 0",
        "CreateJobObjectW 0",
        "live 1",
        "CloseHandle 0",
        "AssignProcessToJobObject CloseHandle",
    ], done.stderr
