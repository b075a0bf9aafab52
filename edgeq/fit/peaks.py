"""The memory that computed tensors take while each operator of a model runs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from edgeq.tflite import flatbuffer
from edgeq.tflite.model_file import ModelFile
from edgeq.values import MemoryStep

_ALIGNMENT = 16  # MicroArenaBufferAlignment() of tflite-micro


def list_steps(model: ModelFile) -> tuple[MemoryStep, ...]:
    """A step for each operator of the main graph.

    A tensor exists from the operator that computes it to the last one that reads it; inputs exist
    from the beginning, and outputs to the end, as the planner of tflite-micro takes them
    (tensorflow/lite/micro/docs/memory_management.md: Head Section). Scratch memory of kernels and
    persistent variables are not included.
    """
    tree = model.tree
    graph = tree.subgraphs[0]
    spans = _spans(tree, graph)
    return tuple(
        MemoryStep(
            index,
            flatbuffer.operator_name(tree, operator),
            _first_output(graph, operator),
            sum(
                _size(graph.tensors[at])
                for at, (born, last) in spans.items()
                if born <= index <= last
            ),
        )
        for index, operator in enumerate(graph.operators)
    )


def _spans(tree: Any, graph: Any) -> dict[int, tuple[int, int]]:
    """Tensor to the first and the last operator that needs it."""
    found: dict[int, tuple[int, int]] = {}
    inputs, outputs = (set(flatbuffer.indices(side)) for side in (graph.inputs, graph.outputs))
    end = len(graph.operators) - 1
    for index in _computed(tree, graph, inputs):
        found[index] = (0, 0)
    for place, operator in enumerate(graph.operators):
        for index in flatbuffer.indices(operator.outputs):
            found[index] = (place, place)
        for index in flatbuffer.indices(operator.inputs):
            if index in found:
                found[index] = (found[index][0], place)
    for index in outputs & set(found):
        found[index] = (found[index][0], end)
    return found


def _computed(tree: Any, graph: Any, inputs: set[int]) -> Iterator[int]:
    yield from (at for at in inputs if not flatbuffer.is_constant(tree, graph.tensors[at]))


def _first_output(graph: Any, operator: Any) -> str:
    outputs = flatbuffer.indices(operator.outputs)
    return flatbuffer.tensor_name(graph, outputs[0]) if outputs else ""


def _size(tensor: Any) -> int:
    if tensor.isVariable:
        return 0
    shape = () if tensor.shape is None else tensor.shape
    bits = {"int4": 4, "uint4": 4}.get(flatbuffer.dtype(tensor))
    try:
        bits = bits or 8 * np.dtype(flatbuffer.dtype(tensor)).itemsize
    except TypeError:  # resource, variant and string tensors have no values in the arena
        return 0
    size = math.prod(max(int(side), 1) for side in shape) * bits // 8
    return -(-size // _ALIGNMENT) * _ALIGNMENT
