"""Disks that are full or cannot be written, temporary folders that go away, models that change."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeq
from edgeq.cli import main
from edgeq.comparison.parity import parity
from edgeq.errors import DeviceError, OutputError, SourceError
from edgeq.files import scratch, storage
from edgeq.files.reading import unchanged
from tests import tiny_models as tiny

HISTORY = Path(__file__).resolve().parents[1] / "history"
NO_SPACE = os.strerror(errno.ENOSPC)
READ_ONLY = os.strerror(errno.EROFS)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of half a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a file system of our own needs root: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path) -> None:
    with pytest.raises(OSError, match=NO_SPACE), (disk / "filler").open("wb", 0) as stream:
        while True:
            stream.write(bytes(4096))


def make_read_only(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float network of one operator: two numbers to a softmax of them."""
    path = tmp_path_factory.mktemp("model") / "softmax.tflite"
    softmax = tiny.operator(0, [0], [1], tiny.schema.SoftmaxOptionsT())
    softmax.builtinOptions.beta = 1.0
    tensors = [tiny.tensor("x", (1, 2)), tiny.tensor("y", (1, 2))]
    graph = tiny.graph(tensors, [0], [1], [softmax])
    path.write_bytes(tiny.model([graph], [(tiny.Operator.SOFTMAX, 1)]))
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "data.npz"
    np.savez(path, x=np.eye(2, dtype=np.float32).repeat(4, axis=0), y=np.arange(8) // 4)
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[str]]:
    """Exit status, and what the command said in case of an error."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(str(ended.value.code)), capsys.readouterr().err.splitlines()


def require_one_sentence(said: list[str], *words: str) -> None:
    """The error, and a hint."""
    said = [line for line in said if not line.startswith(("warning:", "\r"))]
    assert [line[:6] for line in said[-2:]] == ["error:", "hint: "], said
    assert all(word in said[-2] for word in words), said
    assert "Traceback" not in "".join(said)


COMMANDS: dict[str, Callable[[Path, Path, Path], list[object]]] = {
    "eval": lambda out, model, data: ["eval", model, "--data", data, "-o", out],
    "bench": lambda out, model, data: ["bench", model, "--runs", 1, "-o", out],
    "compare": lambda out, model, data: [
        "compare", model, model, "--data", data, "--no-latency", "-o", out
    ],
    "debug": lambda out, model, data: ["debug", model, model, "--data", data, "-o", out],
    "inspect": lambda out, model, data: ["inspect", model, "-o", out],
    "fit": lambda out, model, data: ["fit", model, "--coral", "-o", out],
    "convert": lambda out, model, data: ["convert", model, "--scheme", "fp32", "-o", out],
    "gate": lambda out, model, data: [
        "gate", HISTORY / "compare.json", "--policy", data.with_name("policy.toml"), "-o", out
    ],
    "report": lambda out, model, data: ["report", HISTORY / "compare.json", "-o", out],
    "package": lambda out, model, data: [
        "package", model, "--target", "python", "--data", data, "--release", "1.0.0", "-o", out
    ],
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", ["full", "read-only", "gone"])
def test_what_cannot_be_written_leaves_what_was_there(
    disk: Path,
    model: Path,
    data: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    kind: str,
) -> None:
    data.with_name("policy.toml").write_text("[policy]\nmax_size = '1 MB'\n")
    endings = {"convert": ".tflite", "report": ".html", "package": ".zip"}
    target = disk / f"out{endings.get(command, '.json')}"
    if kind == "gone":
        target = disk / "gone" / target.name
    elif command != "package":  # it replaces packages only
        target.write_text("old")
    {"full": fill, "read-only": make_read_only, "gone": lambda _: None}[kind](disk)
    before = {path.name: path.read_bytes() for path in disk.rglob("*") if path.is_file()}
    status, said = run(capsys, *COMMANDS[command](target, model, data))
    assert status in (1, 2)
    words = {"full": (target.name, NO_SPACE), "read-only": (target.name, READ_ONLY)}
    require_one_sentence(said, *words.get(kind, (str(target.parent),)))
    assert {path.name: path.read_bytes() for path in disk.rglob("*") if path.is_file()} == before


def write_project(folder: Path, model: Path, data: Path) -> Path:
    project = folder / "edgeq.toml"
    project.write_text(
        f"[model]\nsource = '{model}'\noutput = 'model.tflite'\n[data]\ncalibration = '{data}'\n"
    )
    return project


@pytest.mark.parametrize(("make", "words"), [(fill, NO_SPACE), (make_read_only, READ_ONLY)])
@pytest.mark.parametrize("command", ["tune", "run"])
def test_long_work_does_not_begin_where_it_cannot_be_kept(
    disk: Path,
    model: Path,
    data: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    make: Callable[[Path], None],
    words: str,
) -> None:
    project = write_project(disk, model, data)
    search = "--data", data, "--test-data", data, "--max-drop", 1
    arguments = {"run": ["--file", project], "tune": [model, *search, "-o", disk / "out.tflite"]}[
        command
    ]
    make(disk)
    status, said = run(capsys, command, *arguments)
    assert status == 1, said
    require_one_sentence(said, words)
    assert not [path for path in disk.iterdir() if path.suffix in (".tflite", ".json")]


def test_a_run_that_fills_the_disk_keeps_what_was_made_before(
    disk: Path, model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = write_project(disk, model, data)
    (disk / "most").write_bytes(bytes(500_000))  # the model fits, its record does not
    status, said = run(capsys, "run", "--file", project)
    assert status == 1
    assert "error:" in said[-2] or any(NO_SPACE in line for line in said), said
    assert "Traceback" not in "\n".join(said)
    assert not list(disk.glob(".*")) and not list(disk.glob("*.tmp"))
    (disk / "most").unlink()
    assert run(capsys, "run", "--file", project)[0] == 0


@pytest.fixture
def temporary(disk: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files is a small disk."""
    monkeypatch.setenv("TMPDIR", str(disk))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return disk


@pytest.mark.parametrize("command", ["eval", "bench", "compare", "debug", "convert", "package"])
def test_a_full_temporary_folder_is_told(
    temporary: Path,
    tmp_path: Path,
    model: Path,
    data: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    assert tempfile.gettempdir() == str(temporary)
    fill(temporary)
    out = tmp_path / {"convert": "out.tflite", "package": "out"}.get(command, "out.json")
    status, said = run(capsys, *COMMANDS[command](out, model, data))
    assert status == 1
    require_one_sentence(said, f"The folder for temporary files, {temporary}, cannot be used:")
    assert [path.name for path in temporary.iterdir()] == ["filler"]
    assert not out.exists() and not list(tmp_path.glob(".out*"))


def test_samples_that_fill_the_temporary_folder_are_told(
    temporary: Path, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "many.npz", x=np.ones((200_000, 2), np.float32), y=np.zeros(200_000))
    status, said = run(capsys, "eval", model, "--data", tmp_path / "many.npz")
    assert status == 1
    require_one_sentence(said, f"The folder for temporary files, {temporary}, cannot be used:")
    assert not list(temporary.iterdir())


def test_a_temporary_folder_that_is_not_there_is_replaced_by_the_usual_one(
    tmp_path: Path,
    model: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert run(capsys, "eval", model, "--data", data)[0] == 0


def test_no_temporary_folder_at_all_is_told(
    model: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc/none")
    status, said = run(capsys, "eval", model, "--data", data)
    assert status == 1
    require_one_sentence(said, "The folder for temporary files, /proc/none, cannot be used:")


def test_a_temporary_folder_that_goes_away_is_told() -> None:
    with pytest.raises(OutputError, match="cannot be used: No such file"), scratch.folder() as made:
        shutil.rmtree(made)
        np.save(made / "a.npy", np.zeros(3))


def test_errors_of_other_files_are_not_the_temporary_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), scratch.folder():
        (tmp_path / "none" / "a").write_bytes(b"")
    with pytest.raises(OSError, match=NO_SPACE), scratch.folder():
        raise OSError(errno.ENOSPC, NO_SPACE)  # of another disk: here is space


def test_an_output_folder_that_goes_away_is_told(tmp_path: Path) -> None:
    target = tmp_path / "out" / "a.json"
    target.parent.mkdir()
    message = f"^Cannot write {target}: No such file or directory"
    with pytest.raises(OutputError, match=message), storage.replacing(target) as made:
        made.write_text("new")
        shutil.rmtree(target.parent)


# ---------------------------------------------------------------- models that change


def changing(model: Path, change: Callable[[Path], object]) -> Callable[[], Iterator[Any]]:
    """Samples of which the third changes the model."""

    def samples() -> Iterator[Any]:
        for number in range(8):
            if number == 2:
                change(model)
            yield np.eye(2, dtype=np.float32)[number % 2], number % 2

    return samples


def touch(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.seek(0, os.SEEK_END)
        stream.write(b"\0")


def replace(path: Path) -> None:
    fresh = path.with_name("fresh")
    fresh.write_bytes(path.read_bytes())
    fresh.replace(path)


@pytest.mark.parametrize("change", [touch, replace, Path.unlink, lambda path: os.truncate(path, 9)])
@pytest.mark.parametrize("verb", ["evaluate", "compare", "parity", "convert"])
def test_a_model_that_changes_meanwhile_has_no_record(
    tmp_path: Path, model: Path, verb: str, change: Callable[[Path], object]
) -> None:
    own = tmp_path / "own.tflite"
    shutil.copyfile(model, own)
    data = changing(own, change)
    calls: dict[str, Callable[[], object]] = {
        "evaluate": lambda: edgeq.evaluate([own], data),
        "compare": lambda: edgeq.compare(model, own, data, latency=False),
        "parity": lambda: parity(own, data),
        "convert": lambda: edgeq.convert(
            own, tmp_path / "out.tflite", data=data, test_data=data, scheme="fp32"
        ),
    }
    message = f"^{own} changed while edgeq used it. Run the command again when nothing writes to"
    with pytest.raises(SourceError, match=message):
        calls[verb]()
    assert not list(tmp_path.glob("*out*"))


def test_a_failure_of_a_changed_model_is_told_as_its_change(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    (folder / "variables").mkdir(parents=True)
    weights = folder / "variables" / "w"
    weights.write_bytes(b"1")
    with pytest.raises(DeviceError, match="it crashed"), unchanged(folder, None):
        raise DeviceError("it crashed")
    with pytest.raises(SourceError, match=f"^{folder} changed") as caught, unchanged(folder):
        weights.write_bytes(b"12")
        raise DeviceError("it crashed")
    assert isinstance(caught.value.__cause__, DeviceError)
