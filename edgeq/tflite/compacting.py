"""Removes copies of constants from a `.tflite`.

Unrolled recurrent layers repeat their weights at every step, and quantizers write each copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeq.tflite import flatbuffer


def compact(tree: Any) -> None:
    """Store equal constants once and empty unused buffers."""
    first: dict[bytes, int] = {}
    used = {0} | {int(entry.buffer) for entry in tree.metadata or ()}
    for graph in tree.subgraphs:
        for tensor in graph.tensors:
            if flatbuffer.is_constant(tree, tensor) and not tensor.isVariable:
                content = np.asarray(tree.buffers[tensor.buffer].data, np.uint8).tobytes()
                tensor.buffer = first.setdefault(content, tensor.buffer)
            used.add(tensor.buffer)
    for index, buffer in enumerate(tree.buffers):
        if index not in used:
            buffer.data = None
    for number, graph in enumerate(tree.subgraphs):
        _merge_constants(tree, number, graph)


def _merge_constants(tree: Any, number: int, graph: Any) -> None:
    """Make one tensor of constants that differ in their names only, so scales are stored once."""
    first: dict[tuple[Any, ...], int] = {}
    kept: list[Any] = []
    place: dict[int, int] = {-1: -1}
    own = {*flatbuffer.indices(graph.inputs), *flatbuffer.indices(graph.outputs)}
    for index, tensor in enumerate(graph.tensors):
        key: tuple[Any, ...] = (index,)
        if flatbuffer.is_constant(tree, tensor) and not tensor.isVariable and index not in own:
            spec = flatbuffer.tensor_spec(tensor, "")
            axis = 0 if tensor.quantization is None else tensor.quantization.quantizedDimension
            key = (
                tensor.buffer,
                spec,
                flatbuffer.indices(tensor.shape),
                axis,
                tensor.sparsity is None,
            )
        if key not in first:
            first[key] = len(kept)
            kept.append(tensor)
        place[index] = first[key]
    graph.tensors = kept
    _renumber(tree, number, place)


def _renumber(tree: Any, number: int, place: Mapping[int, int]) -> None:
    """Give the tensors of a subgraph, which were moved, their new numbers everywhere."""
    graph = tree.subgraphs[number]

    def moved(vector: Any) -> Any:
        if vector is None:
            return None
        return np.array([place[i] for i in flatbuffer.indices(vector)], np.int32)

    graph.inputs, graph.outputs = moved(graph.inputs), moved(graph.outputs)
    for operator in graph.operators:
        operator.inputs, operator.outputs = moved(operator.inputs), moved(operator.outputs)
        operator.intermediates = moved(operator.intermediates)
    for signature in tree.signatureDefs or ():
        if signature.subgraphIndex == number:
            for entry in (*(signature.inputs or ()), *(signature.outputs or ())):
                entry.tensorIndex = place[int(entry.tensorIndex)]


def drop_unused(tree: Any) -> None:
    """Remove tensors, buffers and operator codes that nothing refers to.

    The order of what is left stays.
    """
    for number, graph in enumerate(tree.subgraphs):
        read = {*flatbuffer.indices(graph.inputs), *flatbuffer.indices(graph.outputs)}
        for operator in graph.operators:
            for vector in (operator.inputs, operator.outputs, operator.intermediates):
                read.update(flatbuffer.indices(vector))
        for index in [item for item in read if item >= 0]:
            own = graph.tensors[index].quantization
            if hasattr(own, "details") and hasattr(own.details, "scales"):
                read.add(own.details.scales)  # of blocks
        for signature in tree.signatureDefs or ():
            if signature.subgraphIndex == number:
                named = (*(signature.inputs or ()), *(signature.outputs or ()))
                read.update(int(entry.tensorIndex) for entry in named)
        kept = [index for index in range(len(graph.tensors)) if index in read]
        place = {-1: -1, **{index: new for new, index in enumerate(kept)}}
        graph.tensors = [graph.tensors[index] for index in kept]
        _renumber(tree, number, place)
    tensors = [tensor for graph in tree.subgraphs for tensor in graph.tensors]
    entries = list(tree.metadata or ())
    used = sorted({0, *(item.buffer for item in (*tensors, *entries))})
    buffers = {index: new for new, index in enumerate(used)}
    tree.buffers = [tree.buffers[index] for index in used]
    for item in (*tensors, *entries):
        item.buffer = buffers[item.buffer]
    operators = [item for graph in tree.subgraphs for item in graph.operators]
    codes = {old: new for new, old in enumerate(sorted({item.opcodeIndex for item in operators}))}
    tree.operatorCodes = [tree.operatorCodes[index] for index in codes]
    for item in operators:
        item.opcodeIndex = codes[item.opcodeIndex]
