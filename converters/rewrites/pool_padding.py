"""Paddings with -FLT_MAX or -infinity before MAX_POOL_2D get values that fit into few bits. Exact.

PyTorch's max pooling pads on both sides, TensorFlow Lite's own padding does it in another way.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.converters.rewrites.editor import Editor
from edgeq.tflite import flatbuffer

_SAME, _VALID = 0, 1  # codes of Padding
_SYMMETRIC = 1  # code of MirrorPadMode
_HIDDEN = -1e4  # paddings below hide behind every value

# The lowest value of an operator's results; rounded down.
_LOWEST = {"RELU": 0.0, "RELU6": 0.0, "RELU_0_TO_1": 0.0, "RELU_N1_TO_1": -1.0, "LOGISTIC": 0.0,
           "SOFTMAX": 0.0, "EXP": 0.0, "ABS": 0.0, "SQUARE": 0.0, "SQRT": 0.0, "TANH": -1.0,
           "ELU": -1.0, "HARD_SWISH": -0.375, "GELU": -0.171}  # fmt: skip
_FUSED_LOWEST = {1: 0.0, 2: -1.0, 3: 0.0, 4: -1.0}  # RELU, RELU_N1_TO_1, RELU6, TANH
_KEEPING = {"AVERAGE_POOL_2D", "CONCATENATION", "DEPTH_TO_SPACE", "EXPAND_DIMS", "MAX_POOL_2D",
            "RESHAPE", "SLICE", "SPACE_TO_DEPTH", "SQUEEZE", "STRIDED_SLICE",
            "TRANSPOSE"}  # fmt: skip


def soften_paddings(editor: Editor) -> int:
    """Replace each such padding by the pooling's own, by a value within the range, or by a mirror.

    A mirrored value is in the same window as its original, so it does not change the maximum.
    """
    done = 0
    for operator in editor.of_kind("PADV2"):
        source, widths_index, value_index = editor.inputs(operator)[:3]
        (result,) = editor.outputs(operator)
        value, widths = editor.scalar(value_index), editor.value(widths_index)
        shape, pools = editor.shape(source), editor.readers(result)
        if value is None or widths is None or widths.shape != (4, 2) or shape is None:
            continue
        if value > _HIDDEN or len(shape) != 4 or editor.dtype(source) != "float32":
            continue
        if result in editor.model_outputs or not pools:
            continue
        if not all(_hides(editor, pool, widths) for pool in pools):
            continue
        if all(_pads_alike(editor, pool, shape, widths) for pool in pools):
            for pool in pools:
                pool.builtinOptions.padding = _SAME
                editor.replace_input(pool, result, source)
        else:
            _pad_otherwise(editor, operator, widths, shape)
        done += 1
    return done


def _hides(editor: Editor, pool: Any, widths: NDArray[Any]) -> bool:
    """Whether a max pooling sees a value of the tensor in each of its windows."""
    options = pool.builtinOptions
    if editor.kind(pool) != "MAX_POOL_2D" or options is None or options.padding != _VALID:
        return False
    sizes = options.filterHeight, options.filterWidth
    is_inside = not widths[[0, 3]].any() and bool((widths >= 0).all())
    return is_inside and all(
        2 * int(pair.max()) <= size for pair, size in zip(widths[1:3], sizes, strict=True)
    )


def _pads_alike(editor: Editor, pool: Any, shape: tuple[int, ...], widths: NDArray[Any]) -> bool:
    """Whether the padding SAME has the same windows."""
    options, result = pool.builtinOptions, editor.shape(editor.outputs(pool)[0])
    if result is None or len(result) != 4:
        return False
    for axis, size, stride in (
        (1, options.filterHeight, options.strideH),
        (2, options.filterWidth, options.strideW),
    ):
        if stride < 1:
            return False
        count = math.ceil(shape[axis] / stride)
        before = max((count - 1) * stride + size - shape[axis], 0) // 2
        if count != result[axis] or before != widths[axis][0]:
            return False
    return True


def _pad_otherwise(
    editor: Editor, operator: Any, widths: NDArray[Any], shape: tuple[int, ...]
) -> None:
    source, widths_index, _ = editor.inputs(operator)[:3]
    kit, lowest = flatbuffer.schema(), find_lowest(editor, source)
    if lowest == 0:
        kind, inputs, options = "PAD", [source, widths_index], kit.PadOptionsT()
    elif lowest is not None:
        value = editor.new_constant("padding", np.array(lowest, np.float32))
        kind, inputs, options = "PADV2", [source, widths_index, value], kit.PadV2OptionsT()
    else:
        kind, inputs, options = "MIRROR_PAD", [source, widths_index], kit.MirrorPadOptionsT()
        options.mode = _SYMMETRIC
    made = editor.new_like(editor.outputs(operator)[0])
    editor.insert(operator, kind, inputs, [made], options=options)
    editor.replace(editor.outputs(operator)[0], made)


def find_lowest(editor: Editor, index: int, depth: int = 8) -> float | None:
    """The lowest value that a tensor can have; None if nothing is known."""
    operator = editor.producer(index)
    if operator is None or depth == 0:
        return None
    kind, fused = editor.kind(operator), editor.activation(operator)
    if fused or kind in _LOWEST:
        return _FUSED_LOWEST.get(fused) if fused else _LOWEST[kind]
    if kind not in _KEEPING:
        return None
    sources = editor.inputs(operator)[: None if kind == "CONCATENATION" else 1]
    found = [find_lowest(editor, item, depth - 1) for item in sources]
    known = [item for item in found if item is not None]
    return min(known) if known and len(known) == len(found) else None
