"""Weight-only quantization (INT8, FP16), written straight into the float flatbuffer."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeq.errors import QuantizationError
from edgeq.tflite import flatbuffer, quantmath

# Operators with a hybrid kernel (float activations, INT8 weights), and the axis of their filter
# that holds the output channels, after the TensorFlow Lite 8-bit quantization specification.
CHANNEL_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}

# Smaller filters stay float, as in TFLiteConverter: little to save, accuracy to lose.
MIN_ELEMENTS = 1024

_WEIGHTS = 1  # input index of the filter in all of them


def quantize_dynamic(content: bytes, *, per_channel: bool) -> bytes:
    """Dynamic range: INT8 weights with float activations.

    Args:
        content: a float flatbuffer.
        per_channel: one scale per output channel, else one per tensor.

    Returns:
        The flatbuffer; operator versions are those of the float model (see `refresh_versions`).
    """
    tree = flatbuffer.parse(content, "the float model")
    for graph in tree.subgraphs:
        for operator in graph.operators:
            name = flatbuffer.operator_name(tree, operator)
            if name in CHANNEL_AXIS and len(flatbuffer.indices(operator.inputs)) > _WEIGHTS:
                axis = CHANNEL_AXIS[name] if per_channel else None
                _quantize_filter(tree, graph, operator, axis)
    return flatbuffer.serialize(tree)


def _quantize_filter(tree: Any, graph: Any, operator: Any, axis: int | None) -> None:
    kit = flatbuffer.schema()
    tensor = graph.tensors[operator.inputs[_WEIGHTS]]
    is_float = flatbuffer.dtype_names()[tensor.type] == "float32"
    if not (is_float and flatbuffer.is_constant(tree, tensor)):
        return
    values = flatbuffer.constant(tree, tensor).astype(np.float32)
    if values.size < MIN_ELEMENTS:
        return
    quantized, scales = quantmath.quantize_weights(values, axis)
    tensor.type = flatbuffer.dtype_code("int8")
    tensor.buffer = flatbuffer.add_buffer(tree, quantized)
    tensor.quantization = kit.QuantizationParametersT()
    tensor.quantization.scale = scales
    tensor.quantization.zeroPoint = np.zeros(len(scales), np.int64)
    tensor.quantization.quantizedDimension = axis or 0
    if hasattr(operator.builtinOptions, "asymmetricQuantizeInputs"):
        # An input range rarely lies around zero; the symmetric mode would waste half of it.
        operator.builtinOptions.asymmetricQuantizeInputs = True


def quantize_fp16(content: bytes) -> bytes:
    """FP16 weights: each float constant is stored as FP16 behind a DEQUANTIZE.

    Delegates and XNNPACK take the FP16 weights directly; plain kernels widen them once.

    Raises:
        QuantizationError: a weight is beyond FP16's largest value, 65504.
    """
    tree = flatbuffer.parse(content, "the float model")
    opcode = flatbuffer.add_opcode(tree, "DEQUANTIZE", version=3)  # 3 reads FP16
    for graph in tree.subgraphs:
        widened: dict[int, int] = {}
        added: list[Any] = []
        for operator in graph.operators:
            for index in flatbuffer.indices(operator.inputs):
                is_new = index >= 0 and index not in widened
                if is_new and _is_float_constant(tree, graph.tensors[index]):
                    widened[index] = _halve(tree, graph, index, opcode, added)
            operator.inputs = np.array(
                [widened.get(index, index) for index in flatbuffer.indices(operator.inputs)],
                np.int32,
            )
        graph.operators = [*added, *graph.operators]
    return flatbuffer.serialize(tree)


def _is_float_constant(tree: Any, tensor: Any) -> bool:
    name = flatbuffer.dtype_names()[tensor.type]
    return name == "float32" and flatbuffer.is_constant(tree, tensor)


def _halve(tree: Any, graph: Any, index: int, opcode: int, added: list[Any]) -> int:
    """Store tensor `index` as FP16; returns the index of the widened tensor."""
    kit, tensor = flatbuffer.schema(), graph.tensors[index]
    values = flatbuffer.constant(tree, tensor)
    peak = float(np.max(np.abs(values), initial=0.0))
    if peak > float(np.finfo(np.float16).max):
        raise QuantizationError(
            f"Weight {flatbuffer.text(tensor.name)!r} reaches {peak:g}, beyond FP16's 65504.",
            hint="Use --scheme fp32 or dynamic for this model.",
        )
    wide = kit.TensorT()
    wide.name, wide.shape, wide.type = tensor.name, tensor.shape, tensor.type
    wide.buffer = 0  # computed, not stored
    tensor.name = flatbuffer.text(tensor.name) + "_fp16"
    tensor.type = flatbuffer.dtype_code("float16")
    tensor.buffer = flatbuffer.add_buffer(tree, values.astype(np.float16))
    graph.tensors.append(wide)
    widen = kit.OperatorT()
    widen.opcodeIndex = opcode
    widen.inputs = np.array([index], np.int32)
    widen.outputs = np.array([len(graph.tensors) - 1], np.int32)
    widen.builtinOptionsType = kit.BuiltinOptions.DequantizeOptions
    widen.builtinOptions = kit.DequantizeOptionsT()
    added.append(widen)
    return len(graph.tensors) - 1
