"""Weights in fewer bits for operators that compute in float: one function per kind of storage.

Kernels take INT8 weights of the dynamic scheme as they are. Weights of the others are stored behind
a DEQUANTIZE, which widens them to float.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeq.converters.writer.integers import Stored
from edgeq.converters.writer.narrow import store_weights
from edgeq.converters.writer.rebuilding import put_constant
from edgeq.converters.writer.versions import set_min_runtime, set_version
from edgeq.errors import QuantizationError
from edgeq.tflite import flatbuffer, kernels, quantmath
from edgeq.tflite.compacting import drop_unused
from edgeq.tflite.operators import CHANNEL_AXIS, WEIGHT_INPUT, having

# Smaller filters stay float in the dynamic scheme, as in TFLiteConverter: little to save, accuracy
# to lose.
MIN_ELEMENTS = 1024

BLOCK_OPERATORS = having("blocks")
_PRODUCTS = having("product")
_FP16_MOST = float(np.finfo(np.float16).max)
_LIMITS = {"int8": (-127, 127), "int4": (-8, 7)}  # what a DEQUANTIZE may read


def block_size(granularity: str) -> int:
    """N of "block:N", 0 of others."""
    return int(granularity.removeprefix("block:")) if granularity.startswith("block:") else 0


def takes_blocks(operator: str, shape: Sequence[int], size: int) -> bool:
    """Whether weights of this shape can have a scale per `size` inputs of each output."""
    return size > 0 and operator in BLOCK_OPERATORS and len(shape) == 2 and shape[1] % size == 0


def store_dynamic(content: bytes, *, per_channel: bool) -> bytes:
    """Dynamic range: INT8 weights; kernels quantize the inputs that they multiply them with.

    Args:
        content: a float flatbuffer.
        per_channel: one scale per output channel, not one per tensor.
    """
    tree = flatbuffer.parse(content, "the float model")
    for graph in tree.subgraphs:
        made: dict[tuple[int, int | None], int] = {}
        for operator in graph.operators:
            name = flatbuffer.operator_name(tree, operator)
            index = _weights(tree, graph, operator, name) if name in CHANNEL_AXIS else -1
            if index < 0 or np.prod(graph.tensors[index].shape) < MIN_ELEMENTS:
                continue
            axis = CHANNEL_AXIS[name] if per_channel else None
            if (index, axis) not in made:
                values = flatbuffer.constant(tree, graph.tensors[index]).astype(np.float32)
                rounded, scales = quantmath.quantize_weights(values, axis)
                stored = Stored(rounded, "int8", scales, axis=axis or 0)
                made[index, axis] = _add(tree, graph, index, stored)
            _replace(operator, WEIGHT_INPUT[name], made[index, axis])
            if hasattr(operator.builtinOptions, "asymmetricQuantizeInputs"):
                # Few input ranges are centred on zero; symmetric ones would waste half of the rest.
                operator.builtinOptions.asymmetricQuantizeInputs = True
            set_version(tree, graph, operator, name, "dynamic")
    return _finish(tree)


def store_fp16(content: bytes) -> bytes:
    """FP16 weights: each float constant is stored as FP16 behind a DEQUANTIZE.

    Delegates and XNNPACK take the FP16 weights directly; plain kernels widen them once.

    Raises:
        QuantizationError: a weight is beyond FP16's largest value, 65504.
    """
    tree = flatbuffer.parse(content, "the float model")
    for graph in tree.subgraphs:
        widened: dict[int, int] = {}
        added: list[Any] = []
        for operator in graph.operators:
            inputs = flatbuffer.indices(operator.inputs)
            for index in inputs:
                is_new = index >= 0 and index not in widened
                if is_new and _is_float_constant(tree, graph.tensors[index]):
                    half = _add_half(tree, graph, index)
                    widened[index] = _widen(tree, graph, index, half, added)
            operator.inputs = np.array([widened.get(i, i) for i in inputs], np.int32)
        graph.operators = [*added, *graph.operators]
    return _finish(tree)


def store_weight_only(content: bytes, dtype: str, granularity: str) -> bytes:
    """Weights as integers behind a DEQUANTIZE, of every operator that has weights.

    Blocks are stored as rows, which are quantized per channel and reshaped behind the DEQUANTIZE:

        int4 [outputs, inputs] in blocks   ->   int4 [blocks, N] per row -> DEQUANTIZE -> RESHAPE

    The schema has `BlockwiseQuantization` for them, but kernels that ignore it misread the integers
    without an error: with all kernels of ai-edge-litert 2.3, a DEQUANTIZE of such a tensor gave
    outputs unrelated to the model's, and on INT8 the process crashed.

    Args:
        content: a float flatbuffer.
        dtype: "int8" or "int4", whose scales clip the largest weights where that lowers the error.
        granularity: "channel", "tensor" or "block:N"; weights that cannot have blocks get a scale
            per channel, and the certificate names them.
    """
    tree = flatbuffer.parse(content, "the float model")
    for graph in tree.subgraphs:
        widened: dict[tuple[int, int, str], int] = {}
        added: list[Any] = []
        for operator in graph.operators:
            name = flatbuffer.operator_name(tree, operator)
            index = _weights(tree, graph, operator, name)
            if index < 0:
                continue
            values = flatbuffer.constant(tree, graph.tensors[index]).astype(np.float32)
            axis, kept = channel_axis(operator, name, values.ndim), granularity
            if not takes_blocks(name, values.shape, block_size(granularity)):
                kept = granularity if granularity == "tensor" else "channel"
            key = (index, axis, kept)
            if key not in widened:
                stored = store_weights(
                    values, dtype, _LIMITS[dtype], axis, per_channel=kept != "tensor",
                    block=block_size(kept), is_summed=name in _PRODUCTS,
                )  # fmt: skip
                new = _add(tree, graph, index, stored, dtype)
                widened[key] = _widen(tree, graph, index, new, added)
            _replace(operator, WEIGHT_INPUT[name], widened[key])
        graph.operators = [*added, *graph.operators]
    return _finish(tree)


def channel_axis(operator: Any, name: str, rank: int) -> int:
    """The axis of an operator's weights that counts output channels, or entries of a table."""
    if name == "BATCH_MATMUL":
        return rank - 2 if getattr(operator.builtinOptions, "adjY", False) else rank - 1
    return rank - 1 if name == "CONV_3D" else CHANNEL_AXIS.get(name, 0)


# ---------------------------------------------------------------- the graph


def _is_float_constant(tree: Any, tensor: Any) -> bool:
    is_stored = flatbuffer.is_constant(tree, tensor) and tensor.sparsity is None
    return is_stored and flatbuffer.dtype(tensor) == "float32"


def _weights(tree: Any, graph: Any, operator: Any, name: str) -> int:
    """The number of an operator's stored float weights; -1 if it has none."""
    slot, inputs = WEIGHT_INPUT.get(name), flatbuffer.indices(operator.inputs)
    if slot is None or len(inputs) <= slot or inputs[slot] < 0:
        return -1
    tensor = graph.tensors[inputs[slot]]
    rank = len(flatbuffer.indices(tensor.shape))
    has_channels = 0 <= channel_axis(operator, name, rank) < rank  # of a damaged file, perhaps not
    return inputs[slot] if has_channels and _is_float_constant(tree, tensor) else -1


def _replace(operator: Any, slot: int, index: int) -> None:
    inputs = list(flatbuffer.indices(operator.inputs))
    inputs[slot] = index
    operator.inputs = np.array(inputs, np.int32)


def _add(tree: Any, graph: Any, index: int, stored: Stored, suffix: str = "") -> int:
    """A new tensor with the integers of another one; other readers of that one keep it."""
    tensor = copy.copy(graph.tensors[index])
    tensor.name = flatbuffer.text(tensor.name) + (suffix and f"_{suffix}")
    tensor.shape = np.array(stored.values.shape, np.int32)
    put_constant(tree, tensor, stored)
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _add_half(tree: Any, graph: Any, index: int) -> int:
    """A new tensor with the values of another one in FP16."""
    tensor = graph.tensors[index]
    name, values = flatbuffer.text(tensor.name), flatbuffer.constant(tree, tensor)
    peak = float(np.max(np.abs(values), initial=0.0))
    if peak > _FP16_MOST:
        raise QuantizationError(
            f"Weight {name!r} has the value {peak:g}, above the maximum of FP16, 65504.",
            hint="Use --scheme fp32 or dynamic for this model.",
        )
    return flatbuffer.add_constant(tree, graph, f"{name}_fp16", values.astype(np.float16))


def _widen(tree: Any, graph: Any, index: int, stored: int, added: list[Any]) -> int:
    """Widen a stored tensor to float, in the shape and with the name of another one.

    Args:
        index: the float constant, which it replaces.
        stored: the new constant.
        added: receives the operators.

    Returns:
        The number of the float tensor.
    """
    source, first = graph.tensors[index], graph.tensors[stored]
    form = {"channel"} if _count_scales(first) > 1 else ()
    number = kernels.version("DEQUANTIZE", flatbuffer.dtype(first), form)
    shape = flatbuffer.indices(source.shape)
    wide = flatbuffer.add_tensor(graph, source.name, shape, "float32")
    is_shaped = flatbuffer.indices(first.shape) == shape
    name = flatbuffer.text(first.name)
    made = wide
    if not is_shaped:
        made = flatbuffer.add_tensor(graph, f"{name}_wide", first.shape, "float32")
    widening = flatbuffer.make_operator(tree, "DEQUANTIZE", [stored], [made], version=number)
    added.append(widening)
    if not is_shaped:
        options = flatbuffer.schema().ReshapeOptionsT()
        options.newShape = np.array(shape, np.int32)
        target = flatbuffer.add_constant(tree, graph, f"{name}_shape", options.newShape)
        added.append(
            flatbuffer.make_operator(tree, "RESHAPE", [made, target], [wide], options=options)
        )
    return wide


def _count_scales(tensor: Any) -> int:
    own = tensor.quantization
    return 0 if own is None or own.scale is None else len(own.scale)


def _finish(tree: Any) -> bytes:
    drop_unused(tree)
    set_min_runtime(tree)
    return flatbuffer.serialize(tree)
