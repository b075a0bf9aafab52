"""Integer weights that a DEQUANTIZE widens, stored so that every runtime reads them right.

litert-quantizer writes a scale per block of N inputs as `BlockwiseQuantization` details. Kernels
that ignore these misread the integers without an error: with all kernels of ai-edge-litert 2.3, a
DEQUANTIZE of such a tensor gave outputs unrelated to the model's, and on INT8 the process crashed.
The same integers and scales are therefore stored as a tensor with one block in each row, quantized
per channel, which every kernel reads right:

    int4 [outputs, inputs] in blocks   ->   int4 [blocks, N] per row -> DEQUANTIZE -> RESHAPE

It also leaves operator versions as they were, so that a runtime that is too old would run the file.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeq.tflite import flatbuffer
from edgeq.tflite.operators import first_release
from edgeq.tflite.versions import version


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
                dtype, scales = flatbuffer.dtype(tensor), tensor.quantization.scale
                number = version("DEQUANTIZE", dtype, ("channel",) if len(scales) > 1 else ())
                operator.opcodeIndex = flatbuffer.add_opcode(tree, "DEQUANTIZE", number)
                release = first_release("DEQUANTIZE", number)
                assert release is not None
                flatbuffer.require_runtime(tree, release)
    return flatbuffer.serialize(tree)


def block_details(tensor: Any) -> Any:
    """The `BlockwiseQuantization` of a tensor, None when it has none."""
    kit = flatbuffer.schema()
    own, blockwise = tensor.quantization, kit.QuantizationDetails.BlockwiseQuantization
    return own.details if own is not None and own.detailsType == blockwise else None


def _store_rows(tree: Any, graph: Any, operator: Any, tensor: Any) -> None:
    """Store `tensor` as rows, and reshape the result of `operator`, which reads it."""
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
    (result,) = flatbuffer.indices(operator.outputs)
    name = flatbuffer.text(tensor.name) + "_rows"
    wide = flatbuffer.add_tensor(graph, name, rows, "float32")
    operator.outputs = np.array([wide], np.int32)
    target = np.array(shape, np.int32)
    options = kit.ReshapeOptionsT()
    options.newShape = target
    inputs = [wide, flatbuffer.add_constant(tree, graph, f"{name}_shape", target)]
    reshape = flatbuffer.make_operator(tree, "RESHAPE", inputs, [result], options=options)
    graph.operators.insert(graph.operators.index(operator) + 1, reshape)
