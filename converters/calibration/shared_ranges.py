"""A second set of ranges to choose from: additions whose operands and result have one scale.

An INT8 addition first brings its operands to a common scale, and its sum to the result's; each of
these roundings is noise. With one scale for all three the sum is exact. That costs resolution where
the ranges differ much, and is worth it where they differ little, above all in recurrent layers,
where the noise would add up over the steps. (Stock calibration does half of it by accident: it
reads an operand after the addition has overwritten it in place, and so gives it the union of both.)
"""

from __future__ import annotations

from dataclasses import replace

from edgeq.converters.calibration.statistics import make_ranges
from edgeq.tflite import flatbuffer
from edgeq.tflite.model_file import shared_tree
from edgeq.tflite.operators import having
from edgeq.values import Ranges, TensorRange

_SUMS = having("sum")
_WIDEST = 1.5  # times its own range that a tensor is widened
_PASSES = 3  # a range widened for one addition may now fit its neighbour's

SHARED = "-shared"


def share_ranges(content: bytes, ranges: Ranges) -> Ranges | None:
    """The ranges with one range for operands and result of additions where they differ little.

    Args:
        content: the float flatbuffer that was calibrated.

    Returns:
        None when no range changes.
    """
    tree = shared_tree(content, "the float model")
    known = {item.index: item for item in ranges.tensors}
    for _ in range(_PASSES):
        for operator in tree.subgraphs[0].operators:
            if flatbuffer.operator_name(tree, operator) in _SUMS:
                read, made = map(flatbuffer.indices, (operator.inputs, operator.outputs))
                _unite(known, [index for index in (*read, *made) if index in known])
    tensors = tuple(known[item.index] for item in ranges.tensors)
    if tensors == ranges.tensors:
        return None
    return make_ranges(ranges.statistic + SHARED, ranges.sample_count, tensors)


def _unite(known: dict[int, TensorRange], indices: list[int]) -> None:
    """Give all of them the union of their ranges, unless that is too wide for one of them."""
    if len(indices) < 2:
        return  # of integers, or of one tensor and a constant
    spans = [(min(known[index].minimum, 0.0), max(known[index].maximum, 0.0)) for index in indices]
    low, high = min(span[0] for span in spans), max(span[1] for span in spans)
    narrowest = min(span[1] - span[0] for span in spans)
    if high - low <= _WIDEST * narrowest:
        for index in indices:
            known[index] = replace(known[index], minimum=low, maximum=high)
