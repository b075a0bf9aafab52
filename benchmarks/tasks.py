"""The loss of INT8 by each task's own metric, tool by tool: same float model, same samples.

    python benchmarks/tasks.py [--litert-quantizer-python PATH] [--only NAME]

The models ship in `edgeq.models`, and their test samples were not used for training. Every tool
gets the same calibration samples: edgeq through its command line with the default options, a plain
TFLiteConverter script, and litert-quantizer's static INT8 recipe, for which PATH is the Python of
an environment that has it. `edgeq.compare` judges all files on all test samples.

It prints a Markdown table, and then the bounds that are missed: a loss of at most 0.5 points (0.01
for R²), no paired interval against another tool wholly on the wrong side, a better SQNR of the
worst part than any other tool, no float island. It exits with 1 if there are any.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from convert import STOCK
from quality import LITERT

import edgeq
import edgeq.models
from edgeq.accuracy.inference import read_interface
from edgeq.accuracy.verdict import worst_sqnr_db
from edgeq.converters.samples.open_samples import open_samples
from edgeq.converters.samples.preprocessing import parse_preprocessing
from edgeq.errors import EdgeqError
from edgeq.values import Certificate, Comparison, Interval

MOST_POINTS = 0.5
MOST_R2 = 0.01
LEAST_SAMPLES = 2000

_FLOATS = ("float32", "dynamic", "fp16")


@dataclass(frozen=True)
class Task:
    """A model and how it is measured.

    Attributes:
        name: of the row.
        model: a file of `edgeq.models`.
        calibration, test: for `--data`: "module:function", or a file of `edgeq.models`.
        metric: for `--metric`.
        preprocess: `--preprocess` texts.
        decode: for `--decode`.
        options: more options of `edgeq convert`.
    """

    name: str
    model: str
    calibration: str
    test: str
    metric: str
    preprocess: tuple[str, ...] = ()
    decode: str | None = None
    options: tuple[str, ...] = ()


_DATA = "edgeq.models.data:"
_WORDS = "edgeq.models.words:calibration", "edgeq.models.words:test"  # made by espeak-ng
_GARMENTS = "fashion_mnist_calibration.npz", "fashion_mnist_test.npz"

# One line for each: name, model, calibration data, test data, metric, then what it needs by name:
#   Task("keyword GRU", "words_gru.keras", f"{_DATA}words_calibration", f"{_DATA}words_test",
#        "top1", preprocess=("mean=...", "std=..."), options=("--lstm", "fused")),
TASKS = (
    Task("ViT", "fmnist_vit.keras", *_GARMENTS, "top1"),
    Task("detector", "scenes_detector.keras", f"{_DATA}boxes_calibration", f"{_DATA}boxes_test",
         "map", decode="boxes=cxcywh,unit=pixels"),
    Task("U-Net", "scenes_unet.keras", f"{_DATA}masks_calibration", f"{_DATA}masks_test", "miou"),
    Task("regressor", "scenes_weight.keras", f"{_DATA}weights_calibration", f"{_DATA}weights_test",
         "r2"),
    Task("keyword GRU", "words_gru.keras", *_WORDS, "top1"),
    Task("keyword LSTM", "words_lstm.keras", *_WORDS, "top1"),
    Task("keyword transformer", "words_transformer.keras", *_WORDS, "top1"),
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """The file that one tool made, measured; `found` is None if there is none that runs.

    Attributes:
        found: FP32 compared with the file.
        paired: this file compared with edgeq's; None for edgeq's own.
    """

    tool: str
    found: Comparison | None = None
    paired: Comparison | None = None
    proof: Certificate | None = None
    note: str = ""


# ---------------------------------------------------------------- one task


class Bench:
    """One task in a folder: its samples, its float model, and the file of each tool."""

    def __init__(self, task: Task, folder: Path):
        self.task, self.folder = task, folder
        self.model = edgeq.models.path(task.model)
        self.float = folder / "float.tflite"
        edgeq.convert(self.model, self.float, scheme="fp32")
        self.calibration, self.test = (_locate(data) for data in (task.calibration, task.test))
        self.prepared = folder / "prepared.npz"
        inputs = read_interface(self.float).inputs
        declared = parse_preprocessing(task.preprocess, inputs)
        samples = list(open_samples(self.calibration, inputs, declared).iterate())
        self.count = len(samples)
        np.savez(
            self.prepared,
            **{
                spec.name: np.stack([item.inputs[spec.name] for item in samples]) for spec in inputs
            },
        )

    def entries(self, python: Path | None) -> list[Entry]:
        """Make and measure the file of each tool; edgeq's is the first."""
        notes = {
            "edgeq": self._edgeq(),
            "TFLiteConverter": self._stock(),
            "litert-quantizer": self._litert_quantizer(python),
        }
        return [self._measure(tool, note) for tool, note in notes.items()]

    def _target(self, tool: str) -> Path:
        return self.folder / f"{tool}.tflite"

    def _edgeq(self) -> str:
        declared = [word for text in self.task.preprocess for word in ("--preprocess", text)]
        declared += ["--decode", self.task.decode] if self.task.decode is not None else []
        return _run(
            str(Path(sys.executable).with_name("edgeq")), "convert", self.model,
            "-o", self._target("edgeq"), "--data", self.calibration, *declared,
            *self.task.options,
        )  # fmt: skip

    def _stock(self) -> str:
        """A plain script; where it fails, TFLiteConverter on edgeq's frozen and unrolled graph."""
        with np.load(self.prepared) as arrays:
            (samples,) = arrays.values()
        np.save(self.folder / "prepared.npy", samples)
        source, target = self.folder / "prepared.npy", self._target("TFLiteConverter")
        failed = _run(sys.executable, "-c", STOCK, self.model, source, target, self.count)
        if not failed:
            return ""
        target.unlink(missing_ok=True)  # a script that crashed leaves an empty file
        try:
            edgeq.convert(
                self.model, target, data=self.calibration, preprocess=self.task.preprocess,
                samples=self.count, calibrator="tflite", allow_float=True,
            )  # fmt: skip
        except EdgeqError as error:
            return f"{failed}; with edgeq's graph: {error}"
        return "with edgeq's frozen graph"

    def _litert_quantizer(self, python: Path | None) -> str:
        if python is None:
            return "not installed"
        target = self._target("litert-quantizer")
        return _run(python, "-c", LITERT, self.float, self.prepared, target)

    def _measure(self, tool: str, note: str) -> Entry:
        target = self._target(tool)
        if not target.exists():
            return Entry(tool, note=note)
        proof = edgeq.certify(target)
        try:
            paired = None if tool == "edgeq" else self._compare(target, self._target("edgeq"))
            return Entry(tool, self._compare(self.float, target), paired, proof, note)
        except EdgeqError as error:
            return Entry(tool, proof=proof, note=f"made, but: {error}")

    def _compare(self, baseline: Path, candidate: Path) -> Comparison:
        return edgeq.compare(
            baseline, candidate, self.test, metrics=(self.task.metric,), latency=False,
            preprocess=self.task.preprocess, decode=self.task.decode,
        )  # fmt: skip


def _locate(data: str) -> str:
    return data if ":" in data else str(edgeq.models.path(data))


def _run(*command: object) -> str:
    """Run a tool; why it failed, or nothing."""
    done = subprocess.run([*map(str, command)], check=False, capture_output=True, text=True)
    if done.returncode == 0:
        return ""
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return f"cannot (exit {done.returncode}): {last}"


def loss_of(found: Comparison, metric: str) -> Interval:
    """How much worse the candidate is by a metric, with its paired interval."""
    drop = found.quality.drop_points
    if metric == "top1" and drop is not None:
        return drop
    (loss,) = (item.loss for item in found.losses if item.name == metric)
    return loss


# ---------------------------------------------------------------- the table


HEAD = (
    "| task, samples | tool | metric | lost | edgeq is worse by | SQNR of the worst part, dB "
    "| kB | float islands | wide | note |\n|---|---|--:|--:|--:|--:|--:|--:|---|---|"
)


def rows(task: Task, entries: Sequence[Entry]) -> Iterator[str]:
    """Table rows of one task, FP32 first."""
    found = next((entry.found for entry in entries if entry.found is not None), None)
    if found is not None:
        (value,) = (item for item in found.metrics_baseline if item.name == task.metric)
        count = found.quality.sample_count
        yield (
            f"| {task.name}, {count:,} | FP32 | {task.metric} {value.value:.5g} | | | "
            f"| {found.baseline.size_bytes / 1000:.1f} | | | |"
        )
    for entry in entries:
        yield "| | " + " | ".join([entry.tool, *_cells(task, entry), _cell(entry.note)]) + " |"


def _cells(task: Task, entry: Entry) -> list[str]:
    found, proof = entry.found, entry.proof
    if found is None or proof is None:
        return [""] * 7
    (value,) = (item for item in found.metrics_candidate if item.name == task.metric)
    paired = "" if entry.paired is None else _interval(loss_of(entry.paired, task.metric))
    return [
        f"{value.value:.5g}",
        _interval(loss_of(found, task.metric)),
        paired,
        f"{worst_sqnr_db(found.quality):.2f}",
        f"{proof.size_bytes / 1000:.1f}",
        str(proof.float_islands),
        wide(proof),
    ]


def wide(proof: Certificate) -> str:
    """List operators that are not INT8: at the ends, INT16; and borders of another dtype."""
    ends = [*proof.wide_inputs, *proof.wide_outputs]
    narrow = sum(item.precision.startswith("int16") for item in proof.operators)
    borders = sorted({spec.dtype for spec in (*proof.inputs, *proof.outputs)} - {"int8"})
    parts = [", ".join(ends)] if ends else []
    parts += [f"{narrow} INT16 operators"] if narrow else []
    parts += [f"{'/'.join(borders)} at the border"] if borders else []
    return "; ".join(parts)


def _interval(loss: Interval) -> str:
    digits = 2 if max(map(abs, (loss.value, loss.low, loss.high))) >= 0.1 else 4
    value, low, high = (f"{item:.{digits}f}" for item in (loss.value, loss.low, loss.high))
    return f"{value} [{low}, {high}]"


def _cell(text: str) -> str:
    """A message that fits into one cell of a table."""
    return " ".join(text.replace("|", "/").split())[:200]


def missed(task: Task, entries: Sequence[Entry]) -> Iterator[str]:
    """The bounds that edgeq misses in one task."""
    own, *others = entries
    if own.found is None or own.proof is None:
        yield f"{task.name}: edgeq made no file: {own.note}"
        return
    lost, most = loss_of(own.found, task.metric), MOST_R2 if task.metric == "r2" else MOST_POINTS
    if lost.value > most:
        yield f"{task.name}: {task.metric} loses {_interval(lost)}, more than {most:g}"
    if own.found.quality.sample_count < LEAST_SAMPLES:
        yield f"{task.name}: measured on {own.found.quality.sample_count} samples only"
    if own.proof.float_islands:
        yield f"{task.name}: {own.proof.float_islands} float islands"
    for other in others:
        if other.found is None or other.paired is None:
            continue
        worse = loss_of(other.paired, task.metric)
        if worse.low > 0:
            yield f"{task.name}: worse than {other.tool} by {_interval(worse)}"
        ours, theirs = (worst_sqnr_db(entry.quality) for entry in (own.found, other.found))
        if ours <= theirs:
            yield f"{task.name}: {ours:.2f} dB, {other.tool} {theirs:.2f} dB"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--litert-quantizer-python", type=Path, metavar="PATH")
    parser.add_argument("--only", default="", help="tasks whose name contains this")
    given = parser.parse_args()
    names = ("edgeq", "tensorflow", "keras", "ai-edge-litert", "numpy")
    print(f"{platform.machine()}, " + ", ".join(f"{name} {version(name)}" for name in names))
    print(HEAD)
    failures: list[str] = []
    for task in TASKS:
        if given.only not in task.name:
            continue
        with tempfile.TemporaryDirectory(prefix="edgeq-tasks-") as folder:
            entries = Bench(task, Path(folder)).entries(given.litert_quantizer_python)
        for row in rows(task, entries):
            print(row, flush=True)
        failures += missed(task, entries)
    print("missed: " + ("; ".join(failures) or "nothing"))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
