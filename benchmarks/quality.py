"""The loss of full-integer INT8, tool by tool: same float model, same samples, same judge.

    python benchmarks/quality.py [--shared DIR] [--litert-quantizer-python PATH] [--only NAME]

Over models with labelled data: those that ship in `edgeq.models`, and those in DIR. Every tool
gets the same 200 calibration samples; all are judged with `edgeq.compare` on the same other
samples. "stock" is `edgeq convert --calibrator tflite`: TFLiteConverter with a representative
dataset, on the same frozen graph, so with edgeq's unrolling of recurrent layers. litert-quantizer
needs a separate environment: PATH is the Python of one that has it. "edgeq, whole" is edgeq with
candidates chosen by the SQNR of whole outputs, as edgeq 0.1 chose them, and not of the worst part:
the last lines compare the two choices. This is a measurement, not a gate.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from unittest import mock

import numpy as np
from cases import SAMPLES, SHARED, Arrays, Case, shared_cases, shipped_cases, unlabelled_cases

import edgeq
from edgeq.accuracy.inference import read_interface
from edgeq.accuracy.verdict import total_sqnr_db, worst_sqnr_db
from edgeq.conversion import scoring
from edgeq.converters.samples.open_samples import open_samples
from edgeq.converters.samples.preprocessing import parse_preprocessing
from edgeq.errors import EdgeqError
from edgeq.values import Quality

WHOLE = "edgeq, whole"
SLACK_DB = 0.05

# litert-quantizer with its own static INT8 recipe, fed with the samples in argv[2]. Its default way
# of calibrating fails on unrolled recurrent layers ("Tensor data is null"); its other one works.
LITERT = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from litert_quantizer import quantizer, recipe
from litert_quantizer.calibrator import CalibrationMode
source, data, target = sys.argv[1:]
signature = next(iter(Interpreter(source).get_signature_list()))
arrays = dict(np.load(data))
count = len(next(iter(arrays.values())))
samples = [{name: array[i : i + 1] for name, array in arrays.items()} for i in range(count)]
tool = quantizer.Quantizer(source, recipe.static_wi8_ai8())
try:
    calibration = tool.calibrate({signature: samples})
except ValueError:
    mode = CalibrationMode.CALIBRATION_PROFILER_BASED
    calibration = tool.calibrate({signature: samples}, mode=mode)
    print("SECOND WAY")
tool.quantize(calibration).export_model(target, overwrite=True)
"""


@dataclass(frozen=True)
class Entry:
    """The file that one tool made from a model; `quality` is None if there is no file."""

    tool: str
    quality: Quality | None
    note: str = ""


# ---------------------------------------------------------------- one model


class Bench:
    """One case in a folder: its samples, its float model, and the file of each tool."""

    def __init__(self, case: Case, folder: Path):
        self.case, self.folder = case, folder
        self.calibration, self.test = folder / "calibration.npz", folder / "test.npz"
        self.float = folder / "float.tflite"
        np.savez(self.calibration, **case.calibration())
        np.savez(self.test, **case.test())
        edgeq.convert(case.model, self.float, scheme="fp32")

    def own(self, tool: str, **options: object) -> Entry:
        """Convert with edgeq; a file with float operators is measured, and said to be one."""
        target = self.folder / f"{tool}.tflite"
        try:
            edgeq.convert(
                self.case.model,
                target,
                data=self.calibration,
                preprocess=self.case.preprocess,
                samples=SAMPLES,
                allow_float=True,
                **options,
            )
        except EdgeqError as error:
            return Entry(tool, None, _cell(f"cannot: {error}"))
        return self._judge(tool, target)

    def litert_quantizer(self, python: Path | None) -> Entry:
        """Quantize with litert-quantizer in its own environment."""
        tool = "litert-quantizer"
        if python is None:
            return Entry(tool, None, "not installed")
        prepared, target = self.folder / "prepared.npz", self.folder / f"{tool}.tflite"
        np.savez(prepared, **self._prepare())
        command = [str(python), "-c", LITERT, str(self.float), str(prepared), str(target)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            return Entry(tool, None, _cell(f"cannot (exit {done.returncode}): {last}"))
        entry = self._judge(tool, target)
        if "SECOND WAY" not in done.stdout:
            return entry
        notes = filter(None, (entry.note, "calibrated in its profiler mode"))
        return replace(entry, note=", ".join(notes))

    def chosen_by_whole_outputs(self) -> Entry:
        """Edgeq's choice by the older figure."""
        with mock.patch.object(scoring, "worst_sqnr_db", total_sqnr_db):
            entry = self.own(WHOLE)
        same = "the same file" if self.is_same(WHOLE, "edgeq") else ""
        return replace(entry, note=", ".join(filter(None, (entry.note, same))))

    def is_same(self, tool: str, other: str) -> bool:
        """Whether two tools' files are equal."""
        one, two = (self.folder / f"{name}.tflite" for name in (tool, other))
        return one.exists() and two.exists() and one.read_bytes() == two.read_bytes()

    def against(self, tool: str) -> Quality:
        """Edgeq's file with another tool's as the baseline."""
        return self._compare(self.folder / f"{tool}.tflite", self.folder / "edgeq.tflite")

    def _prepare(self) -> Arrays:
        """The calibration samples as the float model takes them."""
        inputs = read_interface(self.float).inputs
        declared = parse_preprocessing(self.case.preprocess, inputs)
        samples = list(open_samples(self.calibration, inputs, declared).iterate())
        return {
            spec.name: np.stack([item.inputs[spec.name] for item in samples]) for spec in inputs
        }

    def _judge(self, tool: str, target: Path) -> Entry:
        proof = edgeq.certify(target)
        left = sum(item.precision in ("float32", "dynamic", "fp16") for item in proof.operators)
        borders = {spec.dtype for spec in (*proof.inputs, *proof.outputs)}
        notes = [f"{left} float operators left"] if left else []
        notes += [f"{'/'.join(sorted(borders))} at the border"] if borders != {"int8"} else []
        try:
            return Entry(tool, self._compare(self.float, target), ", ".join(notes))
        except EdgeqError as error:
            return Entry(tool, None, _cell(f"made, but: {str(error).partition(': ')[2]}"))

    def _compare(self, baseline: Path, candidate: Path) -> Quality:
        preprocess = self.case.preprocess
        return edgeq.compare(
            baseline, candidate, self.test, preprocess=preprocess, latency=False
        ).quality


def _cell(text: str) -> str:
    """A message that fits into one cell of a table."""
    return " ".join(text.replace("|", "/").split())[:160]


# ---------------------------------------------------------------- the table


HEAD = (
    "| model (evaluated) | tool | SQNR dB | of whole outputs | agreement % | accuracy % "
    "| drop, points | note |"
)


def rows(case: Case, entries: list[Entry]) -> Iterator[str]:
    """Table rows of one model, FP32 first."""
    first = next((entry.quality for entry in entries if entry.quality is not None), None)
    if first is not None:
        name = f"{case.name} ({first.sample_count})"
        yield f"| {name} | FP32 | | | | {_number(first.baseline_accuracy_percent)} | | |"
    for entry in entries:
        quality = entry.quality
        if quality is None:
            yield f"| {case.name} | {entry.tool} | | | | | | {entry.note} |"
            continue
        drop = quality.drop_points
        lost = "" if drop is None else f"{drop.value:.2f} [{drop.low:.2f}, {drop.high:.2f}]"
        yield (
            f"| | {entry.tool} | {worst_sqnr_db(quality):.2f} | {total_sqnr_db(quality):.2f} "
            f"| {_number(quality.agreement_percent)} "
            f"| {_number(quality.candidate_accuracy_percent)} | {lost} | {entry.note} |"
        )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def shortfalls(name: str, stock: Quality, own: Quality, paired: Quality) -> Iterator[str]:
    """How edgeq is below stock on one model; nothing when it is not."""
    ours, theirs = worst_sqnr_db(own), worst_sqnr_db(stock)
    if ours < theirs - SLACK_DB:
        yield f"{name}: SQNR {theirs - ours:.2f} dB lower"
    drop = paired.drop_points
    if drop is not None and drop.low > 0:
        yield f"{name}: accuracy {drop.value:.2f} points lower [{drop.low:.2f}, {drop.high:.2f}]"


def choices(bench: Bench) -> str:
    """Compare the choice by parts with the choice by whole outputs, for one model."""
    if bench.is_same(WHOLE, "edgeq"):
        return f"{bench.case.name}: the same file"
    drop = bench.against(WHOLE).drop_points
    if drop is None:
        return f"{bench.case.name}: another file, no labels"
    return (
        f"{bench.case.name}: accuracy {-drop.value:+.2f} points [{-drop.high:.2f}, {-drop.low:.2f}]"
    )


def measure(case: Case, python: Path | None) -> tuple[list[str], dict[str, float], str]:
    """Print one model's rows; how edgeq is below stock, SQNR in dB by tool, the two choices."""
    with tempfile.TemporaryDirectory(prefix="edgeq-quality-") as folder:
        bench = Bench(case, Path(folder))
        stock = bench.own("stock", calibrator="tflite")
        own = bench.own("edgeq")
        whole = bench.chosen_by_whole_outputs()
        entries = [stock, bench.litert_quantizer(python), whole, own]
        for row in rows(case, entries):
            print(row, flush=True)
        found = {
            item.tool: worst_sqnr_db(item.quality) for item in entries if item.quality is not None
        }
        if own.quality is None:
            return [f"{case.name}: edgeq did not convert it"], found, ""
        choice = choices(bench)
        if stock.quality is None:
            return [], found, choice
        paired = bench.against("stock")
        return list(shortfalls(case.name, stock.quality, own.quality, paired)), found, choice


def gains(found: dict[str, dict[str, float]]) -> Iterator[str]:
    """Mean gain in SQNR over each other tool, over all models that both made, and the least."""
    for tool in ("stock", "litert-quantizer"):
        for kind, keep in (("labelled", False), ("all", True)):
            gain = {
                name: figures["edgeq"] - figures[tool]
                for name, figures in found.items()
                if {"edgeq", tool} <= figures.keys() and (keep or "unlabelled" not in name)
            }
            if gain:
                least = min(gain, key=lambda name: gain[name])
                yield (
                    f"edgeq above {tool}, {kind} models ({len(gain)}): mean "
                    f"{sum(gain.values()) / len(gain):+.2f} dB, least {gain[least]:+.2f} ({least})"
                )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=SHARED, metavar="DIR")
    parser.add_argument("--litert-quantizer-python", type=Path, metavar="PATH")
    parser.add_argument("--only", default="", help="models whose name contains this")
    given = parser.parse_args()
    names = ("edgeq", "tensorflow", "keras", "ai-edge-litert", "numpy")
    print(f"{platform.machine()}, " + ", ".join(f"{name} {version(name)}" for name in names))
    cases = [*shipped_cases(given.shared)]
    if given.shared.is_dir():
        cases += [*shared_cases(given.shared), *unlabelled_cases(given.shared)]
    print(HEAD)
    print("|---|---|--:|--:|--:|--:|--:|---|")
    below, found, chosen = [], {}, []
    for case in cases:
        if given.only in case.name:
            short, found[case.name], choice = measure(case, given.litert_quantizer_python)
            below += short
            chosen += [choice] if choice else []
    for line in gains(found):
        print(line)
    print("edgeq below stock: " + ("; ".join(below) or "on no model"))
    print("chosen by parts, against by whole outputs: " + "; ".join(chosen))


if __name__ == "__main__":
    main()
