"""No process of a conversion of a `.tflite` imports TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.converters.rewrites.tiny_graphs import Builder
from tests.converters.writer.bad_models import dense

# Found instead of TensorFlow by every process that has our PYTHONPATH.
TRAP = """
import pathlib
pathlib.Path({marker!r}).write_text("imported")
raise ImportError("TensorFlow was imported")
"""


def convert(folder: Path, *arguments: str) -> tuple[int, bool]:
    """Convert a model of two layers; the exit status, and whether TensorFlow was imported."""
    model, marker = Builder(), folder / "imported"
    x = model.input([1, 40])
    content = model.content(dense(model, dense(model, x, 40, 40), 4, 40))
    (folder / "model.tflite").write_bytes(content)
    values = np.random.default_rng(1).uniform(-1, 1, (40, 40)).astype(np.float32)
    np.savez(folder / "data.npz", x=values)
    trap = folder / "path" / "tensorflow" / "__init__.py"
    trap.parent.mkdir(parents=True)
    trap.write_text(TRAP.format(marker=str(marker)))
    paths = [str(trap.parents[1]), str(Path(__file__).resolve().parents[2])]
    command = [sys.executable, "-c", "from edgeq.cli import main; main()", "convert"]
    ended = subprocess.run(
        [*command, "model.tflite", "--data", "data.npz", "-o", "out.tflite", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        check=False,
        capture_output=True,
    )
    assert (folder / "out.tflite").exists() == (ended.returncode == 0), ended.stderr
    return ended.returncode, marker.exists()


@pytest.mark.parametrize("arguments", [
    ["--effort", "balanced"],
    ["--scheme", "int16x8", "--effort", "fast"],
    ["--scheme", "dynamic"],
    ["--scheme", "weight-only-int4"],
])  # fmt: skip
def test_a_tflite_is_converted_without_it(tmp_path: Path, arguments: list[str]) -> None:
    assert convert(tmp_path, *arguments) == (0, False)


def test_the_trap_sees_the_stock_calibrator(tmp_path: Path) -> None:
    status, is_imported = convert(tmp_path, "--calibrator", "tflite", "--effort", "fast")
    assert status != 0
    assert is_imported
