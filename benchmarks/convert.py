"""Conversion speed against other tools: same model, same samples, one run.

    python benchmarks/convert.py [--samples 200] [--repetitions 3] [--model MODEL.keras]
                                 [--litert-quantizer-python PATH]

Without --model it makes a Keras MobileNetV2 224 with random weights, normalized on pictures, so
that every layer varies. It prints alternating whole-process times, imports included: a plain
TFLiteConverter script and edgeq at each --effort from the Keras file; litert-quantizer's static
INT8 recipe, if PATH is given, and edgeq from the float .tflite. Then the time per calibration
sample, with and without histograms; the agreement of the INT8 outputs; and the memory of
calibrating 200 and 5,000 samples.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from cases import garments, tinted
from quality import LITERT

import edgeq
from edgeq.tflite import flatbuffer
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

_TESTED = 32  # pictures to measure on, as many as edgeq takes of the samples without others


def make_model(folder: Path) -> Path:
    """A Keras MobileNetV2 224 with random weights, normalized on pictures."""
    path = folder / "mobilenet_v2.keras"
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import families;"
        "families.build('MobileNetV2', 224, 1000).save(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True)
    return path


def make_samples(count: int, shape: tuple[int, ...], part: str = "calibration") -> np.ndarray:
    """Pictures, -1 to 1; noise for a model that takes no square colour pictures."""
    if len(shape) == 3 and shape[0] == shape[1] and shape[2] == 3:
        grey = garments(part)
        pictures = tinted(grey[np.arange(count) % len(grey)], shape[0])
        return pictures.astype(np.float32) / np.float32(127.5) - 1
    return np.random.default_rng(0).uniform(-1, 1, (count, *shape)).astype(np.float32)


def processor() -> str:
    """Name of this machine's processor, and whether it has VNNI."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    known = dict(line.split(":", 1) for line in lines if ":" in line)
    known = {key.strip(): value.strip() for key, value in known.items()}
    has_vnni = "vnni" in known.get("flags", "")
    return (
        f"{known.get('model name', 'unknown processor')}, {os.cpu_count()} cores, "
        f"{'VNNI' if has_vnni else 'no VNNI'}"
    )


def compile_edgeq() -> None:
    """Compile edgeq to bytecode, as its installation does: a checkout may have none."""
    for package in (edgeq, edgeq.converters, edgeq.device_runners, edgeq.models):
        for folder in package.__path__:
            compileall.compile_dir(Path(folder).resolve(), quiet=2)


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
    parser.add_argument("--litert-quantizer-python", type=Path, metavar="PATH")
    given = parser.parse_args()
    print(processor())
    compile_edgeq()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = given.model or make_model(folder)
        data = make_samples(given.samples, _input_shape(model))
        np.save(folder / "data.npy", data)
        if given.model is None:
            # With labels: random weights amplify every rounding, so that the SQNR is low, and
            # without labels edgeq would then try other options.
            with np.load(edgeq.models.path("fashion_mnist_test.npz")) as shipped:
                labels = shipped["y"][:_TESTED]
            pictures = make_samples(_TESTED, data.shape[1:], "test")
            np.savez(folder / "test.npz", x=pictures, y=labels)
        _measure(folder, model, data, given.repetitions, given.litert_quantizer_python)


def _input_shape(model: Path) -> tuple[int, ...]:
    code = "import keras, sys;print(list(keras.models.load_model(sys.argv[1]).inputs[0].shape[1:]))"
    return tuple(json.loads(timed([sys.executable, "-c", code, str(model)])[1].splitlines()[-1]))


def _alternate(
    name: str,
    other: Callable[[], float],
    ours: Callable[[str], float],
    efforts: Sequence[str],
    repetitions: int,
) -> None:
    """Time another tool and edgeq at some efforts, alternating, and print the ratios."""
    ratios: dict[str, list[float]] = {effort: [] for effort in reversed(efforts)}
    for number in range(repetitions):
        theirs = other()
        line = f"  {number + 1}: {name} {theirs:.1f} s"
        for effort, found in ratios.items():  # fast comes last: its file is compared below
            spent = ours(effort)
            found.append(theirs / spent)
            line += f", {effort} {spent:.1f} s ({found[-1]:.2f}x)"
        print(line, flush=True)
    for effort, found in ratios.items():
        print(f"whole process, --effort {effort}: {statistics.median(found):.2f}x faster than "
              f"{name} (median)")  # fmt: skip


def _measure(
    folder: Path, model: Path, data: np.ndarray, repetitions: int, litert: Path | None
) -> None:
    source, stock, own = folder / "data.npy", folder / "stock.tflite", folder / "edgeq.tflite"
    lowered, samples = folder / "float.tflite", len(data)
    edgeq_command = str(Path(sys.executable).with_name("edgeq"))
    timed([edgeq_command, "convert", str(model), "-o", str(lowered), "--scheme", "fp32"])
    common = ["-o", str(own), "--data", str(source), "--samples", str(samples)]
    if (folder / "test.npz").exists():
        common += ["--test-data", str(folder / "test.npz")]
    waits: list[float] = []

    def run_stock() -> float:
        arguments = [str(model), str(source), str(stock), str(samples)]
        spent, output = timed([sys.executable, "-c", STOCK, *arguments])
        waits.append(calibration_ms(output))
        return spent

    def run_edgeq(given: Path, effort: str) -> float:
        return timed([edgeq_command, "convert", str(given), *common, "--effort", effort])[0]

    if litert is not None:
        named = folder / "samples.npz"
        (spec,), _ = flatbuffer.interface(flatbuffer.read(lowered))
        np.savez(named, **{spec.name: data})
        other = [str(litert), "-c", LITERT, str(lowered), str(named), str(folder / "other.tflite")]
        print(f"float {model.stem}.tflite, {samples} samples, alternating whole processes")
        _alternate("litert-quantizer", lambda: timed(other)[0],
                   lambda effort: run_edgeq(lowered, effort), EFFORTS[:2], repetitions)  # fmt: skip
    print(f"{model.name}, {samples} samples, alternating whole processes")
    _alternate("stock", run_stock, lambda effort: run_edgeq(model, effort), EFFORTS, repetitions)
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
