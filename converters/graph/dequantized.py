"""The reference for a weight-only file: the same model with its weights widened by numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.converters.graph.layout import block_details
from edgeq.tflite import flatbuffer


def float_twin(content: bytes) -> bytes:
    """A flatbuffer whose integer constants behind a DEQUANTIZE are stored as float32.

    It reads the integers and scales by the TensorFlow Lite schema, without any kernel, and so shows
    whether a runtime computes something different.
    """
    tree = flatbuffer.parse(content, "the quantized model")
    for graph in tree.subgraphs:
        kept = []
        for operator in graph.operators:
            source = next((graph.tensors[i] for i in flatbuffer.indices(operator.inputs)), None)
            is_widening = flatbuffer.operator_name(tree, operator) == "DEQUANTIZE"
            if source is None or not is_widening or not flatbuffer.is_constant(tree, source):
                kept.append(operator)
                continue
            values = dequantize_constant(tree, graph, source)
            result = graph.tensors[flatbuffer.indices(operator.outputs)[0]]
            result.buffer = flatbuffer.add_buffer(tree, values)
        graph.operators = kept
    return flatbuffer.serialize(tree)


def dequantize_constant(tree: Any, graph: Any, tensor: Any) -> NDArray[np.float32]:
    """The real values of a constant: per tensor, per channel, or in blocks of its last axis."""
    values = flatbuffer.constant(tree, tensor).astype(np.float32)
    details = block_details(tensor)
    if details is not None:
        scales = flatbuffer.constant(tree, graph.tensors[details.scales]).astype(np.float32)
        return values * np.repeat(scales.reshape(*values.shape[:-1], -1), details.blockSize, -1)
    parameters = tensor.quantization
    if parameters is None or parameters.scale is None:
        return values  # FP16
    shape = [1] * values.ndim
    shape[parameters.quantizedDimension] = len(parameters.scale)
    scales = np.asarray(parameters.scale, np.float32).reshape(shape)
    zeros = np.asarray(parameters.zeroPoint, np.float32).reshape(shape)
    return np.asarray((values - zeros) * scales, np.float32)
