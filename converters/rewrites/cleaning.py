"""Removes subgraphs, tensors and buffers that nothing uses after the rewrites."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from edgeq.tflite import flatbuffer

# Fields of operators' options that hold the number of a subgraph.
_CALLS = ("thenSubgraphIndex", "elseSubgraphIndex", "condSubgraphIndex", "bodySubgraphIndex",
          "initSubgraphIndex", "subgraph")  # fmt: skip


def drop_unused(tree: Any) -> None:
    """Remove subgraphs that are never called, and tensors that nothing uses, with their data."""
    _drop_subgraphs(tree)
    _drop_tensors(tree)


def called(tree: Any, numbers: Iterable[int]) -> set[int]:
    """Numbers of the subgraphs that some subgraphs call, and that those call."""
    found: set[int] = set()
    new = set(numbers)
    while new:
        calls = {int(getattr(options, field)) for number in new
                 for options, field in _calls(tree.subgraphs[number])}  # fmt: skip
        new = {number for number in calls if 0 <= number < len(tree.subgraphs)} - found
        found |= calls
    return found


def _drop_subgraphs(tree: Any) -> None:
    if any(
        item.builtinOptions2 is not None for graph in tree.subgraphs for item in graph.operators
    ):
        return  # these options may hold subgraphs, too
    used = {0} | {int(signature.subgraphIndex) for signature in tree.signatureDefs or ()}
    used |= called(tree, used)
    if not used <= set(range(len(tree.subgraphs))):
        return  # a damaged call: the interpreter will report it
    place = {old: new for new, old in enumerate(sorted(used))}
    calls = {
        (id(options), field): (options, field)  # operators may share options
        for number in used
        for options, field in _calls(tree.subgraphs[number])
    }
    for options, field in calls.values():
        setattr(options, field, place[int(getattr(options, field))])
    for signature in tree.signatureDefs or ():
        signature.subgraphIndex = place[int(signature.subgraphIndex)]
    tree.subgraphs = [tree.subgraphs[number] for number in sorted(used)]


def _calls(graph: Any) -> list[tuple[Any, str]]:
    """The options that hold a subgraph's number, with the name of the field."""
    return [
        (item.builtinOptions, field)
        for item in graph.operators
        for field in _CALLS
        if hasattr(item.builtinOptions, field)
    ]


def _drop_tensors(tree: Any) -> None:
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
