"""Ranges that end where the operator behind can no longer tell values apart.

A sigmoid gives 1 for everything above 7 as far as 8 bits can show, a tanh above 4; a softmax gives
0 to whatever lies 8 below the largest. Steps spent on such values are lost to those that count.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq import flatbuffer
from edgeq.converters.statistics import make_ranges
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
    limits = find_limits(tree, seen)
    tensors = []
    for item in ranges.tensors:
        low, high = limits.get(item.index, (-np.inf, np.inf))
        cut = replace(item, minimum=max(item.minimum, low), maximum=min(item.maximum, high))
        tensors.append(cut if cut.minimum < cut.maximum else item)
    if tuple(tensors) == ranges.tensors:
        return ranges
    return make_ranges(ranges.statistic + SATURATED, ranges.sample_count, tuple(tensors))


def find_limits(tree: Any, seen: Mapping[int, Limit]) -> dict[int, Limit]:
    """Tensor index to the range that all of its readers can tell apart.

    Args:
        seen: tensor index to what its softmax needs, see `needed`.
    """
    graph = tree.subgraphs[0]
    readers = _readers(tree, graph)
    found: dict[int, Limit] = {}
    for operator in reversed(graph.operators):  # readers come before what they read
        for index in flatbuffer.indices(operator.outputs):
            parts = [_limit(name, reader, index, seen, found) for name, reader in readers[index]]
            if parts and all(part is not None for part in parts):
                known = [part for part in parts if part is not None]
                found[index] = min(low for low, _ in known), max(high for _, high in known)
    return found


def _limit(
    name: str, reader: Any, index: int, seen: Mapping[int, Limit], found: Mapping[int, Limit]
) -> Limit | None:
    if name in _LIMITS:
        return -_LIMITS[name], _LIMITS[name]
    if name == "SOFTMAX":
        return seen.get(index)
    if name in _PASSES:
        parts = [found.get(output) for output in flatbuffer.indices(reader.outputs)]
        known = [part for part in parts if part is not None]
        if len(known) == len(parts):
            return min(low for low, _ in known), max(high for _, high in known)
    return None


def _readers(tree: Any, graph: Any) -> defaultdict[int, list[tuple[str, Any]]]:
    """Tensor index to the operators that read it; the model's user counts as one, too."""
    found: defaultdict[int, list[tuple[str, Any]]] = defaultdict(list)
    for operator in graph.operators:
        for index in set(flatbuffer.indices(operator.inputs)):
            found[index].append((flatbuffer.operator_name(tree, operator), operator))
    for index in flatbuffer.indices(graph.outputs):
        found[index].append(("", None))
    return found
