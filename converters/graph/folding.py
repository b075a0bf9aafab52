"""Batch normalizations that should have become part of the layer before them.

`gamma / sqrt(variance + epsilon)` belongs into the filter of a convolution or dense layer, the rest
into its bias (B. Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018, section 3.2). TensorFlow's lowering does that; files
of other tools may keep a MUL and an ADD, which cost time and two roundings more.
"""

from __future__ import annotations

from typing import Any

from edgeq.converters.graph.weight_only import CHANNEL_AXIS
from edgeq.tflite import flatbuffer


def find_unfolded(content: bytes) -> tuple[str, ...]:
    """Layers whose result is scaled or shifted by constants that belong into their weights.

    Args:
        content: a float flatbuffer.

    Returns:
        Names of their outputs, in execution order; empty when everything is folded.
    """
    tree = flatbuffer.parse(content, "the float model")
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
            found.append(flatbuffer.text(graph.tensors[result].name))
    return tuple(found)


def _scales(tree: Any, graph: Any, operator: Any, result: int) -> bool:
    """Whether an operator multiplies or adds one constant for each channel, or one for all."""
    if flatbuffer.operator_name(tree, operator) not in ("MUL", "ADD", "SUB", "DIV"):
        return False
    channels = flatbuffer.indices(graph.tensors[result].shape)[-1]
    others = [index for index in flatbuffer.indices(operator.inputs) if index != result]
    return all(
        flatbuffer.is_constant(tree, graph.tensors[index])
        and flatbuffer.constant(tree, graph.tensors[index]).size in (1, channels)
        for index in others
    ) and bool(others)
