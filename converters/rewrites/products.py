"""Products with constant matrices as dense layers, which may get a bias and are corrected.

onnx2tf makes BATCH_MATMUL of the gates of recurrent layers and of many MatMul nodes. CUMSUM, which
has no integer kernel, is a product with a triangular matrix.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeq.converters.rewrites.editor import Editor
from edgeq.tflite import flatbuffer

# The matrix has the square of this many values.
_LONGEST = 512


def sum_by_product(editor: Editor) -> int:
    """CUMSUM becomes a FULLY_CONNECTED layer whose weights are 0 and 1.

    It is exact up to the order in which float32 adds; in integers, its weights are exact.
    """
    return sum(_sum(editor, operator) for operator in editor.of_kind("CUMSUM"))


def _sum(editor: Editor, operator: Any) -> bool:
    source, axis_index = editor.inputs(operator)
    (result,) = editor.outputs(operator)
    shape, where = editor.shape(source), editor.scalar(axis_index)
    if editor.dtype(source) != "float32" or not shape or where is None:
        return False
    axis = int(where) % len(shape)
    size = shape[axis]
    if not 0 < size <= _LONGEST or min(shape) == 0:
        return False
    options = operator.builtinOptions
    ones = np.tri(size, k=-1 if options.exclusive else 0, dtype=np.float32)
    weights = editor.new_constant("running_sum", ones.T.copy() if options.reverse else ones)
    order = [place for place in range(len(shape)) if place != axis] + [axis]
    turned = [shape[place] for place in order]
    kit, stem = flatbuffer.schema(), editor.tensor_name(result)

    def turn(index: int, order: list[int], sizes: list[int], name: str) -> int:
        if order == sorted(order):
            return index
        made = editor.new_tensor(f"{stem}/{name}", sizes, "float32")
        permutation = editor.new_constant(f"{stem}/order", np.array(order, np.int32))
        options = kit.TransposeOptionsT()
        editor.insert(operator, "TRANSPOSE", [index, permutation], [made], options=options)
        return made

    given = turn(source, order, turned, "turned")
    sums = editor.new_tensor(f"{stem}/sums", turned, "float32")
    dense = kit.FullyConnectedOptionsT()
    dense.keepNumDims = True
    editor.insert(operator, "FULLY_CONNECTED", [given, weights, -1], [sums], options=dense)
    back = [order.index(place) for place in range(len(shape))]
    made = turn(sums, back, list(shape), "running")
    editor.replace(result, made)
    editor.remove(operator)
    return True


def multiply_by_layer(editor: Editor) -> int:
    """BATCH_MATMUL by one constant matrix becomes a FULLY_CONNECTED layer, with equal results.

    Layers that share a matrix, such as the steps of a recurrent layer, still share it.
    """
    matrices: dict[tuple[int, bool], int] = {}
    return sum(_multiply(editor, item, matrices) for item in editor.of_kind("BATCH_MATMUL"))


def _multiply(editor: Editor, operator: Any, matrices: dict[tuple[int, bool], int]) -> bool:
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
