"""A project with the plain CNN that ships with edgeq, run once; tests work on copies of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from edgeq import models
from edgeq.cli import cli
from tests.conftest import make_once

TEXT = """\
[model]
source = "model.keras"
effort = "fast"

[data]
calibration = "samples.npz"
test = "test.npz"

[run]
devices = ["local"]
min_time = 0.02
max_time = 0.02

[policy]
min_sqnr_db = 10
max_size = "1 MB"
"""

Run = Callable[..., Any]


def edgeq(*arguments: object) -> Any:
    return CliRunner().invoke(cli, [*map(str, arguments)], standalone_mode=False)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which everything is done."""
    return make_once(tmp_path_factory, "pipeline", _finish)


def _finish(folder: Path) -> None:
    shutil.copy(models.path("fmnist_cnn.keras"), folder / "model.keras")
    for name, source, count in (("samples", "calibration", 100), ("test", "test", 200)):
        with np.load(models.path(f"fashion_mnist_{source}.npz")) as stored:
            np.savez(folder / f"{name}.npz", x=stored["x"][:count], y=stored["y"][:count])
    (folder / "edgeq.toml").write_text(TEXT)
    done = edgeq("run", "--file", folder / "edgeq.toml")
    assert done.exception is None and done.return_value == 0, done.output
    (folder / "first.txt").write_text(done.stdout)


@pytest.fixture
def project(finished: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(finished, tmp_path / "project"))


def edit(project: Path, before: str, after: str) -> None:
    """Change the project's edgeq.toml."""
    path = project / "edgeq.toml"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def run(project: Path, *arguments: object) -> Any:
    return edgeq("run", "--file", project / "edgeq.toml", *arguments)


def kept(done: Any) -> list[str]:
    """The steps that were left as they were."""
    lines = done.stdout.splitlines()
    return [line.partition("  ")[0] for line in lines if line.endswith("(unchanged, kept)")]
