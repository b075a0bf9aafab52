"""From the command to the first inference on a prepared board, and what a second run sends.

    python benchmarks/board.py DEVICE [MODEL]

DEVICE is any device of `edgeq bench --device`. The script sets it up first, which is not
counted. Each run is a separate process, as a user's command is. This is a measurement, not a gate.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import edgeq
import edgeq.models

RUNS = 7

# The first burst is the first inference; its event comes when it starts to warm up.
CODE = """
import sys, time
from pathlib import Path
from edgeq.device_runners.measuring import run_job
from edgeq.device_runners.devices.addresses import resolve_device
from edgeq.values import BenchOptions
device = resolve_device(sys.argv[1])
def show(event):
    if event.get("step") == "warm up":
        print("FIRST", time.time(), flush=True)
run_job.bench([Path(sys.argv[2])], device, BenchOptions(runs=30), on_event=show)
print("SENT", getattr(device, "sent_bytes", 0))
"""


def run(device: str, model: Path) -> tuple[float, int]:
    """Seconds from the start of the process to the end of the first inference, and bytes sent."""
    began = time.time()
    done = subprocess.run(
        [sys.executable, "-c", CODE, device, str(model)], check=True, capture_output=True, text=True
    )
    words = dict(line.split() for line in done.stdout.splitlines())
    return float(words["FIRST"]) - began, int(words["SENT"])


def main() -> None:
    """Print one line a run, then the median."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("device")
    parser.add_argument("model", nargs="?", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = given.model
        if model is None:
            model = Path(folder) / "mobilenet.tflite"
            edgeq.convert(
                edgeq.models.path("fmnist_mobilenet.keras"), model, effort="fast",
                data=edgeq.models.path("fashion_mnist_calibration.npz"),
                preprocess=["scale=1/255"],
            )  # fmt: skip
        print(f"{model.name}, {model.stat().st_size} bytes, on {given.device}")
        found = [run(given.device, model) for _ in range(RUNS + 1)]
    print(f"first run, may set up and upload: {found[0][0]:.2f} s, {found[0][1]} bytes sent")
    times = [seconds for seconds, _ in found[1:]]
    print(f"to the first inference: median {statistics.median(times):.2f} s of {RUNS} "
          f"({min(times):.2f} to {max(times):.2f}), {found[-1][1]} bytes sent")  # fmt: skip


if __name__ == "__main__":
    main()
