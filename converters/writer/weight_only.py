"""Weight-only quantization (INT8, FP16), written straight into the float flatbuffer."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeq.converters.writer.versions import set_min_runtime, set_version
from edgeq.errors import QuantizationError
from edgeq.tflite import flatbuffer, quantmath
from edgeq.tflite.operators import CHANNEL_AXIS
from edgeq.tflite.versions import version

# Smaller filters stay float, as in TFLiteConverter: little to save, accuracy to lose.
MIN_ELEMENTS = 1024

_WEIGHTS = 1  # input index of the filter in all operators of CHANNEL_AXIS
_WIDENING = version("DEQUANTIZE", "float16")


def quantize_dynamic(content: bytes, *, per_channel: bool) -> bytes:
    """Dynamic range: INT8 weights with float activations.

    Args:
        content: a float flatbuffer.
        per_channel: one scale per output channel, not one per tensor.

    Returns:
        The flatbuffer.
    """
    tree = flatbuffer.parse(content, "the float model")
    for graph in tree.subgraphs:
        for operator in graph.operators:
            name, inputs = (
                flatbuffer.operator_name(tree, operator),
                flatbuffer.indices(operator.inputs),
            )
            if name not in CHANNEL_AXIS or len(inputs) <= _WEIGHTS:
                continue
            tensor = graph.tensors[inputs[_WEIGHTS]]
            if not _is_float_constant(tree, tensor):
                continue
            values = flatbuffer.constant(tree, tensor).astype(np.float32)
            if values.size < MIN_ELEMENTS:
                continue
            axis = CHANNEL_AXIS[name] if per_channel else None
            quantized, scales = quantmath.quantize_weights(values, axis)
            tensor.type = flatbuffer.dtype_code("int8")
            tensor.buffer = flatbuffer.add_buffer(tree, quantized)
            tensor.quantization = flatbuffer.schema().QuantizationParametersT()
            tensor.quantization.scale = scales
            tensor.quantization.zeroPoint = np.zeros(len(scales), np.int64)
            tensor.quantization.quantizedDimension = axis or 0
            if hasattr(operator.builtinOptions, "asymmetricQuantizeInputs"):
                # Few input ranges are centred on zero; symmetric ones would waste half of the rest.
                operator.builtinOptions.asymmetricQuantizeInputs = True
            set_version(tree, graph, operator, name, "dynamic")
    set_min_runtime(tree)
    return flatbuffer.serialize(tree)


def quantize_fp16(content: bytes) -> bytes:
    """FP16 weights: each float constant is stored as FP16 behind a DEQUANTIZE.

    Delegates and XNNPACK take the FP16 weights directly; plain kernels widen them once.

    Raises:
        QuantizationError: a weight is beyond FP16's largest value, 65504.
    """
    tree = flatbuffer.parse(content, "the float model")
    flatbuffer.add_opcode(tree, "DEQUANTIZE", _WIDENING)
    for graph in tree.subgraphs:
        widened: dict[int, int] = {}
        added: list[Any] = []
        for operator in graph.operators:
            for index in flatbuffer.indices(operator.inputs):
                is_new = index >= 0 and index not in widened
                if is_new and _is_float_constant(tree, graph.tensors[index]):
                    widened[index] = _halve(tree, graph, index, added)
            operator.inputs = np.array(
                [widened.get(index, index) for index in flatbuffer.indices(operator.inputs)],
                np.int32,
            )
        graph.operators = [*added, *graph.operators]
    return flatbuffer.serialize(tree)


def _is_float_constant(tree: Any, tensor: Any) -> bool:
    return flatbuffer.dtype(tensor) == "float32" and flatbuffer.is_constant(tree, tensor)


def _halve(tree: Any, graph: Any, index: int, added: list[Any]) -> int:
    """Store tensor `index` as FP16; returns the index of the widened tensor."""
    tensor = graph.tensors[index]
    values = flatbuffer.constant(tree, tensor)
    peak = float(np.max(np.abs(values), initial=0.0))
    if peak > float(np.finfo(np.float16).max):
        raise QuantizationError(
            f"Weight {flatbuffer.text(tensor.name)!r} has the value {peak:g}, above the "
            "maximum of FP16, 65504.",
            hint="Use --scheme fp32 or dynamic for this model.",
        )
    wide = flatbuffer.add_tensor(graph, tensor.name, tensor.shape, "float32")
    tensor.name = flatbuffer.text(tensor.name) + "_fp16"
    tensor.type = flatbuffer.dtype_code("float16")
    tensor.buffer = flatbuffer.add_buffer(tree, values.astype(np.float16))
    options = flatbuffer.schema().DequantizeOptionsT()
    added.append(
        flatbuffer.make_operator(
            tree, "DEQUANTIZE", [index], [wide], version=_WIDENING, options=options
        )
    )
    return wide
