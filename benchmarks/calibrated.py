"""The float models that TensorFlow's quantizers read."""

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


def squeeze_by_reshape(content: bytes) -> bytes:
    """Replace each SQUEEZE of a float model by a RESHAPE, as MLIR does when it reads the model."""
    tree = flatbuffer.parse(content, "the float model")
    graph = tree.subgraphs[0]
    for place, operator in enumerate(graph.operators):
        if flatbuffer.operator_name(tree, operator) == "SQUEEZE":
            (source,), (result,) = map(flatbuffer.indices, (operator.inputs, operator.outputs))
            sizes = np.array(graph.tensors[result].shape, np.int32)
            shape = flatbuffer.add_constant(tree, graph, "shape", sizes)
            graph.operators[place] = flatbuffer.make_operator(
                tree, "RESHAPE", [source, shape], [result]
            )
    return flatbuffer.serialize(tree)
