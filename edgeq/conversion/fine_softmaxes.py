"""Find the softmaxes of attention whose probabilities are too small for the step of INT8.

In INT8, a softmax has a step of 1/256. If attention spreads over several hundred positions, most
probabilities are below half of it, and become 0. In INT16, the step is 1/32768, and a QUANTIZE
behind it takes the largest probability that calibration saw as the end of its range.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

from edgeq.converters.calibration.statistics import Statistics, mean_square
from edgeq.converters.writer.precisions import name_of
from edgeq.issues import make_issue
from edgeq.tflite import flatbuffer
from edgeq.tflite.model_file import read_model
from edgeq.tflite.operators import having
from edgeq.values import FloatModel, Issue
from edgeq.wording import plural

_LEAST_DB = 20.0  # SQNR that the step of INT8 leaves the probabilities
_LAYOUT = having("layout")
_NOISE = (1 / 256) ** 2 / 12


def find_fine_softmaxes(
    model: FloatModel, seen: Statistics, kept: Collection[str], issues: list[Issue]
) -> tuple[str, ...]:
    """Names of the softmaxes that need INT16.

    Without histograms (`--effort fast`), attention is taken to be even over all positions.

    Args:
        seen: of the calibration pass.
        kept: names of operators that stay in float.
        issues: receives a note.
    """
    tree = read_model(Path(model.file.path)).tree
    graph, multiplied = tree.subgraphs[0], _find_multiplied(tree)
    found = {}
    for operator in graph.operators:
        if flatbuffer.operator_name(tree, operator) != "SOFTMAX":
            continue
        (index,) = flatbuffer.indices(operator.outputs)
        if index in multiplied:
            energy = mean_square(seen, index)
            if energy is None:
                energy = 1 / flatbuffer.indices(graph.tensors[index].shape)[-1] ** 2
            left = 10 * math.log10(energy / _NOISE)
            if left < _LEAST_DB and name_of(tree, operator) not in kept:
                found[name_of(tree, operator)] = left
    if found:
        message = (
            f"{plural(len(found), 'SOFTMAX operator')} of attention in INT16: "
            f"probabilities over many positions are small, and the INT8 step of 1/256 would leave "
            f"{min(found.values()):.1f} dB"
        )
        issues.append(make_issue("convert.fine_softmaxes", message))
    return tuple(found)


def _find_multiplied(tree: Any) -> frozenset[int]:
    """Tensors whose values a BATCH_MATMUL reads, perhaps in another layout."""
    found: set[int] = set()
    for operator in reversed(tree.subgraphs[0].operators):
        name = flatbuffer.operator_name(tree, operator)
        is_moved = name in _LAYOUT and not found.isdisjoint(flatbuffer.indices(operator.outputs))
        if name == "BATCH_MATMUL" or is_moved:
            found |= set(flatbuffer.indices(operator.inputs))
    return frozenset(found)
