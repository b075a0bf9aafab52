"""Ranges of masked scores, which end where a mask has hidden a value.

Masks of rewritten models add -1000 to scores before a softmax, or put it in their place (see
`edgeq.converters.rewrites.masks`). In a range that reaches down to that, the scores share a few
steps. A range that ends 8 below the lowest score hides values as well: their probability is below
exp(-8), a tenth of an INT8 step. INT16 needs twice that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from edgeq.converters.calibration.statistics import make_ranges
from edgeq.converters.rewrites.editor import Editor
from edgeq.converters.rewrites.masks import masked_scores
from edgeq.tflite import flatbuffer
from edgeq.tflite.operators import facts, having
from edgeq.values import Ranges

MASKED = 500.0  # scores of one row differ by less, and masks lie lower
REACH: float = facts("saturates")["SOFTMAX"]
_CHOICES = {"SELECT": 1, "SELECT_V2": 1, "MINIMUM": 0}  # and the first of their operands
_SUMS, _LAYOUT = having("sum"), having("layout") | having("passes")

Span = tuple[float, float]


def mild_mask(scores: Span, reach: float = REACH) -> float:
    """The mildest value that hides any score when it is added.

    Args:
        scores: the lowest and the highest score.
        reach: see `fit_masks`.
    """
    low, high = scores
    return low - high - reach


def fit_masks(content: bytes, ranges: Ranges, reach: float = REACH) -> Ranges:
    """The ranges, with those of masked scores and of masks cut to what hides a value.

    Only softmaxes read such scores; other tensors may have values below -500 that count.

    Args:
        content: the float flatbuffer that was calibrated.
        reach: how far below the lowest score a value is hidden: `REACH` for INT8.
    """
    if all(item.minimum > -MASKED for item in ranges.tensors):
        return ranges
    tree = flatbuffer.parse(content, "the float model")
    graph = tree.subgraphs[0]
    spans = {item.index: (item.minimum, item.maximum) for item in ranges.tensors}
    masked = masked_scores(Editor(tree))
    widths: dict[int, float] = {}  # of masks that are computed
    for operator in graph.operators:
        name = flatbuffer.operator_name(tree, operator)
        read, made = flatbuffer.indices(operator.inputs), flatbuffer.indices(operator.outputs)
        if not made or made[0] not in masked & spans.keys() or spans[made[0]][0] > -MASKED:
            continue
        if name in _LAYOUT and read[0] in spans:
            spans[made[0]] = spans[read[0]]
        elif name in _SUMS or name in _CHOICES:
            scores, masks = _sort(tree, spans, read[_CHOICES.get(name, 0) :])
            if len(scores) != 1:
                continue
            low, high = scores[0]
            spans[made[0]] = low - reach, high
            if name in _SUMS:
                for index in masks:
                    widths[index] = max(widths.get(index, 0.0), -mild_mask((low, high), reach))
    for operator in reversed(graph.operators):  # from a mask to what it is made from
        read, made = flatbuffer.indices(operator.inputs), flatbuffer.indices(operator.outputs)
        is_layout = flatbuffer.operator_name(tree, operator) in _LAYOUT
        if is_layout and made[0] in widths:
            widths[read[0]] = max(widths.get(read[0], 0.0), widths[made[0]])
    tensors = []
    for item in ranges.tensors:
        width = widths.get(item.index, float("inf"))
        low, high = spans[item.index]
        tensors.append(replace(item, minimum=max(low, -width), maximum=min(high, width)))
    if tuple(tensors) == ranges.tensors:
        return ranges
    return make_ranges(ranges.statistic, ranges.sample_count, tuple(tensors))


def _sort(
    tree: Any, spans: dict[int, Span], operands: Sequence[int]
) -> tuple[list[Span], list[int]]:
    """The ranges of the operands that are scores, and the indices of those that are masks."""
    scores, masks = [], []
    for index in operands:
        tensor = tree.subgraphs[0].tensors[index]
        if flatbuffer.is_constant(tree, tensor):
            values = flatbuffer.constant(tree, tensor)
            span = float(values.min(initial=0)), float(values.max(initial=0))
        elif index in spans:
            span = spans[index]
        else:
            return [], []
        if max(-span[0], span[1]) >= MASKED:
            masks.append(index)
        else:
            scores.append(span)
    return scores, masks
