"""The input of TensorFlow's quantizers: a float model whose tensors have `min` and `max`."""

from __future__ import annotations

import numpy as np

from edgeq.tflite import flatbuffer
from edgeq.values import Ranges


def write_ranges(content: bytes, ranges: Ranges) -> bytes:
    """A float flatbuffer with the `min` and `max` of each tensor.

    Args:
        content: the float flatbuffer.
        ranges: of its tensors, in real units.
    """
    kit, tree = flatbuffer.schema(), flatbuffer.parse(content, "the float model")
    tensors = tree.subgraphs[0].tensors
    for item in ranges.tensors:
        tensor = tensors[item.index]
        tensor.quantization = tensor.quantization or kit.QuantizationParametersT()
        tensor.quantization.min = np.array([item.minimum], np.float32)
        tensor.quantization.max = np.array([item.maximum], np.float32)
    return flatbuffer.serialize(tree)
