"""Integer weights that a DEQUANTIZE widens, stored so that every runtime reads them right.

litert-quantizer writes a scale per block of N inputs as `BlockwiseQuantization` details. Kernels
that do not look there take the integers for something else without a word: a DEQUANTIZE of such a
tensor gave outputs unrelated to the model's with all kernels of ai-edge-litert 2.3, and of an INT8
one the process crashed. The same integers and scales are therefore stored as a tensor of one block
a row, quantized per channel, which every kernel reads right:

    int4 [outputs, inputs] in blocks   ->   int4 [blocks, N] per row -> DEQUANTIZE -> RESHAPE

It also leaves operator versions as they were; a runtime that is too old would then try.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeq.tflite import flatbuffer

# DEQUANTIZE by dtype and whether it is per channel: its version and the release that has it, after
# TensorFlow's tables (op_version.cc, runtime_version.cc).
_VERSIONS = {
    ("int8", False): (2, "1.14.0"),
    ("int8", True): (5, "2.7.0"),
    ("int4", False): (6, "2.18.0"),
    ("int4", True): (6, "2.18.0"),
}


def prepare(content: bytes) -> bytes:
    """A flatbuffer with its blocks as rows, and each DEQUANTIZE of weights with its version."""
    tree = flatbuffer.parse(content, "litert-quantizer's model")
    for graph in tree.subgraphs:
        for operator in list(graph.operators):
            if flatbuffer.operator_name(tree, operator) != "DEQUANTIZE":
                continue
            tensor = graph.tensors[flatbuffer.indices(operator.inputs)[0]]
            if block_details(tensor) is not None:
                _store_rows(tree, graph, operator, tensor)
            if flatbuffer.is_constant(tree, tensor):
                _state_version(tree, operator, tensor)
    return flatbuffer.serialize(tree)


def _state_version(tree: Any, operator: Any, tensor: Any) -> None:
    kind = flatbuffer.dtype_names()[tensor.type], len(tensor.quantization.scale) > 1
    version, release = _VERSIONS[kind]
    operator.opcodeIndex = flatbuffer.add_opcode(tree, "DEQUANTIZE", version)
    flatbuffer.require_runtime(tree, release)


def block_details(tensor: Any) -> Any:
    """The `BlockwiseQuantization` of a tensor, None when it has none."""
    kit = flatbuffer.schema()
    parameters = tensor.quantization
    if (
        parameters is None
        or parameters.detailsType != kit.QuantizationDetails.BlockwiseQuantization
    ):
        return None
    return parameters.details


def _store_rows(tree: Any, graph: Any, operator: Any, tensor: Any) -> None:
    """Store `tensor` as rows, and reshape what `operator` makes of it."""
    kit = flatbuffer.schema()
    details = block_details(tensor)
    stored = graph.tensors[details.scales]
    scales = flatbuffer.constant(tree, stored).astype(np.float32).ravel()
    stored.shape, stored.buffer = np.array([0], np.int32), 0  # nothing refers to it any more
    shape = flatbuffer.indices(tensor.shape)
    rows = np.array([scales.size, details.blockSize], np.int32)
    tensor.shape = rows
    tensor.quantization = kit.QuantizationParametersT()
    tensor.quantization.scale = scales
    tensor.quantization.zeroPoint = np.zeros(scales.size, np.int64)
    tensor.quantization.quantizedDimension = 0
    result = flatbuffer.indices(operator.outputs)[0]
    wide = kit.TensorT()
    wide.name = flatbuffer.text(tensor.name) + "_rows"
    wide.shape, wide.type, wide.buffer = rows, flatbuffer.dtype_code("float32"), 0
    graph.tensors.append(wide)
    operator.outputs = np.array([len(graph.tensors) - 1], np.int32)
    reshape = kit.OperatorT()
    reshape.opcodeIndex = flatbuffer.add_opcode(tree, "RESHAPE")
    target = flatbuffer.add_constant(tree, graph, wide.name + "_shape", np.array(shape, np.int32))
    reshape.inputs = np.array([len(graph.tensors) - 2, target], np.int32)
    reshape.outputs = np.array([result], np.int32)
    reshape.builtinOptionsType = kit.BuiltinOptions.ReshapeOptions
    reshape.builtinOptions = kit.ReshapeOptionsT()
    reshape.builtinOptions.newShape = np.array(shape, np.int32)
    graph.operators.insert(graph.operators.index(operator) + 1, reshape)
