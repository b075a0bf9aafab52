"""A float model with one tensor rounded to INT8: what that tensor's range alone costs."""

from __future__ import annotations

import numpy as np

from edgeq.converters.calibration.saturation import Limit
from edgeq.tflite import flatbuffer, quantmath
from edgeq.tflite.versions import version


def round_input(content: bytes, index: int, limit: Limit) -> bytes:
    """The model with QUANTIZE and DEQUANTIZE between a tensor and its readers.

    Args:
        content: a float flatbuffer.
        index: an input, or a computed tensor, of the main subgraph.
        limit: the range that the 255 steps cover, in real units.
    """
    tree = flatbuffer.parse(content, "the float model")
    graph = tree.subgraphs[0]
    first = len(graph.tensors)
    made_at = [n for n, op in enumerate(graph.operators) if index in flatbuffer.indices(op.outputs)]
    place = made_at[0] + 1 if made_at else 0
    for operator in graph.operators:
        read = flatbuffer.indices(operator.inputs)
        operator.inputs = np.array([first + 1 if i == index else i for i in read], np.int32)
    scale, zero_point = quantmath.range_to_scale(*limit)
    steps = []
    for name, source, after in (
        ("QUANTIZE", index, "int8"),
        ("DEQUANTIZE", first, "float32"),
    ):
        made = flatbuffer.add_tensor(
            graph, f"{name.lower()}_{index}", graph.tensors[index].shape, after
        )
        graph.tensors[made].shapeSignature = graph.tensors[index].shapeSignature
        number = version(name, "int8")
        steps.append(flatbuffer.make_operator(tree, name, [source], [made], version=number))
    graph.tensors[first].quantization = flatbuffer.schema().QuantizationParametersT()
    graph.tensors[first].quantization.scale = np.array([scale], np.float32)
    graph.tensors[first].quantization.zeroPoint = np.array([zero_point], np.int64)
    graph.operators = [*graph.operators[:place], *steps, *graph.operators[place:]]
    return flatbuffer.serialize(tree)
