"""Removes what rewrites have left behind: tensors and buffers that nothing uses any more."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeq.tflite import flatbuffer


def drop_unused(tree: Any) -> None:
    """Remove tensors that no operator, input or output uses, and empty the buffers of those."""
    for number, graph in enumerate(tree.subgraphs):
        entries = [
            entry
            for signature in tree.signatureDefs or ()
            if signature.subgraphIndex == number
            for entry in (*(signature.inputs or ()), *(signature.outputs or ()))
        ]
        used = {*flatbuffer.indices(graph.inputs), *flatbuffer.indices(graph.outputs)}
        used |= {int(entry.tensorIndex) for entry in entries}
        for operator in graph.operators:
            for vector in (operator.inputs, operator.outputs, operator.intermediates):
                used |= set(flatbuffer.indices(vector))
        kept = sorted(used - {-1})
        place = {-1: -1} | {old: new for new, old in enumerate(kept)}
        graph.tensors = [graph.tensors[index] for index in kept]
        graph.inputs, graph.outputs = _moved(graph.inputs, place), _moved(graph.outputs, place)
        for operator in graph.operators:
            operator.inputs = _moved(operator.inputs, place)
            operator.outputs = _moved(operator.outputs, place)
            operator.intermediates = _moved(operator.intermediates, place)
        for entry in entries:
            entry.tensorIndex = place[int(entry.tensorIndex)]
    named = {int(index) for index in flatbuffer.indices(tree.metadataBuffer)}
    held = {0} | named | {int(entry.buffer) for entry in tree.metadata or ()}
    held |= {int(tensor.buffer) for graph in tree.subgraphs for tensor in graph.tensors}
    for index, buffer in enumerate(tree.buffers or ()):
        if index not in held:
            buffer.data = None


def _moved(vector: Any, place: dict[int, int]) -> Any:
    return None if vector is None else np.array([place[int(i)] for i in vector], np.int32)
