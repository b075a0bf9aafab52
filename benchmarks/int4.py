"""INT4 weights with INT8 activations: bytes saved, accuracy lost, time taken.

    python benchmarks/int4.py [--shared DIR] [--only NAME] [--effort EFFORT]

Over the labelled convolutional networks that ship in `edgeq.models`, and those of DIR. `edgeq
convert` makes an INT8 file and one with `--weights int4` from the same 200 samples. Both are judged
against FP32 on the same other samples, and timed alternately with one thread. Models without labels
show SQNR and agreement only.

Goals for those that ship: at least 70 % of the weights in INT4, a measured drop of at most 0.5
points, a file of at most 70 % of the INT8 one.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cases import SAMPLES, SHARED, Case, shared_cases, shipped_cases, unlabelled_cases
from convert import processor

import edgeq
from edgeq.accuracy.verdict import worst_sqnr_db
from edgeq.tflite import flatbuffer
from edgeq.values import Quality

_CONVOLUTIONAL = ("fmnist_cnn", "fmnist_mobilenet", "fmnist_uneven", "fmnist_two_input",
                  "kws_dscnn", "mobilenet_v1_025", "resnet8")  # fmt: skip
_LEAST_SHARE, _MOST_DROP, _MOST_SIZE = 0.7, 0.5, 0.7

HEAD = (
    "| model (evaluated) | INT4 weights, % | file, of INT8's | SQNR, dB: INT8 / INT4 "
    "| agreement, %: INT8 / INT4 | drop, points: INT8 | drop, points: INT4 | time, of INT8's |"
)


@dataclass(frozen=True)
class Found:
    """The two files of a model, measured.

    Attributes:
        share: of the weights, those in INT4, by number of values.
        size: bytes of the file with INT4 weights, by those of the INT8 file.
        slowdown: median latency of the file with INT4 weights, by that of the INT8 file.
        int8, int4: each file against FP32.
    """

    share: float
    size: float
    slowdown: float
    int8: Quality
    int4: Quality


def int4_share(path: Path) -> float:
    """Part of a file's weights, by number of values, that is stored in INT4."""
    tree = flatbuffer.parse(path.read_bytes(), path.name)
    counts = {"int4": 0, "int8": 0}
    for tensor in tree.subgraphs[0].tensors:
        dtype = flatbuffer.dtype(tensor)
        if dtype in counts and flatbuffer.is_constant(tree, tensor):
            counts[dtype] += int(np.prod(tensor.shape))
    return counts["int4"] / sum(counts.values())


def measure(case: Case, effort: str) -> Found:
    """Make both files and measure them."""
    with tempfile.TemporaryDirectory(prefix="edgeq-int4-") as name:
        folder = Path(name)
        np.savez(folder / "calibration.npz", **case.calibration())
        np.savez(folder / "test.npz", **case.test())
        source = folder / "float.tflite"
        edgeq.convert(case.model, source, scheme="fp32")
        files = {weights: folder / f"{weights}.tflite" for weights in ("int8", "int4")}
        quality = {}
        for weights, target in files.items():
            edgeq.convert(
                case.model, target, data=folder / "calibration.npz", preprocess=case.preprocess,
                samples=SAMPLES, weights=weights, effort=effort,
            )  # fmt: skip
            quality[weights] = edgeq.compare(
                source, target, folder / "test.npz", preprocess=case.preprocess, latency=False
            ).quality
        timed = edgeq.bench([files["int4"], files["int8"]], threads=1)
        return Found(
            int4_share(files["int4"]),
            files["int4"].stat().st_size / files["int8"].stat().st_size,
            timed.speedups[0].value,
            quality["int8"],
            quality["int4"],
        )


def row(name: str, found: Found) -> str:
    """A row of the table."""
    int8, int4 = found.int8, found.int4
    return (
        f"| {name} ({int4.sample_count}) | {100 * found.share:.1f} | {100 * found.size:.1f} % "
        f"| {worst_sqnr_db(int8):.1f} / {worst_sqnr_db(int4):.1f} "
        f"| {int8.agreement_percent:.1f} / {int4.agreement_percent:.1f} "
        f"| {_drop(int8)} | {_drop(int4)} | {found.slowdown:.1f} |"
    )


def _drop(quality: Quality) -> str:
    drop = quality.drop_points
    return "" if drop is None else f"{drop.value:.2f} [{drop.low:.2f}, {drop.high:.2f}]"


def shortfalls(name: str, found: Found) -> Iterator[str]:
    """The goals that a labelled model misses."""
    drop = found.int4.drop_points
    if drop is None:
        return
    if found.share < _LEAST_SHARE:
        yield f"{name}: {100 * found.share:.1f} % of the weights"
    if drop.value > _MOST_DROP:
        yield f"{name}: drop {drop.value:.2f} points"
    if found.size > _MOST_SIZE:
        yield f"{name}: file of {100 * found.size:.1f} %"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=SHARED, metavar="DIR")
    parser.add_argument("--only", default="", help="models whose name contains this")
    parser.add_argument("--effort", default="balanced")
    given = parser.parse_args()
    print(processor())
    cases = [*shipped_cases(given.shared)]
    if given.shared.is_dir():
        cases += [*shared_cases(given.shared), *unlabelled_cases(given.shared)]
    print(HEAD)
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    short: list[str] = []
    for case in cases:
        known = case.name.removeprefix("shared ").partition(",")[0]
        if known in _CONVOLUTIONAL and given.only in case.name:
            found = measure(case, given.effort)
            print(row(case.name, found), flush=True)
            short += shortfalls(case.name, found)
    print("goals missed: " + ("; ".join(short) or "none"))


if __name__ == "__main__":
    main()
