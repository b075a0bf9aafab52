"""Flaws that readers do not expect, and that kernels answer with a crash or with all memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from edgeq.tflite.arity import find_wrong_ends

# Kernels count the values of a tensor in 32 bits, and no device has memory for one of this size.
MOST_TENSOR_BYTES = 1 << 31
_WIDTHS = {
    "complex128": 16, "complex64": 8, "float64": 8, "int64": 8, "uint64": 8, "float32": 4,
    "int32": 4, "uint32": 4, "float16": 2, "bfloat16": 2, "int16": 2, "uint16": 2,
}  # fmt: skip
# Operators that repeat values: the input that says how often.
_REPEATING = {"FILL": 0, "BROADCAST_TO": 1, "TILE": 1}

Name = Callable[[Any, Any], str]  # of an operator of a model
Dtype = Callable[[Any], str]  # of a tensor


def find_flaw(model: Any, name_of: Name, dtype_of: Dtype) -> str | None:
    """The first flaw, as the end of a sentence about the model; None if there is none.

    Args:
        model: the schema's `ModelT`, with indices in range.
        name_of: `flatbuffer.operator_name`.
        dtype_of: `flatbuffer.dtype`.
    """
    return next(_flaws(model, name_of, dtype_of), None)


def _flaws(model: Any, name_of: Name, dtype_of: Dtype) -> Iterator[str]:
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            yield from _huge(tensor, _sizes(tensor.shape), dtype_of)
        for operator in graph.operators:
            if model.operatorCodes[operator.opcodeIndex].customCode is not None:
                continue
            kind = name_of(model, operator)
            reads, makes = _sizes(operator.inputs), _sizes(operator.outputs)
            flaw = find_wrong_ends(kind, reads, makes)
            if flaw is not None:
                yield f"is damaged: an operator {kind} has {flaw}"
            elif kind in _REPEATING:
                counts = _counts(model, graph.tensors[reads[_REPEATING[kind]]], dtype_of)
                own = _sizes(graph.tensors[reads[0]].shape) if kind == "TILE" else ()
                yield from _huge(graph.tensors[makes[0]], (*counts, *own), dtype_of)


def _huge(tensor: Any, shape: tuple[int, ...], dtype_of: Dtype) -> Iterator[str]:
    size = _WIDTHS.get(dtype_of(tensor), 1) * math.prod(shape)
    if size > MOST_TENSOR_BYTES and min(shape) >= 0:
        name = tensor.name.decode("utf-8", "replace") if tensor.name else ""
        yield f"has a tensor of {size / 2**30:.0f} GiB, {name!r}; kernels count to 2 GiB"


def _counts(model: Any, tensor: Any, dtype_of: Dtype) -> tuple[int, ...]:
    """The values of a constant of integers; none of other tensors."""
    data, dtype = model.buffers[tensor.buffer].data, dtype_of(tensor)
    if data is None or dtype not in ("int32", "int64") or len(data) % _WIDTHS[dtype]:
        return ()
    return _sizes(np.asarray(data, np.uint8).view(dtype))


def _sizes(vector: Any) -> tuple[int, ...]:
    return () if vector is None else tuple(int(size) for size in vector)
