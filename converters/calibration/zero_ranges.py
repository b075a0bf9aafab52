"""Ranges that calibration could not learn: tensors that stayed at zero over all samples.

A border pixel that is black in every sample gives the matrix product behind it the range 0..0.
Quantized with the smallest scale there is, its requantization multiplier overflows, and XNNPACK
refuses the whole model when it is loaded. Such a tensor gets the range its operands could produce.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from edgeq.tflite import flatbuffer
from edgeq.tflite.model_file import shared_tree
from edgeq.tflite.operators import CHANNEL_AXIS
from edgeq.values import Ranges, TensorRange

# XNNPACK needs input_scale * weight_scale / output_scale below 256; with 8-bit steps on all three
# that is a range of at least 1/32512 of peak input times peak weight. A factor 4 stays clear of it.
_NARROWEST = 1 / 8192
# Where operands cancel each other, kernels abort the process if a step of the result is less than
# 2**-19 of a step of an operand (2**-12 of its square); with the exponent of the operand.
_DIFFERENCES = {"ADD": 1, "SUB": 1, "SQUARED_DIFFERENCE": 2}


def estimate_ranges(content: bytes, ranges: Ranges) -> tuple[Ranges, tuple[str, ...]]:
    """The ranges with those that calibration could not learn estimated from their operands.

    Args:
        content: the float flatbuffer that was calibrated.

    Returns:
        The ranges, and the names of the tensors whose range is an estimate.
    """
    tree = shared_tree(content, "the float model")
    graph = tree.subgraphs[0]
    known = {item.index: item for item in ranges.tensors}
    estimated = []
    for operator in graph.operators:
        kind = flatbuffer.operator_name(tree, operator)
        reach = _reach(tree, graph, operator, known)
        for index in flatbuffer.indices(operator.outputs):
            if (item := known.get(index)) is None:
                continue
            peak, floor = _peak(item), 0.0  # the peak that it should have at least
            if peak == 0:
                floor = reach or 1.0
            elif kind in CHANNEL_AXIS or kind in _DIFFERENCES:
                floor = reach ** _DIFFERENCES.get(kind, 1) * _NARROWEST
            if peak < floor:
                low, high = min(item.minimum, -floor), max(item.maximum, floor)
                known[index] = replace(item, minimum=low, maximum=high)
                estimated.append(item.name)
    tensors = tuple(known[item.index] for item in ranges.tensors)
    return replace(ranges, tensors=tensors), tuple(estimated)


def _peak(item: TensorRange) -> float:
    return max(abs(item.minimum), abs(item.maximum))


def _reach(tree: Any, graph: Any, operator: Any, known: dict[int, TensorRange]) -> float:
    """A peak that the operator's outputs could plausibly have.

    For a product with weights, peak input times the largest row norm: the typical size of a sum
    of independent terms. Otherwise the largest operand.
    """
    inputs = [index for index in flatbuffer.indices(operator.inputs) if index >= 0]
    peak = max((_peak(known[index]) for index in inputs if index in known), default=0.0)
    axis = CHANNEL_AXIS.get(flatbuffer.operator_name(tree, operator))
    if axis is None or len(inputs) < 2:
        return peak
    filter_ = graph.tensors[inputs[1]]
    is_stored = flatbuffer.is_constant(tree, filter_)
    if not is_stored or flatbuffer.dtype(filter_) != "float32":
        return peak
    rows = np.moveaxis(flatbuffer.constant(tree, filter_).astype(np.float64), axis, 0)
    norms = np.sqrt(np.sum(rows.reshape(len(rows), -1) ** 2, axis=1))
    return peak * float(norms.max(initial=0.0))
