"""A float model with one input rounded to INT8: what that input's range alone costs."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeq.converters.calibration.saturation import Limit
from edgeq.tflite import flatbuffer, quantmath


def round_input(content: bytes, index: int, limit: Limit) -> bytes:
    """The model with QUANTIZE and DEQUANTIZE between an input and all that read it.

    Args:
        content: a float flatbuffer.
        index: the input's tensor in the main subgraph.
        limit: the range that the 255 steps cover, in real units.
    """
    tree = flatbuffer.parse(content, "the float model")
    graph, kit = tree.subgraphs[0], flatbuffer.schema()
    for operator in graph.operators:
        operator.inputs = np.array(
            [len(graph.tensors) + 1 if item == index else item
             for item in flatbuffer.indices(operator.inputs)],
            np.int32,
        )  # fmt: skip
    scale, zero_point = quantmath.range_to_scale(*limit)
    steps: list[Any] = []
    for name, dtype, version in (("QUANTIZE", "int8", 1), ("DEQUANTIZE", "float32", 2)):
        tensor = kit.TensorT()
        tensor.name = f"{name.lower()}_{index}".encode()
        tensor.type = flatbuffer.dtype_code(dtype)
        tensor.shape = graph.tensors[index].shape
        tensor.shapeSignature = graph.tensors[index].shapeSignature
        if dtype == "int8":
            tensor.quantization = kit.QuantizationParametersT()
            tensor.quantization.scale = np.array([scale], np.float32)
            tensor.quantization.zeroPoint = np.array([zero_point], np.int64)
        operator = kit.OperatorT()
        operator.opcodeIndex = flatbuffer.add_opcode(tree, name, version)
        source = len(graph.tensors) - 1 if steps else index
        operator.inputs = np.array([source], np.int32)
        operator.outputs = np.array([len(graph.tensors)], np.int32)
        graph.tensors.append(tensor)
        steps.append(operator)
    graph.operators = [*steps, *graph.operators]
    return flatbuffer.serialize(tree)
