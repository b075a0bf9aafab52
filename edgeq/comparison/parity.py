"""Kernel parity: do other kernels and other devices compute what XNNPACK computes here?

Each gets the same inputs. INT8 arithmetic is exact except for rounding, so results are compared as
integers: exact, different by one step, or by more; with the first operator that differs, and
whether a single operator differs by more than rounding.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.comparison.operator_parity import OperatorDifference, Runner, Walk, rounding, walk
from edgeq.conversion.file_metadata import read_preprocessing
from edgeq.converters.samples.open_samples import choose, open_samples
from edgeq.converters.samples.preprocessing import parse_preprocessing
from edgeq.device_runners.devices.addresses import resolve_device
from edgeq.device_runners.devices.device import Device, events_as_progress
from edgeq.device_runners.measuring import run_job
from edgeq.errors import EdgeqError
from edgeq.files import scratch, storage
from edgeq.files.reading import listed, needs_unchanged
from edgeq.tflite import flatbuffer, quantmath
from edgeq.tflite.quantmath import difference
from edgeq.values import FileRef
from edgeq.values.showing import Shown, bounded

Arrays = Mapping[str, NDArray[Any]]

# The default resolver uses XNNPACK; the others are TensorFlow Lite's own kernels.
KERNELS = ("xnnpack", "builtin", "reference")

_WALKED_SAMPLES = 4  # that each operator is compared on
_TINY = 1e-30  # in place of no rounding at all
_ADDS_UP = "rounding adds up"
APART = ("wrong", _ADDS_UP, "failed")  # verdicts: more than one step


@bounded
@dataclass(frozen=True)
class ParityRow:
    """One device's kernels against XNNPACK here.

    Attributes:
        device: as the user names it.
        kernels: one of `KERNELS`.
        verdict: "exact", "off by one", "wrong", or "failed"; "rounding adds up" when outputs are
            further apart than one step, and no operator alone is.
        same_samples: samples whose outputs are the same in every value.
        different_share: of all values, 0 to 1.
        largest: largest difference, in steps of integer outputs, or in the unit of float ones.
        top1_changes: samples with a different largest class.
        first: the operator that differs although its inputs are the same: in a wrong row the first
            that differs by more than rounding; None if none does, or the runtime cannot show it.
        error: why it failed.
    """

    device: str
    kernels: str
    verdict: str
    same_samples: int = 0
    different_share: float = 0.0
    largest: float = 0.0
    top1_changes: int | None = None
    first: OperatorDifference | None = None
    error: str | None = None


@bounded
@dataclass(frozen=True)
class Parity(Shown):
    """A model's outputs on several kernels and devices.

    Attributes:
        sample_count: that went through each.
        different: for each row, the numbers of the samples that differ.
    """

    model: FileRef
    sample_count: int
    rows: tuple[ParityRow, ...]
    different: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if len(self.rows) != len(self.different):
            raise ValueError("as many lists of samples as rows are needed")


def meaning(row: ParityRow, model: str) -> str | None:
    """Explain outputs that differ by more than one step; return None for other rows.

    Args:
        model: its path, for the command.
    """
    if row.verdict == _ADDS_UP:
        what = (
            "Rounding that adds up: each operator alone, given the same inputs, is apart by no "
            f"more than rounding, and layer by layer this grows to {row.largest:g} at the outputs. "
            "These kernels are not wrong, but figures measured with XNNPACK are not exactly theirs."
        )
    elif row.verdict != "wrong":
        return None
    elif row.first is None:
        what = "No single operator shows where the difference comes from."
    else:
        what = (
            f"{row.first.operator} alone, given the same inputs, is off by more than rounding: one "
            "of the two kernels is wrong, or computes it in another way."
        )
    device = "DEVICE" if row.device == "local" else row.device
    command = shlex.join(["edgeq", "eval", model, "--data", "DATA", "--device", device])
    return f"{what} Where these kernels will run, measure the accuracy there: {command}"


@needs_unchanged("model")
def parity(
    model: str | Path,
    data: Any,
    *,
    devices: str | Sequence[str] = ("local",),
    samples: int = 200,
    seed: int = 0,
    preprocess: Sequence[str] | None = None,
    runtime: str | None = None,
    python: str | Path | None = None,
    on_progress: Callable[[str, int, int | None], None] = lambda step, done, total: None,
) -> Parity:
    """Run the same inputs on each of some devices, and on all kernels here.

    Args:
        model: a `.tflite`.
        devices: "local" alone compares the kernels of this machine.
        preprocess: None takes what the file carries.
        runtime: everywhere; the first one found by default.
        python: interpreter on this machine, this one by default.

    Raises:
        EdgeqError: the model or the samples cannot be read, or this machine cannot run it.
    """
    path = Path(model)
    inputs = _read_inputs(path, data, samples, seed, preprocess)
    local = resolve_device("local", None if python is None else Path(python))
    on_event = events_as_progress(on_progress)
    expected = _run(path, inputs, local, "xnnpack", runtime, on_event)
    _, outputs = flatbuffer.interface(flatbuffer.read(path))
    quantized = frozenset(spec.name for spec in outputs if spec.scales)
    places = [(local, "local", kernels) for kernels in KERNELS[1:]]
    places += [
        (resolve_device(name), name, "xnnpack") for name in listed(devices) if name != "local"
    ]
    rows, different = [], []
    for device, name, kernels in places:
        on_progress(f"{name}, {kernels}", 0, None)
        try:
            given = _run(path, inputs, device, kernels, runtime, on_event)
            row, apart = _compare(name, kernels, expected, given, quantized)
            if apart:
                found = _walk(path, inputs, apart, (local, device), kernels, runtime)
                row = _explain(row, found)
        except EdgeqError as error:
            row, apart = ParityRow(name, kernels, "failed", error=error.message), ()
        finally:
            device.close()
        rows.append(row)
        different.append(tuple(sorted(apart)))
    count = len(next(iter(inputs.values())))
    return Parity(storage.refer(path), count, tuple(rows), tuple(different))


def _read_inputs(
    path: Path, data: Any, samples: int, seed: int, preprocess: Sequence[str] | None
) -> dict[str, NDArray[Any]]:
    """Input name to [samples, ...] in the tensor's own dtype."""
    specs, _ = flatbuffer.interface(flatbuffer.read(path))
    texts = read_preprocessing(path) if preprocess is None else list(preprocess)
    opened = open_samples(data, specs, parse_preprocessing(texts, specs))
    chosen = list(opened.iterate(choose(opened, samples, seed)))
    return {
        spec.name: quantmath.quantize(np.stack([item.inputs[spec.name] for item in chosen]), spec)
        for spec in specs
    }


def _run(
    path: Path, inputs: Arrays, device: Device, kernels: str, runtime: str | None, on_event: Any
) -> dict[str, NDArray[Any]]:
    chunks = iter([[inputs]])
    (found,) = run_job.infer(
        [path], chunks, device, runtime=runtime, kernels=kernels, on_event=on_event
    )
    return found[0]


def _compare(
    device: str, kernels: str, expected: Arrays, given: Arrays, quantized: frozenset[str]
) -> tuple[ParityRow, tuple[int, ...]]:
    """The row, and the samples that differ, those that differ most first.

    Args:
        quantized: outputs that are integers with a scale. Other integers are classes, counts or
            flags, which must be equal.
    """
    largest, count, total, is_rounding = 0.0, 0, 0, True
    samples = len(next(iter(expected.values())))
    excess = np.zeros(samples)  # difference over that by rounding, in the worst output
    changes = None
    for name, wanted in expected.items():
        distance = difference(wanted, given[name])
        furthest = float(distance.max(initial=0))
        largest = max(largest, furthest)
        allowed = rounding(wanted, name in quantized)
        is_rounding &= furthest <= allowed
        count, total = count + int(np.count_nonzero(distance)), total + distance.size
        own = distance.reshape(samples, -1).max(axis=1, initial=0)
        excess = np.maximum(excess, own / (allowed or _TINY))
        if wanted.ndim == 2 and wanted.shape[1] > 1 and changes is None:
            changes = int(np.sum(wanted.argmax(axis=1) != given[name].argmax(axis=1)))
    apart = tuple(int(number) for number in np.argsort(-excess, kind="stable") if excess[number])
    verdict = "exact" if not apart else "off by one" if is_rounding else "wrong"
    row = ParityRow(device, kernels, verdict, samples - len(apart), count / total, largest, changes)
    return row, apart


def _walk(
    path: Path,
    inputs: Arrays,
    apart: Sequence[int],
    devices: tuple[Device, Device],
    kernels: str,
    runtime: str | None,
) -> Walk:
    """Compare the single operators; an empty result if a runtime rejects such models."""
    few = {name: values[list(apart[:_WALKED_SAMPLES])] for name, values in inputs.items()}
    with scratch.folder() as folder:

        def runner(device: Device, kind: str) -> Runner:
            def run(content: bytes, given: Arrays) -> Arrays:
                model = folder / "walked.tflite"
                model.write_bytes(content)
                return _run(model, given, device, kind, runtime, None)

            return run

        here, there = (
            runner(device, kind) for device, kind in zip(devices, ("xnnpack", kernels), strict=True)
        )
        with suppress(EdgeqError):
            return walk(path.read_bytes(), few, here, there)
    return Walk()


def _explain(row: ParityRow, found: Walk) -> ParityRow:
    """The row with the operator that differs; and whether rounding explains the outputs."""
    if row.verdict != "wrong":
        return replace(row, first=found.first)
    if found.first is not None and found.wrong is None:
        return replace(row, verdict=_ADDS_UP, first=found.first)
    return replace(row, first=found.wrong)
