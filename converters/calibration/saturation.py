"""Ranges that end where the operator behind can no longer tell values apart.

A sigmoid gives 1 for everything above 7 as far as 8 bits can show, a tanh above 4; a softmax gives
0 to whatever lies 8 below the largest. Steps spent on such values are lost to those that count.

What holds for a sum holds for its operands: where one is so large that no value of the other brings
the sum back below 8, more of it makes no difference. The gates of recurrent layers are such sums.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.converters.calibration.statistics import make_ranges
from edgeq.tflite import flatbuffer
from edgeq.values import Ranges

# 8-bit outputs have steps of 1/256, 1/256 and 1/128: beyond these the error is a tenth of a step.
_SOFTMAX_REACH = 8.0
_LIMITS = {"LOGISTIC": 8.0, "TANH": 4.0}

# They hand values on as they are, and share one scale between input and output.
_PASSES = frozenset({"SPLIT", "SLICE", "STRIDED_SLICE", "RESHAPE", "UNPACK"})

SATURATED = "-saturated"

Limit = tuple[float, float]


def read_by_softmax(tree: Any) -> set[int]:
    """Tensors of the main subgraph that softmaxes read, and nothing else."""
    graph = tree.subgraphs[0]
    readers = _readers(tree, graph)
    return {index for index, names in readers.items() if {name for name, _ in names} == {"SOFTMAX"}}


def needed(values: NDArray[np.float32]) -> Limit:
    """The range within which one sample's softmax does not change when its input is clipped.

    Args:
        values: [..., classes].
    """
    low, high = needed_rows(values)
    return float(low.min()), float(high.max())


def needed_rows(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The same of each row: its lower and upper limits, [..., 1].

    In a row whose largest value is far above the second, the largest may come down to 8 above it.

    Args:
        values: [..., classes].
    """
    if values.shape[-1] < 2:
        return values, values
    ordered = np.partition(values, -2, axis=-1)
    top = np.minimum(ordered[..., -1:], ordered[..., -2:-1] + np.float32(_SOFTMAX_REACH))
    return top - np.float32(_SOFTMAX_REACH), top


def limit_ranges(content: bytes, ranges: Ranges, seen: Mapping[int, Limit]) -> Ranges:
    """The ranges, cut where the operators behind saturate.

    Args:
        content: the float flatbuffer that was calibrated.
        seen: tensor index to what its softmax needs, see `needed`, over all samples.
    """
    tree = flatbuffer.parse(content, "the float model")
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
        seen: tensor index to what its softmax needs, see `needed`.
        spans: tensor index to its lowest and highest value; without them, nothing is known of the
            operands of additions.
    """
    graph = tree.subgraphs[0]
    readers = _readers(tree, graph)
    search = _Search(tree, seen, spans or {}, {})
    for operator in reversed(graph.operators):  # readers come before what they read
        for index in flatbuffer.indices(operator.outputs):
            parts = [search.limit(name, reader, index) for name, reader in readers[index]]
            limit = _union(parts)
            if limit is not None:
                search.found[index] = limit
    return search.found


def _union(parts: Sequence[Limit | None]) -> Limit | None:
    """What all of some readers need; None when one needs everything, or there are none."""
    known = [part for part in parts if part is not None]
    if not known or len(known) < len(parts):
        return None
    return min(low for low, _ in known), max(high for _, high in known)


@dataclass(frozen=True)
class _Search:
    """What is known so far; see `find_limits`."""

    tree: Any
    seen: Mapping[int, Limit]
    spans: Mapping[int, Limit]
    found: dict[int, Limit]

    def limit(self, name: str, reader: Any, index: int) -> Limit | None:
        """What one reader of a tensor can tell apart; None for everything."""
        if name in _LIMITS:
            return -_LIMITS[name], _LIMITS[name]
        if name == "SOFTMAX":
            return self.seen.get(index)
        if name in _PASSES:
            return _union([self.found.get(output) for output in flatbuffer.indices(reader.outputs)])
        if name in ("ADD", "SUB"):
            return self._limit_operand(name, reader, index)
        return None

    def _limit_operand(self, name: str, reader: Any, index: int) -> Limit | None:
        """Of an operand of a sum or difference whose own limit is known.

        Both operands may be cut by this at once: the upper cut of one needs ends whose sum lies
        above the limit, the lower cut of the other needs the same sum to lie below.
        """
        (output,) = flatbuffer.indices(reader.outputs)
        limit, operands = self.found.get(output), flatbuffer.indices(reader.inputs)
        others = [item for item in operands if item != index]
        if limit is None or len(others) != 1 or reader.builtinOptions.fusedActivationFunction:
            return None
        span = self._span(others[0])
        if span is None:
            return None
        low, high = limit
        if name == "SUB" and index == operands[0]:
            span = -span[1], -span[0]
        elif name == "SUB":
            low, high, span = -high, -low, (-span[1], -span[0])
        return low - span[1], high - span[0]

    def _span(self, index: int) -> Limit | None:
        """Lowest and highest value that the quantized tensor can have."""
        tensor = self.tree.subgraphs[0].tensors[index]
        if flatbuffer.is_constant(self.tree, tensor):
            values = flatbuffer.constant(self.tree, tensor)
            return float(values.min(initial=0)), float(values.max(initial=0))
        if index not in self.spans:
            return None
        low, high = self.spans[index]
        return min(low, 0.0), max(high, 0.0)


def _readers(tree: Any, graph: Any) -> defaultdict[int, list[tuple[str, Any]]]:
    """Tensor index to the operators that read it; the model's user counts as one, too."""
    found: defaultdict[int, list[tuple[str, Any]]] = defaultdict(list)
    for operator in graph.operators:
        for index in set(flatbuffer.indices(operator.inputs)):
            found[index].append((flatbuffer.operator_name(tree, operator), operator))
    for index in flatbuffer.indices(graph.outputs):
        found[index].append(("", None))
    return found
