"""Convert every kind of layer and model to INT8, and compare with float: docs/coverage.md.

    python benchmarks/coverage.py [--only REGEX] [--cache DIR] [--write]

Over every layer class of `keras.layers` in a small model with weights from a seed (`layers.py`),
the smallest of each family of `keras.applications` (`families.py`), and two transformers that the
script trains (`transformers.py`). Each must become full INT8 without float operators, or be refused
right after lowering, by name, with a way out.

Bounds, by the SQNR of the outputs' worst part on samples that did not calibrate: layers and
transformers at least 20 dB. Families at most 0.5 dB below the file of TensorFlow's `mlir_quantize`
with the same samples where that is full integer, and each operator alone, fed with the float
model's values for the calibration samples, at least 20 dB. At least 95 % of what TensorFlow Lite
can lower is full INT8.

A first process builds, trains and lowers; a second one converts. --cache DIR keeps what the first
one made, and the row of each model, so that --only measures a part again. --write puts the table of
all rows into docs/coverage.md. It exits with 1 if a bound is missed.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from cases import SHARED, Case
from differences import float_operators
from families import family_cases
from layers import build, layer_classes, missing_classes, recipes, samples
from transformers import train, transformer_cases
from writer import CALIBRATED, Variant, prepare, theirs

import edgeq
from edgeq.accuracy.inference import read_interface
from edgeq.accuracy.verdict import worst_sqnr_db
from edgeq.converters.lowering.framework_process import TensorFlowProcess
from edgeq.converters.proof.layer_errors import Pair
from edgeq.converters.rewrites.apply import rewrite
from edgeq.converters.samples.open_samples import open_samples
from edgeq.converters.samples.preprocessing import parse_preprocessing
from edgeq.errors import EdgeqError, LoweringError, SourceError
from edgeq.tflite import flatbuffer

LEAST_DB = 20.0
SLACK_DB = 0.5  # of families, below TensorFlow's file
LEAST_SHARE = 0.95
# Layers are many; families need the ranges of TensorFlow's file: extremes without corrections.
_EFFORTS = {"layers": "fast", "transformers": "balanced", "families": "fast"}
_STEPPED = 32  # samples for the operators alone
_CALIBRATED, _TESTED = 300, 100
# Words of a refusal that names an operator of TensorFlow, which TensorFlow Lite does not have.
_ELSEWHERE = ("no operator for: ", "AssignVariableOp")
_STOCK = Variant("int8", "int8", "channel")
_PAGE = Path(__file__).resolve().parents[1] / "docs" / "coverage.md"
_BEGIN, _END = "<!-- coverage: begin -->", "<!-- coverage: end -->"


@dataclass(frozen=True)
class Row:
    """One model.

    Attributes:
        group: "layers", "families" or "transformers".
        db: SQNR of the outputs' worst part; None if it was refused.
        reason: why it was refused.
        is_lowered: whether TensorFlow Lite can express it.
        seconds: until it was converted, or refused.
        note: more figures.
        missed: bounds that it misses.
    """

    group: str
    name: str
    db: float | None
    reason: str
    is_lowered: bool
    seconds: float
    note: str = ""
    missed: tuple[str, ...] = ()


def key(group: str, case: Case) -> str:
    """Name a model for --only and for the kept rows."""
    return f"{group} {case.name}"


# ---------------------------------------------------------------- building, in the first process


def layer_cases(folder: Path) -> Iterator[Case]:
    """The models around one layer, as files in `folder`."""
    for name, (kind, _) in recipes().items():
        yield Case(
            name,
            folder / f"{re.sub(r'[^A-Za-z0-9]+', '-', name)}.keras",
            lambda kind=kind: samples(kind, _CALIBRATED, 0),
            lambda kind=kind: samples(kind, _TESTED, 1),
        )


def build_all(only: str, cache: Path, shared: Path) -> None:
    """Build, train and lower whatever is not in `cache`."""
    for case, (kind, make) in zip(layer_cases(cache), recipes().values(), strict=True):
        is_known = case.model.exists() or _refusal(case).exists()
        if re.search(only, key("layers", case)) and not is_known:
            try:
                build(kind, make).save(case.model)
            except Exception as error:  # noqa: BLE001 - why Keras cannot build it is a row of the table
                _refusal(case).write_text(" ".join(f"{type(error).__name__}: {error}".split()))
    if any(re.search(only, key("transformers", case)) for case in transformer_cases(shared, cache)):
        train(shared, cache)
    for case in family_cases():
        if re.search(only, key("families", case)):
            theirs(prepare(case, cache / case.name), _STOCK, cache / case.name)


def _refusal(case: Case) -> Path:
    return case.model.with_suffix(".txt")


# ---------------------------------------------------------------- converting, in the second


def convert(
    group: str, case: Case, folder: Path, effort: str, tensorflow: TensorFlowProcess
) -> Row:
    """Convert one model and judge the result, or the refusal."""
    calibration, test = folder / "calibration.npz", folder / "test.npz"
    np.savez(calibration, **case.calibration())
    np.savez(test, **{name: array[:_TESTED] for name, array in case.test().items()})
    steps: list[str] = []
    began = time.perf_counter()
    try:
        made = edgeq.convert(
            case.model,
            folder / "int8.tflite",
            data=calibration,
            test_data=test,
            preprocess=case.preprocess,
            effort=effort,
            tensorflow=tensorflow,
            on_progress=lambda step, done, total: steps.append(step),
        )
    except EdgeqError as error:
        took = time.perf_counter() - began
        missed = tuple(_faults(error, steps))
        is_lowered = not isinstance(error, (LoweringError, SourceError))
        reason = str(error).replace(f"{case.model.parent}/", "")
        return Row(group, case.name, None, reason, is_lowered, took, "", missed)
    took = time.perf_counter() - began
    assert made.quality is not None
    db = worst_sqnr_db(made.quality)
    left = float_operators((folder / "int8.tflite").read_bytes())
    missed = (f"{', '.join(left)} in float",) if left else ()
    if group != "families" and not db >= LEAST_DB:
        missed += (f"{db:.1f} dB is below {LEAST_DB:.0f}",)
    return Row(group, case.name, db, "", True, took, "", missed)


def _faults(error: EdgeqError, steps: Sequence[str]) -> Iterator[str]:
    """Find what a refusal lacks."""
    known = {*flatbuffer.operator_names().values(), *layer_classes()}
    is_elsewhere = any(text in error.message for text in _ELSEWHERE)
    if not known & set(re.findall(r"\w+", error.message)) and not is_elsewhere:
        yield "the refusal names neither an operator nor a layer"
    if error.hint is None:
        yield "the refusal has no way out"
    if "calibrate" in steps:
        yield "refused after calibration"


def judge_family(row: Row, case: Case, folder: Path, cache: Path) -> Row:
    """Add the comparison with TensorFlow's file, and the operators alone."""
    if row.db is None:
        return row
    lowered, made = cache / case.name / "float.tflite", folder / "int8.tflite"
    notes, missed = [], list(row.missed)
    stock = theirs(prepare(case, cache / case.name), _STOCK, cache / case.name)
    if left := float_operators(stock):
        notes.append(f"mlir_quantize leaves {', '.join(left)} in float")
    else:
        other = folder / "stock.tflite"
        other.write_bytes(stock)
        compared = edgeq.compare(
            lowered, other, folder / "test.npz", preprocess=case.preprocess, latency=False
        )
        stock_db = worst_sqnr_db(compared.quality)
        notes.append(f"mlir_quantize {stock_db:.1f} dB")
        if not row.db >= stock_db - SLACK_DB:
            missed.append(f"{stock_db - row.db:.2f} dB below mlir_quantize")
    # Values that the ranges cover: for other pictures, random weights exceed those of 32 samples.
    lowest, where = lowest_alone(lowered, made, folder / "calibration.npz", case.preprocess)
    notes.append(f"operators alone {lowest:.1f} dB or more")
    if not lowest >= LEAST_DB:
        missed.append(f"{where} alone: {lowest:.1f} dB")
    return replace(row, note="; ".join(notes), missed=tuple(missed))


def lowest_alone(
    lowered: Path, made: Path, data: Path, preprocess: Sequence[str]
) -> tuple[float, str]:
    """The lowest SQNR of an operator that is fed with the float model's values, and its name."""
    inputs = read_interface(lowered).inputs
    opened = open_samples(data, inputs, parse_preprocessing(preprocess, inputs))
    fed = [item.inputs for item in opened.iterate(range(_STEPPED))]
    arrays = {spec.name: np.stack([item[spec.name][None] for item in fed]) for spec in inputs}
    # The file was made from the rewritten model, and its operators have their twins there.
    pair = Pair(rewrite(lowered.read_bytes()).content, made.read_bytes(), arrays)
    found = [(-10 * math.log10(max(step.own_error, 1e-12)), step.position) for step in pair.walk()]
    lowest, position = min(found)
    tensor = pair.tree.subgraphs[0].operators[position].outputs[0]
    return lowest, pair.tree.subgraphs[0].tensors[tensor].name.decode().partition(";")[0]


def all_cases(cache: Path, shared: Path) -> list[tuple[str, Case]]:
    """Return the group of each model, and the model."""
    groups = [("layers", case) for case in layer_cases(cache)]
    groups += [("transformers", case) for case in transformer_cases(shared, cache)]
    return groups + [("families", case) for case in family_cases()]


def measure(only: str, cache: Path, shared: Path) -> Iterator[Row]:
    """Convert all models, one after the other, with one TensorFlow process."""
    with TensorFlowProcess() as tensorflow:
        for group, case in all_cases(cache, shared):
            if not re.search(only, key(group, case)):
                continue
            if group == "layers" and _refusal(case).exists():
                reason = f"Keras cannot build the model: {_refusal(case).read_text()[:200]}"
                yield Row(group, case.name, None, reason, False, 0.0, "", ("no model to convert",))
                continue
            with tempfile.TemporaryDirectory(prefix="edgeq-coverage-") as scratch:
                folder, used = Path(scratch), case
                if group == "families":
                    used = replace(
                        case,
                        model=cache / case.name / "float.tflite",
                        calibration=lambda case=case: {
                            name: array[:CALIBRATED] for name, array in case.calibration().items()
                        },
                    )
                row = convert(group, used, folder, _EFFORTS[group], tensorflow)
                if group == "layers" and row.db is not None and row.db < LEAST_DB:
                    row = convert(group, used, folder, "balanced", tensorflow)
                    row = replace(row, note="`--effort balanced`")
                if group == "families":
                    row = judge_family(row, case, folder, cache)
            yield row


# ---------------------------------------------------------------- the table


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown: what was converted, then what was refused, group by group."""
    lines = []
    for group in dict.fromkeys(row.group for row in rows):
        own = [row for row in rows if row.group == group]
        lines += ["", f"## {group.capitalize()}", "", "| model | SQNR, dB | |", "|---|--:|---|"]
        lines += [
            f"| `{row.name}` | {row.db:.1f} | {'; '.join(filter(None, (row.note, _bad(row))))} |"
            for row in own
            if row.db is not None
        ]
        if refused := [row for row in own if row.db is None]:
            lines += ["", "| refused | seconds | reason |", "|---|--:|---|"]
            lines += [
                f"| `{row.name}` | {row.seconds:.1f} | "
                f"{'; '.join(filter(None, (_cell(row.reason), _bad(row))))} |"
                for row in refused
            ]
    return "\n".join(lines).strip()


def _bad(row: Row) -> str:
    return f"**not met**: {'; '.join(row.missed)}" if row.missed else ""


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())[:300]


def summary(rows: Sequence[Row]) -> tuple[str, bool]:
    """One sentence with the share, and whether all bounds are met."""
    lowered = [row for row in rows if row.is_lowered]
    made = [row for row in lowered if row.db is not None]
    share = len(made) / len(lowered) if lowered else 0.0
    text = (
        f"TensorFlow Lite can express {len(lowered)} of {len(rows)} models; {len(made)} of these "
        f"({share:.1%}) are full INT8."
    )
    return text, share >= LEAST_SHARE and not any(row.missed for row in rows)


def with_kept(rows: Sequence[Row], cache: Path, shared: Path) -> list[Row]:
    """Keep the rows in `cache`; return these, and for the other models the rows of earlier runs."""
    path = cache / "rows.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    kept |= {f"{row.group} {row.name}": asdict(row) for row in rows}
    path.write_text(json.dumps(kept))
    known = [kept.get(key(group, case)) for group, case in all_cases(cache, shared)]
    return [Row(**{**row, "missed": tuple(row["missed"])}) for row in known if row is not None]


def write_page(text: str) -> None:
    """Replace the generated part of the page."""
    before, _, rest = _PAGE.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    _PAGE.write_text(f"{before}{_BEGIN}\n\n{text}\n\n{_END}{after}")


def run(only: str, cache: Path, shared: Path, *, write: bool) -> int:
    """Build in a first process, convert here, print and judge."""
    cache.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, __file__, "--build", "--cache", str(cache), "--shared", str(shared)]
    subprocess.run([*command, "--only", only], check=True)
    rows = with_kept([], cache, shared)
    for row in measure(only, cache, shared):
        shown = row.reason[:160] if row.db is None else f"{row.db:.1f} dB {row.note}"
        bad = f"  MISSED: {'; '.join(row.missed)}" if row.missed else ""
        print(f"{row.name}: {shown} ({row.seconds:.1f} s){bad}", flush=True)
        rows = with_kept([row], cache, shared)
    text, is_met = summary(rows)
    known = {(row.group, row.name) for row in rows}
    left = [
        case.name for group, case in all_cases(cache, shared) if (group, case.name) not in known
    ]
    if left:
        text, is_met = f"{text} Not measured: {', '.join(left)}.", False
    print(text)
    if write:
        write_page(f"{text}\n\n{table(rows)}")
    return 0 if is_met else 1


def main() -> int:
    """Measure and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=SHARED, metavar="DIR")
    parser.add_argument("--only", default="", help="a regular expression: Conv2D, families")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep what was built and trained")
    parser.add_argument(
        "--write", action="store_true", help="write the table into docs/coverage.md"
    )
    parser.add_argument("--build", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.build:
        if unknown := missing_classes():
            raise SystemExit(
                f"No recipe for the layers {', '.join(unknown)}: add one to layers.py."
            )
        build_all(given.only, given.cache, given.shared)
        return 0
    with tempfile.TemporaryDirectory(prefix="edgeq-coverage-") as scratch:
        cache = given.cache or Path(scratch)
        return run(given.only, cache, given.shared, write=given.write)


if __name__ == "__main__":
    raise SystemExit(main())
