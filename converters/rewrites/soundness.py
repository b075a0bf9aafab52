"""Damage of a graph that rewrites and the writer do not expect; interpreters crash on some."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edgeq.converters.rewrites.subgraphs import called, calls
from edgeq.errors import SourceError
from edgeq.tflite import flatbuffer

# Types that numpy reads; constants of others (strings, resources, INT4, bfloat16) stay as they are.
READABLE = {"float16", "float32", "float64", "bool", "int8", "int16", "int32", "int64",
            "uint8", "uint16", "uint32", "uint64"}  # fmt: skip


def require_sound(tree: Any, graph: Any) -> None:
    """Refuse a subgraph whose operators cannot be executed in their order.

    Args:
        tree: the schema's `ModelT`.
        graph: one of its subgraphs.

    Raises:
        SourceError: names the first tensor or operator that is damaged.
    """
    known = _sources(tree, graph)
    made = {index for item in graph.operators for index in flatbuffer.indices(item.outputs)}
    for operator in graph.operators:
        reads, makes = flatbuffer.indices(operator.inputs), flatbuffer.indices(operator.outputs)
        for index in reads:
            if index >= 0 and index not in known:
                when = "read before it is computed" if index in made else "read but never computed"
                raise _damaged(graph, index, when)
        for index in makes:
            if index in known and not graph.tensors[index].isVariable:
                is_stored = flatbuffer.is_constant(tree, graph.tensors[index])
                raise _damaged(graph, index, "stored and computed" if is_stored else
                               "computed twice")  # fmt: skip
        known.update(index for index in makes if index >= 0)
    for index in flatbuffer.indices(graph.outputs):
        if index not in known:
            raise _damaged(graph, index, "an output but never computed")
        if graph.tensors[index].sparsity is not None:
            raise _damaged(graph, index, "an output but sparse")
    for options, field in calls(graph):
        number = int(getattr(options, field))
        if not 0 <= number < len(tree.subgraphs):
            raise SourceError(
                f"The model is damaged: an operator calls subgraph {number} of "
                f"{len(tree.subgraphs)}."
            )
        if number in called(tree, [number]):
            raise SourceError(f"The model is damaged: subgraph {number} calls itself.")


def _sources(tree: Any, graph: Any) -> set[int]:
    """The tensors that have values before the first operator."""
    found = set(flatbuffer.indices(graph.inputs)) | empty_tensors(graph)
    for index, tensor in enumerate(graph.tensors):
        if flatbuffer.is_constant(tree, tensor):
            _require_size(tree, graph, index, flatbuffer.indices(tensor.shape))
            found.add(index)
        elif tensor.isVariable:
            found.add(index)
    return found


def empty_tensors(graph: Any) -> set[int]:
    """Constants without values: tensors of size 0 that are neither inputs nor computed."""
    made = {index for item in graph.operators for index in flatbuffer.indices(item.outputs)}
    made.update(flatbuffer.indices(graph.inputs))
    return {
        index
        for index, tensor in enumerate(graph.tensors)
        if 0 in flatbuffer.indices(tensor.shape) and index not in made
    }


def _require_size(tree: Any, graph: Any, index: int, shape: tuple[int, ...]) -> None:
    """Refuse a constant with more or fewer bytes than its shape has."""
    tensor = graph.tensors[index]
    dtype = flatbuffer.dtype(tensor)
    if dtype not in READABLE or tensor.sparsity is not None:
        return
    stored = len(tree.buffers[tensor.buffer].data)
    needed = math.prod(shape) * np.dtype(dtype).itemsize
    if stored != needed or min(shape, default=0) < 0:
        what = f"stored in {stored} bytes instead of {needed} ({dtype} {list(shape)})"
        raise _damaged(graph, index, what)


def _damaged(graph: Any, index: int, what: str) -> SourceError:
    name = flatbuffer.tensor_name(graph, index)
    return SourceError(f"The model is damaged: tensor {name!r} is {what}.")
