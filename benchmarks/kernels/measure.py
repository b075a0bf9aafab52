"""Runs cases in runtimes and compares each integer form with float."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.kernels.forms import Built
from edgeq.tflite import quantmath

LIMIT_DB = 20.0  # below this, a kernel is wrong
MOST_DB = 99.0  # stands for equal values

# Runtime to the variable with its Python; None is this one.
RUNTIMES: dict[str, str | None] = {
    "litert": None,
    "litert-reference": None,
    "litert-xnnpack": None,
    "tflite-runtime": "EDGEQ_TFLITE_RUNTIME_PYTHON",
    "tflite-runtime-reference": "EDGEQ_TFLITE_RUNTIME_PYTHON",
    "tflite-runtime-xnnpack": "EDGEQ_TFLITE_RUNTIME_PYTHON",
    "micro": "EDGEQ_TFLITE_MICRO_PYTHON",
}


def python(runtime: str) -> str:
    """The Python that has a runtime."""
    variable = RUNTIMES[runtime]
    return sys.executable if variable is None else os.environ[variable]


def run(runtime: str, models: Mapping[str, Built]) -> dict[str, list[NDArray[Any]] | str]:
    """Name of each model to its outputs, or to the reason why there are none."""
    names = {f"{n:05}.{len(built.outputs)}": name for n, (name, built) in enumerate(models.items())}
    found: dict[str, list[NDArray[Any]] | str] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for stem, model in names.items():
            (folder / f"{stem}.tflite").write_bytes(models[model].content)
            arrays = {str(n): values for n, values in enumerate(models[model].inputs)}
            np.savez(folder / f"{stem}.npz", **arrays)
        child = Path(__file__).with_name("child.py")
        for _ in names:  # each crash costs one
            done = subprocess.run(
                [python(runtime), str(child), runtime, name], check=False, capture_output=True
            )
            if not done.returncode:
                break
            if not any(folder.glob("*.error")):
                raise RuntimeError(f"{runtime}: {done.stderr.decode(errors='replace')[-2000:]}")
        for stem, model in names.items():
            outputs = folder / f"{stem}.out.npz"
            if outputs.exists():
                with np.load(outputs, allow_pickle=False) as stored:
                    found[model] = [stored[key] for key in sorted(stored.files, key=int)]
            else:
                error = (folder / f"{stem}.error").read_text().strip()
                found[model] = error.splitlines()[0] if error else "no message"
    return found


def sqnr_db(built: Built, outputs: list[NDArray[Any]], wanted: tuple[NDArray[Any], ...]) -> float:
    """The lowest SQNR of an integer form's results against float; `MOST_DB` if they are equal."""
    worst = MOST_DB
    for spec, got, reference in zip(built.outputs, outputs, wanted, strict=True):
        if got.shape != reference.shape:
            return -np.inf
        real = quantmath.dequantize(got, spec).astype(np.float64)
        error = float(np.square(real - reference.astype(np.float64)).sum())
        signal = float(np.square(reference.astype(np.float64)).sum())
        worst = min(worst, quantmath.sqnr_db(signal, error))
    return worst
