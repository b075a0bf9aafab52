"""Running sums as products with a triangular matrix: CUMSUM has no integer kernel."""

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
    return sum(_rewrite(editor, operator) for operator in editor.of_kind("CUMSUM"))


def _rewrite(editor: Editor, operator: Any) -> bool:
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
