"""The hand-built models, for tests of the runners."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeq.device_runners.on_board.agent import machine

SOURCE = Path(__file__).resolve().parents[1] / "tiny_models.py"


@pytest.fixture(scope="session")
def tiny() -> Any:
    """The module `tests/tiny_models.py`; pytest's importlib mode has no imports among tests."""
    spec = importlib.util.spec_from_file_location("tiny_models", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Write a model's bytes to a file."""

    def write(content: bytes, name: str = "m.tflite") -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


@pytest.fixture(scope="session")
def python_3_8() -> Path:
    """A real Python 3.8, the oldest that boards may have."""
    pyenv = sorted(Path.home().glob(".pyenv/versions/3.8.*/bin/python3"))
    for name in (os.environ.get("EDGEQ_PYTHON_3_8"), shutil.which("python3.8"), *pyenv):
        command = [name or "", "-c", "import sys; sys.exit(sys.version_info[:2] != (3, 8))"]
        if name and subprocess.run(command, check=False, capture_output=True).returncode == 0:
            return Path(name)
    pytest.skip("Python 3.8 is not installed")


class Board:
    """A made-up machine: /proc, /sys and /etc under a folder, and programs in PATH.

    The boards themselves cannot be here; what their kernel and firmware tell is written down as
    they spell it, and the agent reads it through EDGEQ_MACHINE_ROOT.
    """

    def __init__(self, root: Path, programs: Path):
        self.root, self.programs = root, programs

    def write(self, path: str, content: object) -> None:
        """A file such as "/sys/class/thermal/thermal_zone0/temp", whole at any moment."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(target.name + ".new")
        fresh.write_text(f"{content}\n")
        fresh.replace(target)

    def install(self, name: str, script: str) -> None:
        """A program, as a shell script."""
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    """An empty machine that the agent takes for the real one, here and in child processes."""
    made = Board(tmp_path / "machine", tmp_path / "programs")
    made.root.mkdir()
    made.programs.mkdir()
    monkeypatch.setattr(machine, "ROOT", str(made.root))
    monkeypatch.setenv("EDGEQ_MACHINE_ROOT", str(made.root))
    monkeypatch.setenv("PATH", f"{made.programs}:{os.environ['PATH']}")
    return made
