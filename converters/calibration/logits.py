"""Outputs before their final activation, where errors of two quantized models compare best.

A softmax maps most samples to nearly 0 or 1, whatever the error before it, so the error behind it
depends on the few undecided samples. Before it, every sample counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgeq.converters.calibration.saturation import Limit, find_limits
from edgeq.tflite import flatbuffer
from edgeq.tflite.model_file import ModelFile, shared_tree
from edgeq.tflite.operators import CONVERTING, facts

_FINAL = frozenset(facts("saturates"))


def expose_logits(content: bytes) -> bytes:
    """The model with each output taken before its final SOFTMAX, LOGISTIC or TANH.

    Inputs and outputs keep their names.
    """
    return flatbuffer.serialize(_exposed(content))


def expose_in_file(content: bytes, path: Path) -> ModelFile:
    """`expose_logits` into a file, which is not parsed again."""
    tree = _exposed(content)
    made = flatbuffer.serialize(tree)
    path.write_bytes(made)
    return ModelFile(path, made, tree)


def _exposed(content: bytes) -> Any:
    tree = flatbuffer.parse(content, "the model")
    graph = tree.subgraphs[0]
    inputs, outputs = flatbuffer.interface(tree)
    graph.outputs = np.array(_ends(tree, graph), np.int32)
    flatbuffer.set_interface(tree, [item.name for item in inputs], [item.name for item in outputs])
    return tree


def seen_limits(content: bytes, seen: Mapping[int, Limit]) -> dict[str, Limit]:
    """Output name to the range in which its final activation can tell values apart.

    Args:
        content: the float flatbuffer.
        seen: tensor index to the range that its softmax needs, see `saturation.needed`.

    Returns:
        Ranges of the outputs that `expose_logits` moves; values beyond one count as its ends.
    """
    tree = shared_tree(content, "the float model")
    _, outputs = flatbuffer.interface(tree)
    ends = _ends(tree, tree.subgraphs[0])
    limits = find_limits(tree, seen)
    return {
        spec.name: limits[end]
        for spec, own, end in zip(
            outputs, flatbuffer.indices(tree.subgraphs[0].outputs), ends, strict=True
        )
        if end != own and end in limits
    }


def _ends(tree: Any, graph: Any) -> tuple[int, ...]:
    """The tensor before the final activation of each output.

    No output is moved if two of them would become the same tensor, or one an input.
    """
    own = flatbuffer.indices(graph.outputs)
    moved = tuple(_before(tree, graph, index) for index in own)
    clashes = len(set(moved)) < len(own) or set(moved) & set(flatbuffer.indices(graph.inputs))
    return own if clashes else moved


def _before(tree: Any, graph: Any, output: int) -> int:
    current = output
    for operator in reversed(graph.operators):
        if current in flatbuffer.indices(operator.outputs):
            name = flatbuffer.operator_name(tree, operator)
            if name in _FINAL:
                return flatbuffer.indices(operator.inputs)[0]
            if name not in CONVERTING:
                break
            current = flatbuffer.indices(operator.inputs)[0]
    return output
