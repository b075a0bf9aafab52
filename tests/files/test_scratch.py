"""Temporary files and folders: gone after use, and after a kill gone with the next run."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgeq.files import scratch

# Make one, say where, and keep it until stdin ends.
_OWNER = """
import sys
from pathlib import Path
from edgeq.files import scratch
with getattr(scratch, sys.argv[1])(*map(Path, sys.argv[2:])) as made:
    print(made, flush=True)
    sys.stdin.read()
"""


@contextmanager
def owner(kind: str, *arguments: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    command = [sys.executable, "-c", _OWNER, kind, *map(str, arguments)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        made = Path(process.stdout.readline().strip())
        assert made.exists()
        try:
            yield process, made
        finally:
            process.kill()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, in here and in children."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_and_its_lock_are_gone_after_the_block(place: Path) -> None:
    with scratch.folder() as folder:
        assert folder.parent == place
        (folder / "inside").write_text("x")
    assert names(place) == []


def test_a_folder_is_gone_after_an_error(place: Path) -> None:
    with pytest.raises(ZeroDivisionError), scratch.folder():
        raise ZeroDivisionError
    assert names(place) == []


def test_what_a_killed_owner_left_goes_with_the_next_folder(place: Path) -> None:
    with owner("folder") as (process, left):
        (left / "deep").mkdir()
        (left / "deep" / "file").write_text("x")
        process.kill()
        process.wait()
        assert left.exists()
        with scratch.folder() as folder:
            assert names(place) == [folder.name, f"{folder.name}.lock"]


def test_the_folder_of_a_living_owner_stays(place: Path) -> None:
    with owner("folder") as (_, theirs):
        with scratch.folder():
            pass
        assert theirs.exists()


def test_folders_that_only_look_alike_stay(place: Path) -> None:
    prefix = f"edgeq-{os.getuid()}-"
    for name in (f"{prefix}abcdefgh", "edgeq-mine", f"{prefix}short.lock"):
        (place / name).mkdir()
    with scratch.folder():
        pass
    assert len(names(place)) == 3


def test_a_folder_beside_a_path_sweeps_only_those_of_that_path(tmp_path: Path) -> None:
    one, other = tmp_path / "a.zip", tmp_path / "b.zip"
    with owner("folder", one) as (first, left), owner("folder", other) as (second, kept):
        for process in (first, second):
            process.kill()
            process.wait()
        with scratch.folder(beside=one):
            assert not left.exists()
            assert kept.exists()


def test_a_file_may_be_renamed_in_the_block(tmp_path: Path) -> None:
    with scratch.file(tmp_path / "out") as temporary:
        temporary.write_text("new")
        temporary.replace(tmp_path / "out")
    assert names(tmp_path) == ["out"]


def test_the_file_of_a_killed_owner_goes_with_the_next_and_a_living_ones_stays(
    tmp_path: Path,
) -> None:
    target = tmp_path / "out"
    with owner("file", target) as (dead, left), owner("file", target) as (_, theirs):
        dead.kill()
        dead.wait()
        with scratch.file(target) as temporary:
            kept = [theirs.name, temporary.name]
            assert names(tmp_path) == sorted([*kept, *(f"{name}.lock" for name in kept)])
        assert not left.exists()
        assert theirs.exists()


def test_a_link_in_the_place_of_a_lock_is_not_followed(place: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    with owner("folder") as (process, left):
        process.kill()
        process.wait()
        left.rmdir()
        left.symlink_to(victim)
        (victim / "file").write_text("x")
        with scratch.folder():
            pass
    assert (victim / "file").exists()


def test_an_error_of_something_else_in_the_block_stays_what_it_is(place: Path) -> None:
    with pytest.raises(TimeoutError), scratch.folder():
        raise TimeoutError


def test_the_folder_is_found_without_a_file_that_a_kill_would_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tries() -> str:
        raise AssertionError("tempfile writes a file to test a folder")

    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_get_default_tempdir", tries)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    monkeypatch.setenv("TEMP", str(tmp_path))
    with scratch.folder() as made:
        assert made.parent == tmp_path
    assert tempfile.gettempdir() == str(tmp_path)
