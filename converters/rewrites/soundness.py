"""Damage of a graph that rewrites and the writer do not expect; interpreters crash on some."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edgeq.converters.rewrites.subgraphs import calls
from edgeq.errors import SourceError
from edgeq.tflite import flatbuffer

# Types that numpy reads; constants of others (strings, resources, INT4, bfloat16) stay as they are.
READABLE = {"float16", "float32", "float64", "bool", "int8", "int16", "int32", "int64",
            "uint8", "uint16", "uint32", "uint64"}  # fmt: skip

# How many tensors operators read: rewrites take that for granted.
_MANY = 1 << 20
_ONE = (
    "ABS AVERAGE_POOL_2D CAST CEIL COS DENSIFY DEPTH_TO_SPACE DEQUANTIZE ELU EXP FLOOR GELU "
    "HARD_SWISH L2_NORMALIZATION LEAKY_RELU LOG LOGICAL_NOT LOGISTIC LOG_SOFTMAX MAX_POOL_2D "
    "NEG QUANTIZE RANK RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1 ROUND RSQRT SHAPE SIGN SIN SOFTMAX "
    "SPACE_TO_DEPTH SQRT SQUARE SQUEEZE TANH ZEROS_LIKE"
)
_TWO = (
    "ADD ATAN2 BATCH_MATMUL BROADCAST_ARGS BROADCAST_TO DIV EMBEDDING_LOOKUP EQUAL "
    "EXPAND_DIMS FILL FLOOR_DIV FLOOR_MOD GATHER GATHER_ND GREATER GREATER_EQUAL LESS "
    "LESS_EQUAL LOGICAL_AND LOGICAL_OR MAXIMUM MEAN MINIMUM MIRROR_PAD MUL NOT_EQUAL PAD POW "
    "PRELU REDUCE_ALL REDUCE_ANY REDUCE_MAX REDUCE_MIN REDUCE_PROD REVERSE_V2 "
    "SQUARED_DIFFERENCE SUB SUM TILE TRANSPOSE"
)
_OTHERS = {"ADD_N": (1, _MANY), "CONCATENATION": (1, _MANY), "CONV_2D": (2, 3),
           "DEPTHWISE_CONV_2D": (2, 3), "FULLY_CONNECTED": (2, 3), "PACK": (1, _MANY),
           "PADV2": (3, 3), "RANGE": (3, 3), "RESHAPE": (1, 2), "SELECT": (3, 3),
           "SELECT_V2": (3, 3), "SLICE": (3, 3), "STRIDED_SLICE": (4, 4)}  # fmt: skip
_OPTIONAL = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}  # the bias
# Name to the least and the most inputs, of operators with one result.
_INPUTS = dict.fromkeys(_ONE.split(), (1, 1)) | dict.fromkeys(_TWO.split(), (2, 2)) | _OTHERS


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
        kind = flatbuffer.operator_name(tree, operator)
        reads, makes = flatbuffer.indices(operator.inputs), flatbuffer.indices(operator.outputs)
        flaw = _wrong_ends(kind, reads, makes)
        if flaw is not None:
            raise SourceError(f"The model is damaged: an operator {kind} has {flaw}.")
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
    for options, field in calls(graph):
        number = int(getattr(options, field))
        if not 0 <= number < len(tree.subgraphs):
            raise SourceError(
                f"The model is damaged: an operator calls subgraph {number} of "
                f"{len(tree.subgraphs)}."
            )


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


def _wrong_ends(kind: str, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> str | None:
    """The flaw in the number of an operator's inputs and outputs; None if there is none.

    Args:
        inputs: tensors, -1 for an absent one.
    """
    if kind not in _INPUTS:
        return None
    least, most = _INPUTS[kind]
    needed = inputs[:least] if kind in _OPTIONAL else inputs
    is_right = least <= len(inputs) <= most and min(needed) >= 0
    if is_right and (len(outputs) == 1 or (kind == "FULLY_CONNECTED" and len(outputs) == 2)):
        return None if outputs[0] >= 0 else "no output"
    return f"{sum(index >= 0 for index in inputs)} inputs and {len(outputs)} outputs"
