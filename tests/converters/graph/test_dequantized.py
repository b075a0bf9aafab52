from __future__ import annotations

import numpy as np

from edgeq.converters.graph import dequantized, layout
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


def test_blocks_of_other_tools_are_read_by_their_details() -> None:
    tree = flatbuffer.parse(blocked(), "it")
    graph = tree.subgraphs[0]
    found = layout.stored_weights(tree, graph, graph.operators[-1], "FULLY_CONNECTED")
    assert found is not None
    assert (found.granularity, found.shape, found.is_widened) == ("block:32", (2, 64), True)
    twin = flatbuffer.parse(dequantized.float_twin(blocked()), "it")
    wide = flatbuffer.constant(twin, twin.subgraphs[0].tensors[3])
    np.testing.assert_array_equal(
        wide, INTEGERS.astype(np.float32) * np.repeat(SCALES.astype(np.float32), 32, axis=1)
    )


def test_int4_is_unpacked_low_half_first() -> None:
    packed = np.array([0x21, 0xF8], np.uint8)
    assert quantmath.unpack_int4(packed).tolist() == [1, 2, -8, -1]
