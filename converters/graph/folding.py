"""Batch normalizations that should have become part of the layer before them.

`gamma / sqrt(variance + epsilon)` belongs into the filter of a convolution or dense layer, the rest
into its bias (B. Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018, section 3.2). TensorFlow's lowering does that; files
of other tools may keep a MUL and an ADD, which cost time and two more roundings.
"""

from __future__ import annotations

from typing import Any

from edgeq.tflite import flatbuffer
from edgeq.tflite.model_file import shared_tree
from edgeq.tflite.operators import CHANNEL_AXIS, having

_ARITHMETIC = having("arithmetic")


def find_unfolded(content: bytes) -> tuple[str, ...]:
    """Layers whose result is scaled or shifted by constants that belong into their weights.

    Args:
        content: a float flatbuffer.

    Returns:
        Names of their outputs, in execution order; empty when everything is folded.
    """
    tree = shared_tree(content, "the float model")
    graph = tree.subgraphs[0]
    readers: dict[int, list[Any]] = {}
    for operator in graph.operators:
        for index in flatbuffer.indices(operator.inputs):
            readers.setdefault(index, []).append(operator)
    found = []
    for operator in graph.operators:
        if flatbuffer.operator_name(tree, operator) not in CHANNEL_AXIS:
            continue
        result = flatbuffer.indices(operator.outputs)[0]
        behind = readers.get(result, [])
        is_bare = operator.builtinOptions.fusedActivationFunction == 0
        is_inner = result not in flatbuffer.indices(graph.outputs)
        if is_bare and is_inner and len(behind) == 1 and _scales(tree, graph, behind[0], result):
            found.append(flatbuffer.tensor_name(graph, result))
    return tuple(found)


def _scales(tree: Any, graph: Any, operator: Any, result: int) -> bool:
    """Whether an operator multiplies or adds one constant for each channel, or one for all."""
    if flatbuffer.operator_name(tree, operator) not in _ARITHMETIC:
        return False
    channels = flatbuffer.indices(graph.tensors[result].shape)[-1]
    others = [graph.tensors[i] for i in flatbuffer.indices(operator.inputs) if i != result]
    return bool(others) and all(
        flatbuffer.is_constant(tree, tensor)
        and flatbuffer.constant(tree, tensor).size in (1, channels)
        for tensor in others
    )
