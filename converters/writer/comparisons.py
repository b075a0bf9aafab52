"""Comparisons of real values as comparisons of INT32 numbers, which are exact.

The INT8 kernels compare round(256 * scale * (stored - zero point)): neighbours are equal to them if
the scale is below 1/256, a scale of 1 (pixels from 0 to 255) stops the process, and larger ones
give wrong results. The INT16 kernels ignore scales. Source: lite/kernels/comparisons.cc and
internal/reference/comparisons.h of TensorFlow.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.converters.rewrites.conditions import TURNED
from edgeq.converters.writer.parameters import Affine
from edgeq.tflite import flatbuffer, kernels

KINDS = frozenset(TURNED)
EQUALITY = frozenset({"EQUAL", "NOT_EQUAL"})
_ROUNDED_UP = ("LESS", "GREATER_EQUAL")
_ON_A_STEP = 1e-4  # a constant that is nearer to a step than this was meant to be on it
_FARTHEST = 2.0**30
_BITS = {"int8": 21, "int16": 14}  # of a factor, so that its product with a value fits into 31


@dataclass(frozen=True)
class Operand:
    """One side of a comparison.

    Attributes:
        form: of the computed tensor.
        tensor: its index in the integer model; None for a constant.
        values: of the constant, in real units.
        is_clipped: whether a constant beyond the range is as the lowest or highest value, as the
            values of an input are. Its range keeps them free for such a constant
            (`edgeq.conversion.input_ranges.find_mask_limits`).
    """

    form: Affine
    tensor: int | None
    values: NDArray[Any] | None = None
    is_clipped: bool = False


def compare(tree: Any, graph: Any, operator: Any, kind: str, pair: Sequence[Operand]) -> list[Any]:
    """The operators that compare in INT32, for the caller to put into the integer model.

    Args:
        tree, graph: the integer model and its subgraph; get new tensors.
        operator: of the float model.
        kind: its name, one of `KINDS`.
        pair: its operands; a constant has the form of the other one, which is computed.
    """
    result = flatbuffer.indices(operator.outputs)[0]
    stem, inputs = flatbuffer.tensor_name(graph, result), []
    made: list[Any] = []
    widest = max(pair, key=lambda item: item.form.scale).form
    for number, item in enumerate(pair):
        name = f"{stem}/{number}"
        if item.values is not None:
            steps = _steps(item.values, item.form, TURNED[kind] if number == 0 else kind)
            if item.is_clipped and kind in EQUALITY:
                ends = np.iinfo(item.form.dtype)
                steps = np.clip(steps, ends.min, ends.max)
            inputs.append(flatbuffer.add_constant(tree, graph, name, steps))
            continue
        assert item.tensor is not None
        last = _signed(tree, graph, name, item.tensor, made)
        if pair[0].form != pair[1].form:
            factor = round(item.form.scale / widest.scale * 2 ** _BITS[item.form.dtype])
            last = _arithmetic(tree, graph, "MUL", last, factor, made)
            last = _arithmetic(tree, graph, "ADD", last, -factor * item.form.zero_point, made)
        inputs.append(last)
    compared = copy.copy(operator)
    compared.inputs = np.array(inputs, np.int32)
    compared.opcodeIndex = flatbuffer.add_opcode(tree, kind, kernels.version(kind, "int32"))
    return [*made, compared]


def _steps(values: NDArray[Any], form: Affine, kind: str) -> NDArray[np.int32]:
    """The integers that compare with stored values as `values` do with real ones."""
    exact = values.astype(np.float64) / form.scale + form.zero_point
    nearest = np.rint(exact)
    other = np.ceil(exact) if kind in _ROUNDED_UP else np.floor(exact)
    is_near = np.abs(exact - nearest) < _ON_A_STEP
    steps = np.where(is_near | (kind in EQUALITY), nearest, other)
    beyond = _FARTHEST if kind.startswith("GREATER") else -_FARTHEST  # nothing compares with NaN
    steps = np.where(np.isnan(exact), beyond, steps)
    return np.clip(steps, -_FARTHEST, _FARTHEST).astype(np.int32)


def _signed(tree: Any, graph: Any, name: str, source: int, made: list[Any]) -> int:
    """An INT8 or INT16 tensor as INT32 numbers."""
    tensor = graph.tensors[source]
    result = _new_like(graph, name, source)
    options = flatbuffer.schema().CastOptionsT()
    options.inDataType, options.outDataType = tensor.type, flatbuffer.dtype_code("int32")
    number = kernels.version("CAST", flatbuffer.dtype(tensor))
    made.append(
        flatbuffer.make_operator(tree, "CAST", [source], [result], version=number, options=options)
    )
    return result


def _arithmetic(tree: Any, graph: Any, kind: str, source: int, number: int, made: list[Any]) -> int:
    """A tensor of INT32 numbers plus or times a number."""
    name = f"{flatbuffer.tensor_name(graph, source)}/{kind}"
    constant = flatbuffer.add_constant(tree, graph, f"{name}/number", np.array(number, np.int32))
    result = _new_like(graph, name, source)
    kit = flatbuffer.schema()
    options = kit.MulOptionsT() if kind == "MUL" else kit.AddOptionsT()
    make = partial(flatbuffer.make_operator, tree, kind, [source, constant], [result])
    made.append(make(options=options))
    return result


def _new_like(graph: Any, name: str, source: int) -> int:
    """Index of a new INT32 tensor with the shape of another one."""
    like = graph.tensors[source]
    result = flatbuffer.add_tensor(graph, name, like.shape, "int32")
    graph.tensors[result].shapeSignature = like.shapeSignature
    graph.tensors[result].hasRank = like.hasRank
    return result
