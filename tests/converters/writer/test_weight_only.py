from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeq.converters.graph import weight_only
from edgeq.converters.lowering.framework_process import TensorFlowProcess
from edgeq.converters.proof.certificate import certify
from edgeq.errors import QuantizationError
from edgeq.tflite import flatbuffer
from edgeq.tflite.compacting import compact
from edgeq.values import FloatModel


def run(content: bytes, inputs: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    outputs = []
    for sample in inputs:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], sample[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    return np.array(outputs)


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    from edgeq import models

    with np.load(models.path("fashion_mnist_calibration.npz")) as stored:
        return stored["x"][:20].astype(np.float32)


def test_dynamic_weights_are_int8_and_the_model_still_runs(
    float_cnn: FloatModel, tensorflow: TensorFlowProcess, tmp_path: Path, pictures: np.ndarray
) -> None:
    content = Path(float_cnn.file.path).read_bytes()
    (tmp_path / "a.tflite").write_bytes(weight_only.quantize_dynamic(content, per_channel=True))
    tensorflow.call("refresh_versions", path=str(tmp_path / "a.tflite"), out=tmp_path / "b.tflite")
    proof = certify(tmp_path / "b.tflite")
    assert {op.precision for op in proof.operators if op.weight_dtype == "int8"} == {"dynamic"}
    assert proof.unquantized_weights == ()
    assert proof.size_bytes < 0.3 * len(content)
    wanted, found = run(content, pictures), run((tmp_path / "b.tflite").read_bytes(), pictures)
    assert 0 < np.max(np.abs(wanted - found)) < 0.1


def test_per_channel_dense_weights_need_a_newer_runtime_than_per_tensor(
    float_cnn: FloatModel, tensorflow: TensorFlowProcess, tmp_path: Path
) -> None:
    content = Path(float_cnn.file.path).read_bytes()
    versions = {}
    for per_channel in (True, False):
        source, out = tmp_path / "a.tflite", tmp_path / "b.tflite"
        source.write_bytes(weight_only.quantize_dynamic(content, per_channel=per_channel))
        tensorflow.call("refresh_versions", path=str(source), out=out)
        versions[per_channel] = certify(out).min_runtime_version
    assert versions == {True: "2.17.0", False: "2.3.0"}


def test_fp16_halves_the_file_and_barely_moves_the_outputs(
    float_cnn: FloatModel, pictures: np.ndarray
) -> None:
    content = Path(float_cnn.file.path).read_bytes()
    tree = flatbuffer.parse(weight_only.quantize_fp16(content), "m")
    compact(tree)
    half = flatbuffer.serialize(tree)
    assert len(half) < 0.55 * len(content)
    wanted, found = run(content, pictures), run(half, pictures)
    assert 0 < np.max(np.abs(wanted - found)) < 0.01


def test_a_weight_beyond_fp16_is_an_error(float_cnn: FloatModel) -> None:
    tree = flatbuffer.read(Path(float_cnn.file.path))
    graph = tree.subgraphs[0]
    filters = next(op for op in graph.operators if flatbuffer.operator_name(tree, op) == "CONV_2D")
    tensor = graph.tensors[filters.inputs[1]]
    values = flatbuffer.constant(tree, tensor).copy()
    values.flat[0] = 1e6
    tree.buffers[tensor.buffer].data = np.frombuffer(values.tobytes(), np.uint8)
    with pytest.raises(QuantizationError) as caught:
        weight_only.quantize_fp16(flatbuffer.serialize(tree))
    assert str(caught.value) == (
        f"Weight {flatbuffer.text(tensor.name)!r} has the value 1e+06, above the maximum of "
        "FP16, 65504. "
        "Use --scheme fp32 or dynamic for this model."
    )
