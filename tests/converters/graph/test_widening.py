from __future__ import annotations

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from edgeq.converters.graph import dequantized, layout, widening
from edgeq.tflite import flatbuffer, quantmath
from tests import tiny_models
from tests.tiny_models import Operator, schema

INTEGERS = (np.arange(2 * 64).reshape(2, 64) * 37 % 200 - 100).astype(np.int8)
SCALES = np.array([[0.5, 0.125], [1.0, 0.25]], np.float16)


def blocked() -> bytes:
    """A dense layer of 2 channels whose 64 inputs have a scale per 32, as litert-quantizer stores
    them: `BlockwiseQuantization` details that name a tensor of scales."""
    tensors = [
        tiny_models.tensor("x", [1, 64]),
        tiny_models.tensor("w", [2, 64], tiny_models.INT8, buffer=1),
        tiny_models.tensor("scales", [2, 2], schema.TensorType.FLOAT16, buffer=2),
        tiny_models.tensor("wide", [2, 64]),
        tiny_models.tensor("y", [1, 2]),
    ]
    details = schema.BlockwiseQuantizationT()
    details.scales, details.blockSize, details.zeroPoints = 2, 32, -1
    quantization = schema.QuantizationParametersT()
    quantization.detailsType = schema.QuantizationDetails.BlockwiseQuantization
    quantization.details = details
    tensors[1].quantization = quantization
    operators = [
        tiny_models.operator(0, [1], [3]),
        tiny_models.operator(1, [0, 3, -1], [4], schema.FullyConnectedOptionsT()),
    ]
    graph = tiny_models.graph(tensors, [0], [4], operators)
    codes = [(Operator.DEQUANTIZE, 1), (Operator.FULLY_CONNECTED, 1)]
    return tiny_models.model([graph], codes, [INTEGERS, SCALES])


def run(content: bytes, x: np.ndarray) -> np.ndarray:
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def test_blocks_as_rows_compute_what_their_scales_say() -> None:
    x = np.linspace(-1, 1, 64, dtype=np.float32)[np.newaxis]
    weights = INTEGERS.astype(np.float32) * np.repeat(SCALES.astype(np.float32), 32, axis=1)
    made = widening.prepare(blocked())
    np.testing.assert_allclose(run(made, x), x @ weights.T, rtol=1e-5, atol=1e-4)
    for content in (blocked(), made):
        np.testing.assert_allclose(
            run(dequantized.float_twin(content), x), x @ weights.T, rtol=1e-5, atol=1e-4
        )


def test_blocks_are_read_back_in_both_forms() -> None:
    for content in (blocked(), widening.prepare(blocked())):
        tree = flatbuffer.parse(content, "it")
        graph = tree.subgraphs[0]
        found = layout.stored_weights(tree, graph, graph.operators[-1], "FULLY_CONNECTED")
        assert found is not None
        assert (found.granularity, found.shape, found.is_widened) == ("block:32", (2, 64), True)


def test_the_oldest_runtime_is_raised() -> None:
    tree = flatbuffer.parse(widening.prepare(blocked()), "it")
    assert flatbuffer.min_runtime_version(tree) == "2.7.0"
    versions = {
        flatbuffer.operator_name(tree, op): tree.operatorCodes[op.opcodeIndex].version
        for op in tree.subgraphs[0].operators
    }
    assert versions["DEQUANTIZE"] == 5


def test_int4_is_unpacked_low_half_first() -> None:
    packed = np.array([0x21, 0xF8], np.uint8)
    assert quantmath.unpack_int4(packed).tolist() == [1, 2, -8, -1]
