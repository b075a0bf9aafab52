"""Runs the path of `edgeq convert` for a float `.tflite` in the process of the test."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from edgeq.children.framing import write_sample
from edgeq.conversion.adapting import adapt
from edgeq.converters.calibration import worker
from edgeq.converters.calibration.zero_ranges import estimate_ranges
from edgeq.converters.lowering.lower import adopt
from edgeq.converters.quantization.quantize import quantize
from edgeq.tflite import flatbuffer
from edgeq.values import ConvertOptions, Ranges, TensorRange
from edgeq.values.schemes import SCHEMES

Samples = list[list[NDArray[Any]]]


def convert(content: bytes, scheme: str, samples: Samples, folder: Path) -> bytes:
    """The quantized file, with float inputs and outputs and the extremes as ranges.

    Args:
        samples: arrays with the batch, in the order of the model's inputs.

    Raises:
        EdgeqError: as `edgeq convert` would.
    """
    source = folder / "model.tflite"
    source.write_bytes(content)
    options = ConvertOptions(scheme=scheme, io="float32")
    model = adapt(adopt(source, options), SCHEMES[scheme], options, folder)
    path = Path(model.file.path)
    ranges = find_ranges(path, samples) if SCHEMES[scheme].needs_data else None
    return quantize(path.read_bytes(), ranges, SCHEMES[scheme], "float32", "channel")


def find_ranges(path: Path, samples: Samples) -> Ranges:
    """The ranges that the process that runs the float model finds."""
    stream, result = io.BytesIO(), path.with_suffix(".npz")
    for arrays in samples:
        write_sample(stream, arrays)
    stream.seek(0)
    worker.run(path, result, stream, 0, 0, "extremes")
    with np.load(result) as found:
        low, high = found["halves"][:, 0].min(0), found["halves"][:, 1].max(0)
        tensors = tuple(
            TensorRange(int(index), str(name), float(a), float(b))
            for index, name, a, b in zip(found["indices"], found["names"], low, high, strict=True)
        )
    return estimate_ranges(path.read_bytes(), Ranges("edgeq", "minmax", 1, tensors, ""))[0]


def outputs(content: bytes, samples: Samples) -> list[NDArray[np.float64]]:
    """Every output over all samples, in a row each."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    inputs = [detail["index"] for detail in interpreter.get_input_details()]
    shapes: list[tuple[int, ...]] = []
    found = []
    for arrays in samples:
        worker.set_inputs(interpreter, inputs, arrays, shapes)
        interpreter.invoke()
        details = interpreter.get_output_details()
        found.append([interpreter.get_tensor(item["index"]).ravel() for item in details])
    return [np.concatenate(column).astype(np.float64) for column in zip(*found, strict=True)]


def sqnr(content: bytes, made: bytes, samples: Samples) -> list[float]:
    """The ratio of signal to error in dB of each output of two models."""
    pairs = zip(outputs(content, samples), outputs(made, samples), strict=True)
    found = []
    for ours, theirs in pairs:
        signal, error = float(np.sum(ours**2)), float(np.sum((ours - theirs) ** 2))
        found.append(np.inf if error == 0 else 10 * float(np.log10(max(signal, 1e-30) / error)))
    return found


def samples_of(content: bytes, count: int = 24) -> Samples:
    """Samples for a model: uniform in -1..1, every second with both ends of it alone."""
    random, inputs = (
        np.random.default_rng(1),
        flatbuffer.interface(flatbuffer.parse(content, "m"))[0],
    )
    found: Samples = []
    for number in range(count):
        found.append([])
        for spec in inputs:
            shape = [1 if n == 0 and size < 0 else 5 if size < 0 else size
                     for n, size in enumerate(spec.shape)]  # fmt: skip
            if spec.dtype.startswith("float"):
                values = random.uniform(-1, 1, shape)
                values = np.sign(values) if number % 2 else values
            else:
                values = random.integers(0, 2 if spec.dtype == "bool" else 9, shape)
            found[-1].append(values.astype(spec.dtype))
    return found
