"""A second set of ranges to choose from: operands of in-place operators on their result's range.

Stock calibration reads an operand after an element-wise operator has overwritten it in place, so
the operand gets the union of its own range and the result's. As a range that is wrong, and on
residual networks it costs resolution. But operand and result then have nearly the same scale, the
requantization between them vanishes, and where its rounding error would pile up, over the steps of
a GRU, the union is better. So both are tried, and the outputs decide.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from edgeq import flatbuffer
from edgeq.values import Ranges

_ELEMENTWISE = frozenset({"ADD", "SUB", "MUL"})

SHARED = "minmax-shared"


def share_ranges(content: bytes, ranges: Ranges) -> Ranges | None:
    """The ranges with each overwritten operand widened by its result's range.

    An operand is overwritten when an element-wise operator is the only one that reads it, and it
    has the result's shape; of two such operands, the first.

    Args:
        content: the float flatbuffer that was calibrated.

    Returns:
        None when no range changes.
    """
    tree = flatbuffer.parse(content, "the float model")
    graph = tree.subgraphs[0]
    readers = Counter(i for op in graph.operators for i in flatbuffer.indices(op.inputs))
    readers.update(flatbuffer.indices(graph.outputs))
    readers.update(flatbuffer.indices(graph.inputs))  # an input's memory is never reused
    known = {item.index: item for item in ranges.tensors}
    widened = dict(known)
    for operator in graph.operators:
        operand = _overwritten(tree, graph, operator, readers)
        result = flatbuffer.indices(operator.outputs)[0]
        if operand in known and result in known:
            low = min(known[operand].minimum, known[result].minimum)
            high = max(known[operand].maximum, known[result].maximum)
            widened[operand] = replace(known[operand], minimum=low, maximum=high)
    if widened == known:
        return None
    tensors = tuple(widened[item.index] for item in ranges.tensors)
    return replace(ranges, statistic=SHARED, tensors=tensors)


def _overwritten(tree: Any, graph: Any, operator: Any, readers: Counter[int]) -> int:
    """The operand whose memory the result takes, -1 for none."""
    if flatbuffer.operator_name(tree, operator) not in _ELEMENTWISE:
        return -1
    shape = flatbuffer.indices(graph.tensors[flatbuffer.indices(operator.outputs)[0]].shape)
    for index in flatbuffer.indices(operator.inputs):
        tensor = graph.tensors[index]
        same_shape = flatbuffer.indices(tensor.shape) == shape
        if same_shape and readers[index] == 1 and not flatbuffer.is_constant(tree, tensor):
            return index
    return -1
