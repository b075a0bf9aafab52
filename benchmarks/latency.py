"""edgeq's p50 against litert-benchmark's median: same model and number of runs, alternating.

    python benchmarks/latency.py MODEL.tflite... [--repetitions 10] [--runs N]

litert-benchmark is the console script of the ai-edge-litert wheel. It rounds its median to
0.01 ms, 5 % of a small model's, so it runs here with the function that gives the median wrapped
to show all digits; nothing else of it is changed. CPU, one thread. Each tool goes
first in every second repetition.
"""

from __future__ import annotations

import argparse
import operator
import platform
import re
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import edgeq
from edgeq.values import BenchRun, DeviceFacts

MEASURED_S = 1.0  # of inferences per measurement, when --runs is not given
WARMUP_S = 0.2
LIMIT_PERCENT = 3.0  # limit for edgeq's p50 above the other median, and for its variation

# Runs a Python script as itself, and prints each median it takes in full.
SHIM = """
import runpy, statistics, sys
taken = statistics.median
def median(values):
    value = taken(values)
    print("MEDIAN", repr(float(value)), flush=True)
    return value
statistics.median = median
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def theirs_ms(model: Path, runs: int, warmup: int) -> float:
    """The median of one run of litert-benchmark."""
    script = Path(sys.executable).with_name("litert-benchmark")
    command = [sys.executable, "-c", SHIM, str(script), "--model", str(model), "--use_cpu"]
    command += ["--num_threads", "1", "--num_runs", str(runs), "--warmup_runs", str(warmup)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    found = re.search(r"^MEDIAN (\S+)$", done.stdout, re.MULTILINE)
    if done.returncode != 0 or found is None:
        sys.exit(f"litert-benchmark failed:\n{done.stdout}\n{done.stderr}")
    return float(found[1])


def ours(model: Path, runs: int) -> tuple[BenchRun, DeviceFacts]:
    """One run of edgeq's benchmark."""
    result = edgeq.bench([model], threads=1, runs=runs, runtime="ai-edge-litert")
    return result.runs[0], result.facts


def choose_runs(model: Path) -> tuple[int, int, DeviceFacts]:
    """Runs and warm-up runs that take about MEASURED_S and WARMUP_S, from a short run."""
    run, facts = ours(model, 30)
    one_s = run.latency.p50_ms / 1000
    runs = min(max(round(MEASURED_S / one_s), 50), 20000)
    return runs, max(round(WARMUP_S / one_s), 5), facts


def spread_percent(values: list[float]) -> float:
    """From the least to the largest, relative to the median."""
    return 100 * (max(values) - min(values)) / statistics.median(values)


def variation_percent(values: list[float]) -> float:
    """Standard deviation, relative to the mean."""
    return 100 * statistics.stdev(values) / statistics.mean(values)


def measure(model: Path, repetitions: int, wanted: int | None) -> bool:
    """Print one model's repetitions and verdict; returns whether edgeq is within the limits."""
    runs, warmup, facts = choose_runs(model)
    runs = wanted or runs
    print(f"\n{model.name} on {facts.cpu_model}, {runs} runs")
    own, others = [], []
    for number in range(repetitions):
        if number % 2:
            run, theirs = ours(model, runs)[0], theirs_ms(model, runs, warmup)
        else:
            theirs, run = theirs_ms(model, runs, warmup), ours(model, runs)[0]
        p50 = run.latency.p50_ms
        own.append(p50)
        others.append(theirs)
        doubts = ", ".join(issue.code for issue in run.issues) or "no doubts"
        print(
            f"  {number + 1:2}: litert-benchmark {theirs:.4f} ms, edgeq {p50:.4f} ms, "
            f"{p50 / theirs:.3f}x ({doubts})",
            flush=True,
        )
    above = 100 * (statistics.median(map(operator.truediv, own, others)) - 1)
    varies = variation_percent(own)
    verdict = [
        f"{label} {value:{sign}.1f} % ({'within' if value <= LIMIT_PERCENT else 'NOT within'} "
        f"{LIMIT_PERCENT:g} %)"
        for label, value, sign in (
            ("edgeq's p50 against theirs, median:", above, "+"),
            ("standard deviation of edgeq's p50:", varies, ""),
        )
    ]
    print("  " + "; ".join(verdict))
    print(
        f"  standard deviation of litert-benchmark's median: {variation_percent(others):.1f} %; "
        f"least to largest: edgeq {spread_percent(own):.1f} %, "
        f"litert-benchmark {spread_percent(others):.1f} %"
    )
    return max(above, varies) <= LIMIT_PERCENT


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL.tflite")
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--runs", type=int, help="per measurement; by default for about 1 s")
    given = parser.parse_args()
    names = ("edgeq", "ai-edge-litert", "numpy")
    print(f"{platform.machine()}, " + ", ".join(f"{name} {version(name)}" for name in names))
    good = [measure(model, given.repetitions, given.runs) for model in given.models]
    print(f"\nwithin {LIMIT_PERCENT:g} % in both: {sum(good)} of {len(good)} models")


if __name__ == "__main__":
    main()
