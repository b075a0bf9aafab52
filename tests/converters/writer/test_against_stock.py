"""The writer's files beside those of TensorFlow's own quantizers, made with the same ranges."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.calibrated import write_ranges
from edgeq import models
from edgeq.converters.calibration import calibrate
from edgeq.converters.calibration.statistics import choose_ranges
from edgeq.converters.lowering.framework_process import TensorFlowProcess
from edgeq.converters.writer.write import Target, Writer
from edgeq.tflite import flatbuffer
from edgeq.values import FloatModel, Ranges, TensorRange

PIXELS = np.load(models.path("fashion_mnist_calibration.npz"))["x"][:40].astype(np.float32)
Made = tuple[bytes, Ranges]


def calibrated(model: FloatModel, divisor: float, folder: Path) -> Made:
    fed: Iterator[dict[str, np.ndarray]] = ({"image": image / divisor} for image in PIXELS)
    run = calibrate.run_float_model(model, fed, folder, 1)
    return Path(model.file.path).read_bytes(), choose_ranges(run.statistics, "minmax")


@pytest.fixture(scope="module")
def sources(
    float_cnn: FloatModel, float_mobilenet: FloatModel, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Made]:
    folder = tmp_path_factory.mktemp("ranges")
    return {
        "cnn": calibrated(float_cnn, 1, folder),
        "mobilenet": calibrated(float_mobilenet, 255, folder),
    }


@pytest.fixture
def stock(tensorflow: TensorFlowProcess, tmp_path: Path) -> Callable[..., bytes]:
    def make(source: Made, activations: str, io: str, per_channel: bool) -> bytes:
        path, out = tmp_path / "calibrated.tflite", tmp_path / "stock.tflite"
        path.write_bytes(write_ranges(*source))
        tensorflow.call(
            "quantize", path=str(path), out=out, activations=activations, io=io,
            per_channel=per_channel,
        )  # fmt: skip
        return out.read_bytes()

    return make


def test_the_stock_quantizer_is_given_minimum_and_maximum(float_cnn: FloatModel) -> None:
    ranges = Ranges("edgeq", "minmax", 1, (TensorRange(0, "x", -1.5, 2.5),), "")
    content = write_ranges(Path(float_cnn.file.path).read_bytes(), ranges)
    stored = flatbuffer.parse(content, "m").subgraphs[0].tensors[0].quantization
    assert (list(stored.min), list(stored.max)) == ([-1.5], [2.5])


def parts(content: bytes) -> Iterator[tuple[Any, ...]]:
    """Everything that a file computes with: operators, and their tensors in order."""
    tree = flatbuffer.parse(content, "it")
    graph = tree.subgraphs[0]
    for operator in graph.operators:
        options = {} if operator.builtinOptions is None else dict(vars(operator.builtinOptions))
        options.pop("quantizedBiasType", None)  # says again what the bias tensor says
        yield flatbuffer.operator_name(tree, operator), options
        for index in (*flatbuffer.indices(operator.inputs), *flatbuffer.indices(operator.outputs)):
            tensor = graph.tensors[index]
            spec = flatbuffer.tensor_spec(tensor, "")
            stored = flatbuffer.is_constant(tree, tensor)
            values = flatbuffer.constant(tree, tensor).tolist() if stored else None
            axis = tensor.quantization.quantizedDimension if len(spec.scales) > 1 else 0
            yield spec.dtype, spec.shape, spec.scales, spec.zero_points, axis, values


@pytest.mark.parametrize(
    ("name", "activations", "io", "per_channel"),
    [
        ("cnn", "int8", "int8", True),
        ("mobilenet", "int8", "uint8", True),
        ("mobilenet", "int8", "float32", False),
        ("mobilenet", "int16", "int16", True),
    ],
)
def test_every_integer_and_scale_is_the_same(
    name: str, activations: str, io: str, per_channel: bool, sources: dict[str, Made],
    stock: Callable[..., bytes],
) -> None:  # fmt: skip
    content, ranges = sources[name]
    ours = Writer(content, Target(activations, io, per_channel)).write(ranges)
    theirs = stock(sources[name], activations, io, per_channel)
    assert list(parts(ours)) == list(parts(theirs))
    if activations == "int8":  # for 16x8 they leave INT8's versions in the file
        trees = [flatbuffer.parse(content, "it") for content in (ours, theirs)]
        versions = [
            [tree.operatorCodes[op.opcodeIndex].version for op in tree.subgraphs[0].operators]
            for tree in trees
        ]
        assert versions[0] == versions[1]
        assert len({flatbuffer.min_runtime_version(tree) for tree in trees}) == 1


def test_a_writer_writes_the_same_bytes_again_and_leaves_the_source_alone(
    sources: dict[str, Made],
) -> None:
    content, ranges = sources["cnn"]
    writer = Writer(content, Target("int8", "int8"))
    assert writer.write(ranges) == writer.write(ranges)
    assert writer.write(ranges) == Writer(content, Target("int8", "int8")).write(ranges)
