"""Ranges that end where the operator behind can no longer tell values apart.

In 8 bits a sigmoid gives 1 for everything above 7, a tanh above 4; a softmax gives 0 to everything
that is 8 below the largest. Steps spent on such values are lost to those that count.

A RELU does not distinguish negative values, a HARD_SWISH those below -3, nor a MAXIMUM those below
its constant. LEAKY_RELU passes on what the operators behind it need.

The limits of a sum are limits for its operands: where one is so large that no value of the other
brings the sum back below 8, more of it makes no difference. The gates of recurrent layers are such
sums, and the ADD with a RELU behind a residual block.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.converters.calibration.masked_ranges import MASKED
from edgeq.converters.calibration.statistics import make_ranges
from edgeq.converters.graph.layers import clamp
from edgeq.tflite import flatbuffer
from edgeq.tflite.model_file import shared_tree
from edgeq.tflite.operators import facts, having
from edgeq.values import Ranges

Limit = tuple[float, float]

_LIMITS: dict[str, float] = facts("saturates")
(_SOFTMAX,) = having("rowwise")
_SOFTMAX_REACH = _LIMITS.pop(_SOFTMAX)
_PASSES, _SUMS = having("passes"), having("sum")
_CLAMPS = {"RELU": (0.0, np.inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}
_FIXED: dict[str, Limit] = {name: (-reach, reach) for name, reach in _LIMITS.items()}
_FIXED["HARD_SWISH"] = -3.0, np.inf  # it gives 0 to everything below

SATURATED = "-saturated"

_EVERYTHING: Limit = (-np.inf, np.inf)


def read_by_softmax(tree: Any) -> set[int]:
    """Tensors of the main subgraph that softmaxes read, and nothing else."""
    graph = tree.subgraphs[0]
    readers = _readers(tree, graph)
    return {index for index, names in readers.items() if {name for name, _ in names} == {_SOFTMAX}}


def needed(values: NDArray[np.float32]) -> Limit:
    """The range within which one sample's softmax does not change when its input is clipped.

    Args:
        values: [..., classes].
    """
    low, high = needed_rows(values)
    return float(low.min()), float(high.max())


def needed_rows(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The lower and upper limit of each row, [..., 1], see `needed`.

    In a row whose largest value is far above the second, the largest may come down to 8 above it.
    A row with masked values needs all of its other ones: below the range, they are masked, too.

    Args:
        values: [..., classes].
    """
    if values.shape[-1] < 2:
        return values, values
    ordered = np.partition(values, -2, axis=-1)
    largest, second = ordered[..., -1:], ordered[..., -2:-1]
    shown = values > largest - np.float32(MASKED)
    lowest = np.min(values, axis=-1, keepdims=True, initial=np.inf, where=shown)
    is_masked = ~shown.all(axis=-1, keepdims=True)
    top = np.minimum(largest, second + np.float32(_SOFTMAX_REACH))
    top = np.where(is_masked, largest, top)
    low = top - np.float32(_SOFTMAX_REACH)
    return np.where(is_masked, np.minimum(low, lowest), low), top


def limit_ranges(content: bytes, ranges: Ranges, seen: Mapping[int, Limit]) -> Ranges:
    """The ranges, cut where the operators behind saturate.

    Args:
        content: the float flatbuffer that was calibrated.
        seen: tensor index to the range that its softmax needs over all samples, see `needed`.
    """
    tree = shared_tree(content, "the float model")
    spans = {item.index: (item.minimum, item.maximum) for item in ranges.tensors}
    limits = find_limits(tree, seen, spans)
    tensors = []
    for item in ranges.tensors:
        low, high = limits.get(item.index, (-np.inf, np.inf))
        cut = replace(item, minimum=max(item.minimum, low), maximum=min(item.maximum, high))
        tensors.append(cut if cut.minimum < cut.maximum else item)
    if tuple(tensors) == ranges.tensors:
        return ranges
    return make_ranges(ranges.statistic + SATURATED, ranges.sample_count, tuple(tensors))


def find_limits(
    tree: Any, seen: Mapping[int, Limit], spans: Mapping[int, Limit] | None = None
) -> dict[int, Limit]:
    """Tensor index to the range that all of its readers can tell apart.

    Args:
        seen: tensor index to the range that its softmax needs, see `needed`.
        spans: tensor index to its lowest and highest value; without them, nothing is known of the
            operands of additions.
    """
    graph = tree.subgraphs[0]
    readers = _readers(tree, graph)
    found: dict[int, Limit] = {}

    def limit_of(name: str, reader: Any, index: int) -> Limit | None:
        """The range in which one reader of a tensor can tell values apart; None for everything."""
        if not name:
            return None  # the user of an output
        if name == _SOFTMAX:
            return seen.get(index)
        behind = _union([found.get(output) for output in flatbuffer.indices(reader.outputs)])
        if name in _SUMS:
            return _limit_of_operand(tree, reader, index, behind, spans or {})
        return behind if name in _PASSES else _limit_before(tree, name, reader, index, behind)

    for operator in reversed(graph.operators):  # readers come before what they read
        for index in flatbuffer.indices(operator.outputs):
            limit = _union([limit_of(name, reader, index) for name, reader in readers[index]])
            if limit is not None:
                found[index] = limit
    return found


def _union(parts: Sequence[Limit | None]) -> Limit | None:
    """The range that some readers need together; None for everything, or without readers."""
    known = [part for part in parts if part is not None]
    if not known or len(known) < len(parts):
        return None
    return min(low for low, _ in known), max(high for _, high in known)


def _limit_before(
    tree: Any, name: str, reader: Any, index: int, behind: Limit | None
) -> Limit | None:
    """The limit of what an operator reads from that of its result."""
    if name in _FIXED:
        return _FIXED[name]
    if name in _CLAMPS:
        return _within(_CLAMPS[name], behind)
    if name == "LEAKY_RELU":
        return None if behind is None else _before_leak(behind, reader.builtinOptions.alpha)
    if name not in ("MAXIMUM", "MINIMUM"):
        return None
    others = [item for item in flatbuffer.indices(reader.inputs) if item != index]
    if len(others) != 1 or not flatbuffer.is_constant(tree, tree.subgraphs[0].tensors[others[0]]):
        return None
    values = flatbuffer.constant(tree, tree.subgraphs[0].tensors[others[0]])
    own = (values.min(initial=np.inf), np.inf) if name == "MAXIMUM" else (
        -np.inf, values.max(initial=-np.inf)
    )  # fmt: skip
    return _within((float(own[0]), float(own[1])), behind)


def _before_leak(limit: Limit, alpha: float) -> Limit:
    """The limit of a LEAKY_RELU's input from that of its result."""
    if alpha <= 0:
        return _EVERYTHING
    low, high = (end / alpha if end < 0 else end for end in limit)
    return low, high


def _within(limit: Limit, inner: Limit | None) -> Limit | None:
    """The common part of two limits; None if that is everything."""
    inner = _EVERYTHING if inner is None else inner
    low, high = max(limit[0], inner[0]), min(limit[1], inner[1])
    if low >= high:
        low, high = limit
    return None if (low, high) == _EVERYTHING else (low, high)


def _limit_of_operand(
    tree: Any, reader: Any, index: int, behind: Limit | None, spans: Mapping[int, Limit]
) -> Limit | None:
    """The limit of an operand of a sum or difference that may have a fused activation."""
    limit = _within(clamp(reader), behind)
    others = [item for item in flatbuffer.indices(reader.inputs) if item != index]
    span = _span(tree, others[0], spans) if len(others) == 1 else None
    if limit is None or span is None:
        return None
    is_first = index == flatbuffer.indices(reader.inputs)[0]
    is_difference = flatbuffer.operator_name(tree, reader) == "SUB"
    return _limit_operand(limit, span, is_difference, is_first)


def _limit_operand(limit: Limit, span: Limit, is_difference: bool, is_first: bool) -> Limit:
    """The limit of an operand of a sum or difference from that of the result.

    Both operands may be cut by this at once: the upper cut of one needs ends whose sum is above the
    limit, the lower cut of the other needs the same sum to be below.

    Args:
        span: of the other operand.
    """
    low, high = limit
    if is_difference:
        span = -span[1], -span[0]
        if not is_first:
            low, high = -high, -low
    return low - span[1], high - span[0]


def _span(tree: Any, index: int, spans: Mapping[int, Limit]) -> Limit | None:
    """The lowest and highest value that a quantized tensor can have."""
    tensor = tree.subgraphs[0].tensors[index]
    if flatbuffer.is_constant(tree, tensor):
        values = flatbuffer.constant(tree, tensor)
        return float(values.min(initial=0)), float(values.max(initial=0))
    if index not in spans:
        return None
    low, high = spans[index]
    return min(low, 0.0), max(high, 0.0)


def _readers(tree: Any, graph: Any) -> defaultdict[int, list[tuple[str, Any]]]:
    """Tensor index to its readers; the user of a model's output counts as one, too."""
    found: defaultdict[int, list[tuple[str, Any]]] = defaultdict(list)
    for operator in graph.operators:
        for index in set(flatbuffer.indices(operator.inputs)):
            found[index].append((flatbuffer.operator_name(tree, operator), operator))
    for index in flatbuffer.indices(graph.outputs):
        found[index].append(("", None))
    return found
