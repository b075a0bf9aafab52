"""Products with constant matrices as dense layers, which may get a bias and are corrected.

onnx2tf makes BATCH_MATMUL of the gates of recurrent layers and of many MatMul nodes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeq.converters.rewrites.editor import Editor
from edgeq.tflite import flatbuffer


def multiply_by_layer(editor: Editor) -> int:
    """BATCH_MATMUL by one constant matrix becomes a FULLY_CONNECTED layer, with equal results.

    Layers that share a matrix, such as the steps of a recurrent layer, still share it.
    """
    matrices: dict[tuple[int, bool], int] = {}
    return sum(_rewrite(editor, item, matrices) for item in editor.of_kind("BATCH_MATMUL"))


def _rewrite(editor: Editor, operator: Any, matrices: dict[tuple[int, bool], int]) -> bool:
    source, matrix = editor.inputs(operator)
    (result,) = editor.outputs(operator)
    values, shape, options = editor.value(matrix), editor.shape(source), operator.builtinOptions
    if values is None or values.dtype != np.float32 or options is None or options.adjX:
        return False
    if editor.dtype(source) != "float32" or not shape or -1 in shape:
        return False
    if values.ndim < 2 or max(values.shape[:-2], default=1) > 1:
        return False
    weights = values.reshape(values.shape[-2:])
    weights = weights if options.adjY else weights.T
    if editor.shape(result) != (*shape[:-1], len(weights)):
        return False
    key = (matrix, bool(options.adjY))
    if key not in matrices:
        rows = np.ascontiguousarray(weights)
        matrices[key] = editor.new_constant(f"{editor.tensor_name(matrix)}/rows", rows)
    made, dense = editor.new_like(result), flatbuffer.schema().FullyConnectedOptionsT()
    dense.keepNumDims = True
    inputs = [source, matrices[key], -1]
    editor.insert(operator, "FULLY_CONNECTED", inputs, [made], options=dense)
    editor.replace(result, made)
    editor.remove(operator)
    return True
