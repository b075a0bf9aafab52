"""Conversion speed against a plain TFLiteConverter script: same model, same samples, one run.

    python benchmarks/convert.py [--samples 200] [--repetitions 3] [--model MODEL.keras]

Without --model it makes a Keras MobileNetV2 224 with random weights (speed does not depend on
them). It prints alternating whole-process times, imports included, at each --effort; the time per
calibration sample of both, with and without histograms; the agreement of the INT8 outputs; and the
memory of calibrating 200 and 5,000 samples.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgeq.values import EFFORTS

# The script that a user would write instead, according to the TensorFlow Lite guide.
STOCK = """
import sys, time
import numpy as np
import tensorflow as tf
model = tf.keras.models.load_model(sys.argv[1])
data = np.load(sys.argv[2])
count = int(sys.argv[4])
spent = [0.0]
def samples():
    for x in data[:count]:
        began = time.perf_counter()
        yield [x[None].astype(np.float32)]
        spent[0] += time.perf_counter() - began
converter = tf.lite.TFLiteConverter.from_keras_model(model)
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.representative_dataset = samples
converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
converter.inference_input_type = tf.int8
converter.inference_output_type = tf.int8
open(sys.argv[3], "wb").write(converter.convert())
print("CALIBRATION", spent[0] / count)
"""

# The same for edgeq: only the pass over the samples, child process included.
OWN_CALIBRATION = """
import sys, tempfile, time
from pathlib import Path
import numpy as np
from edgeq.converters.calibration import calibrate
from edgeq.converters.lowering import lower
from edgeq.values import ConvertOptions
model = lower.adopt(Path(sys.argv[1]), ConvertOptions())
data = np.load(sys.argv[2], mmap_mode="r")
count = int(sys.argv[3])
name = model.inputs[0].name
samples = ({name: np.asarray(data[i % len(data)], np.float32)} for i in range(count))
with tempfile.TemporaryDirectory() as folder, calibrate.FloatRunner(Path(folder)) as runner:
    time.sleep(1)  # its imports: in a conversion they are over long before there is a model
    began = time.perf_counter()
    runner.run(model, samples, 8, sys.argv[4])
    print("CALIBRATION", (time.perf_counter() - began) / count)
"""


def make_model(folder: Path) -> Path:
    """A Keras MobileNetV2 224 with random weights."""
    path = folder / "mobilenet_v2.keras"
    code = (
        "import keras, sys; keras.utils.set_random_seed(0);"
        "keras.applications.MobileNetV2(weights=None).save(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True)
    return path


def timed(command: Sequence[str]) -> tuple[float, str]:
    """Wall seconds of a whole process, and its stdout."""
    began = time.perf_counter()
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    spent = time.perf_counter() - began
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed:\n{done.stdout}\n{done.stderr}")
    return spent, done.stdout


def calibration_ms(output: str) -> float:
    """Read the figure that a script printed after CALIBRATION, in ms per sample."""
    line = next(line for line in output.splitlines() if line.startswith("CALIBRATION"))
    return 1000 * float(line.split()[1])


def compare_outputs(first: Path, second: Path, data: np.ndarray) -> tuple[float, int]:
    """Share of equal INT8 output values, and the largest difference in steps."""
    from ai_edge_litert.interpreter import Interpreter

    outputs = []
    for path in (first, second):
        interpreter = Interpreter(str(path))
        interpreter.allocate_tensors()
        given = interpreter.get_input_details()[0]
        scale, zero_point = given["quantization"]
        values = []
        for x in data:
            steps = np.clip(np.round(x / scale) + zero_point, -128, 127).astype(np.int8)
            interpreter.set_tensor(given["index"], steps[None])
            interpreter.invoke()
            values.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
        outputs.append(np.array(values).astype(int))
    difference = np.abs(outputs[0] - outputs[1])
    return 100 * float((difference == 0).mean()), int(difference.max())


def peak_memory(command: Sequence[str]) -> int:
    """Largest resident size of a command's processes, in bytes."""
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True,"
        " stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL);"
        " print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command], check=True, capture_output=True, text=True
    )
    return int(done.stdout) * 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--model", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = given.model or make_model(folder)
        shape = _input_shape(model)
        data = np.random.default_rng(0).uniform(-1, 1, (given.samples, *shape)).astype(np.float32)
        np.save(folder / "data.npy", data)
        _measure(folder, model, data, given.samples, given.repetitions)


def _input_shape(model: Path) -> tuple[int, ...]:
    code = "import keras, sys;print(list(keras.models.load_model(sys.argv[1]).inputs[0].shape[1:]))"
    return tuple(json.loads(timed([sys.executable, "-c", code, str(model)])[1].splitlines()[-1]))


def _measure(folder: Path, model: Path, data: np.ndarray, samples: int, repetitions: int) -> None:
    source, stock, own = folder / "data.npy", folder / "stock.tflite", folder / "edgeq.tflite"
    edgeq = str(Path(sys.executable).with_name("edgeq"))
    common = ["--data", str(source), "--samples", str(samples)]
    ratios: dict[str, list[float]] = {effort: [] for effort in reversed(EFFORTS)}
    waits = []
    print(f"{model.name}, {samples} samples, alternating whole processes")
    for number in range(repetitions):
        theirs, output = timed(
            [sys.executable, "-c", STOCK, str(model), str(source), str(stock), str(samples)]
        )
        waits.append(calibration_ms(output))
        line = f"  {number + 1}: stock {theirs:.1f} s"
        for effort, found in ratios.items():  # fast comes last: its file is compared below
            chosen = [*common, "--effort", effort]
            ours, _ = timed([edgeq, "convert", str(model), "-o", str(own), *chosen])
            found.append(theirs / ours)
            line += f", {effort} {ours:.1f} s ({found[-1]:.2f}x)"
        print(line, flush=True)
    for effort, found in ratios.items():
        print(f"whole process, --effort {effort}: {statistics.median(found):.2f}x faster (median)")
    lowered = folder / "float.tflite"
    timed([edgeq, "convert", str(model), "-o", str(lowered), "--scheme", "fp32"])
    run = [sys.executable, "-c", OWN_CALIBRATION, str(lowered), str(source)]
    for observe in ("extremes", "all"):
        each = [calibration_ms(timed([*run, str(samples), observe])[1]) for _ in range(repetitions)]
        theirs, ours = statistics.median(waits), statistics.median(each)
        print(f"calibration per sample ({observe}): stock {theirs:.1f} ms, edgeq {ours:.1f} ms, "
              f"{theirs / ours:.1f}x faster")  # fmt: skip
    equal, largest = compare_outputs(stock, own, data[:16])
    print(f"INT8 outputs: {equal:.2f} % equal to stock, largest difference {largest}")
    sizes = []
    for count in (200, 5000):
        sizes.append(peak_memory([*run, str(count), "all"]))
        print(f"peak memory calibrating {count} samples: {sizes[-1] / 1e6:.0f} MB")
    print(f"5,000 samples against 200: {sizes[1] / sizes[0]:.3f}x the memory")


if __name__ == "__main__":
    main()
