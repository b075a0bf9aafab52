"""TensorFlow Lite for Microcontrollers on this machine: outputs, and the arena it really needs.

It runs in a child process, perhaps of another Python: a model that it does not support may crash
the process.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.children.child import Child, time_limit_s
from edgeq.children.other_python import OtherPython, find_python
from edgeq.errors import PackageError, RefusedModelError
from edgeq.files import npy, scratch
from edgeq.fit.arena import ArenaMeasurement

VARIABLE = "EDGEQ_TFLITE_MICRO_PYTHON"
PACKAGE = "tflite-micro"

# Far above any microcontroller's memory; untouched pages cost nothing here.
MOST_ARENA_BYTES = 256 << 20

_REFUSED = 3  # exit status of the child; Python itself ends with 1 or 2
_KILLS = ("SIGKILL", "SIGTERM")  # by someone else, perhaps for want of memory
_LOG_BYTES, _LOG_TAIL_CHARACTERS = 1 << 20, 8192
_AS_INT8 = "Convert the model again with --scheme int8, its best supported form."
# Parts of its messages, and what a user can do.
_REMEDIES = (
    (
        "Hybrid",
        "Its kernels need input and weights of one kind, INT8 or float: convert the model again "
        "with --scheme int8.",
    ),
    ("missing:", f"It needs more than {MOST_ARENA_BYTES >> 20} MB: make its input smaller."),
    ("not supported", _AS_INT8),
    ("input->type ==", _AS_INT8),
)


def find() -> OtherPython:
    """Find a Python with tflite-micro: this one, or the one in EDGEQ_TFLITE_MICRO_PYTHON.

    Raises:
        MissingExtraError: neither has it; the hint is how to get it.
    """
    absent = "tflite-micro, which measures the arena, is not installed here."
    note = "It has wheels for Linux on x86-64 only."
    return find_python("tflite_micro", PACKAGE, VARIABLE, absent, "micro", note)


def run(
    content: bytes,
    samples: Sequence[Sequence[NDArray[Any]]],
    output_count: int,
    *,
    shown_as: str,
) -> ArenaMeasurement:
    """Run samples through a model, each from a fresh state, and measure the arena.

    Args:
        content: the `.tflite`.
        samples: at least one; the input tensors in the model's order, each with its batch
            dimension and in its own dtype.
        output_count: number of the model's outputs.
        shown_as: the model's name in messages.

    Raises:
        MissingExtraError: tflite-micro is not installed.
        RefusedModelError: it refuses the model, or crashes on it.
        PackageError: it takes too long, or is broken.
    """
    runtime = find()
    with scratch.folder() as folder:
        (folder / "model.tflite").write_bytes(content)
        arrays = {
            f"{number}/{index}": array
            for number, sample in enumerate(samples)
            for index, array in enumerate(sample)
        }
        np.savez(folder / "inputs.npz", allow_pickle=False, **arrays)
        job = {
            "model": "model.tflite",
            "inputs": "inputs.npz",
            "samples": len(samples),
            "output_count": output_count,
            "most": MOST_ARENA_BYTES,
            "outputs": "outputs.npz",
            "reply": "reply.json",
            "refused": _REFUSED,
        }
        (folder / "job.json").write_bytes(json.dumps(job).encode())
        _run(runtime, folder, shown_as)
        reply = json.loads((folder / "reply.json").read_text("utf-8"))
        found = npy.load_all(folder / "outputs.npz")
        outputs = tuple(
            tuple(found[f"{number}/{index}"] for index in range(output_count))
            for number in range(len(samples))
        )
    return ArenaMeasurement(
        runtime.version, outputs, reply["least"], reply["recorded"], reply["persistent"]
    )


def _run(runtime: OtherPython, folder: Path, shown_as: str) -> None:
    limit_s = time_limit_s()
    with Child(
        [str(Path(__file__).with_name("tflite_micro_child.py")), "job.json"],
        folders=[folder],
        late=True,
        python=runtime.python,
        cwd=folder,
        deadline_s=limit_s,
    ) as child:
        status = child.wait()
        if status == 0:
            return
        if child.is_late:
            raise PackageError(
                f"tflite-micro did not finish {shown_as} in {limit_s:g} s.", hint=child.hint(None)
            )
        log = child.log(_LOG_BYTES)
        lines = [line.strip() for line in log.splitlines() if line.strip()]
        name, details = f"tflite-micro {runtime.version}", log[-_LOG_TAIL_CHARACTERS:]
        if status != _REFUSED and child.crash in (None, *_KILLS):
            said = f"{name} {child.ending} on {shown_as}: {child.last_line()[:300]}"
            raise PackageError(f"{said.rstrip('.')}.", details=details)
        output = f": {lines[0][:300].rstrip('.')}" if lines else ""
        how = f"{child.ending} on" if child.crash else "does not run"
        raise RefusedModelError(
            f"{name} {how} {shown_as}{output}.",
            hint=next(
                (hint for key, hint in _REMEDIES if any(key in line for line in lines)), None
            ),
            details=details,
        )
