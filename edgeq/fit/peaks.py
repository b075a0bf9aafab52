"""The memory that computed tensors take while each operator of a model runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from edgeq.tflite import flatbuffer
from edgeq.tflite.model_file import ModelFile
from edgeq.values import MemoryStep, OperatorReport

_ALIGNMENT = 16  # MicroArenaBufferAlignment() of tflite-micro


def list_steps(model: ModelFile, reports: Sequence[OperatorReport]) -> tuple[MemoryStep, ...]:
    """A step for each operator of the main graph.

    A tensor exists from the operator that computes it to the last one that reads it; inputs exist
    from the beginning, and outputs to the end, as the planner of tflite-micro takes them
    (tensorflow/lite/micro/docs/memory_management.md: Head Section). Scratch memory of kernels and
    persistent variables are not included.

    Args:
        model: the `.tflite`.
        reports: the operators of its certificate.
    """
    graph = model.tree.subgraphs[0]
    count = len(graph.operators)
    changes = [0] * (count + 2)  # a model without operators has inputs, too
    for at, (born, last) in _spans(model.tree, graph).items():
        size = _size(graph.tensors[at])
        changes[born] += size
        changes[last + 1] -= size
    return tuple(
        MemoryStep(report.index, report.name, report.output, alive)
        for report, alive in zip(reports[:count], accumulate(changes), strict=False)
    )


def _spans(tree: Any, graph: Any) -> dict[int, tuple[int, int]]:
    """Tensor to the first and the last operator that needs it."""
    inputs, outputs = (set(flatbuffer.indices(side)) for side in (graph.inputs, graph.outputs))
    end = len(graph.operators) - 1
    found = {at: (0, 0) for at in inputs if not flatbuffer.is_constant(tree, graph.tensors[at])}
    for place, operator in enumerate(graph.operators):
        for index in flatbuffer.indices(operator.outputs):
            if index >= 0:
                found[index] = (place, place)
        for index in flatbuffer.indices(operator.inputs):
            if index in found:
                found[index] = (found[index][0], place)
    for index in outputs & set(found):
        found[index] = (found[index][0], end)
    return found


def _size(tensor: Any) -> int:
    if tensor.isVariable:
        return 0
    bits = {"int4": 4, "uint4": 4}.get(flatbuffer.dtype(tensor))
    try:
        bits = bits or 8 * np.dtype(flatbuffer.dtype(tensor)).itemsize
    except TypeError:  # resource, variant and string tensors have no values in the arena
        return 0
    size = math.prod(max(side, 1) for side in flatbuffer.indices(tensor.shape)) * bits // 8
    return -(-size // _ALIGNMENT) * _ALIGNMENT
