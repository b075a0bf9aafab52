"""Weights that a file stores as FP16 or sparse become plain constants. Both are exact."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.converters.rewrites.editor import Editor
from edgeq.errors import SourceError
from edgeq.tflite import flatbuffer

_DENSE, _CSR = 0, 1  # codes of DimensionType
_MOST_VALUES = 1 << 28

_CUSTOM_TRANSPOSE_CONV = "Convolution2DTransposeBias"


def unpack_half(editor: Editor) -> int:
    """Fold each DEQUANTIZE of FP16 constants: every FP16 value is a float32 value."""
    done = 0
    for operator in editor.of_kind("DEQUANTIZE"):
        packed, result = editor.inputs(operator)[:1], editor.outputs(operator)[:1]
        values = editor.value(packed[0]) if packed and result else None
        if values is not None and values.dtype == np.float16:
            made = editor.new_constant(editor.tensor_name(packed[0]), values.astype(np.float32))
            done += editor.replace(result[0], made)
    return done


def unpack_sparse(editor: Editor) -> int:
    """Replace sparse constants by dense ones, and each DENSIFY by its result.

    Raises:
        SourceError: sparse weights are damaged.
    """
    done = 0
    for index, tensor in enumerate(list(editor.graph.tensors)):
        if tensor.sparsity is None or not editor.readers(index):
            continue
        name = editor.tensor_name(index)
        try:
            values = densify(editor.tree, tensor)
        except (ValueError, IndexError, AttributeError, TypeError, OverflowError) as error:
            raise SourceError(
                f"The model is damaged: the sparse weights {name!r} cannot be read.",
                hint="Export the model again.",
                details=str(error),
            ) from error
        dense = editor.new_constant(name, values)
        given = [_give(editor, operator, index, dense) for operator in editor.readers(index)]
        done += any(given)
    return done


def _give(editor: Editor, operator: Any, sparse: int, dense: int) -> bool:
    """Let an operator read dense weights, or its readers, if it is DENSIFY."""
    if editor.kind(operator) == "DENSIFY":
        return editor.replace(editor.outputs(operator)[0], dense)
    editor.replace_input(operator, sparse, dense)
    return True


def densify(tree: Any, tensor: Any) -> NDArray[Any]:
    """The values of a sparse constant in its dense shape.

    The storage is a tree with a level for each dimension in `traversalOrder`: first the tensor's
    own dimensions, then those of its blocks, which `blockMap` assigns to the tensor's. A dense
    level has the same number of children everywhere, a sparse one lists them (compressed sparse
    rows). Format: SparsityParameters in TensorFlow Lite's schema.fbs.

    Raises:
        ValueError, IndexError: it contradicts itself.
    """
    sparsity = tensor.sparsity
    shape = flatbuffer.indices(tensor.shape)
    order = flatbuffer.indices(sparsity.traversalOrder)
    blocked, levels = flatbuffer.indices(sparsity.blockMap), list(sparsity.dimMetadata)
    raw = np.asarray(tree.buffers[tensor.buffer].data, np.uint8)
    values = raw.view(flatbuffer.dtype(tensor))
    rank, total = len(shape), math.prod(shape)
    if sorted(order) != list(range(rank + len(blocked))) or len(levels) != len(order):
        raise ValueError(f"{len(levels)} levels, order {order}, blocks {blocked}, shape {shape}")
    if total > _MOST_VALUES or min(blocked, default=0) < 0:
        raise ValueError(f"shape {shape}, blocks {blocked}")
    nodes = np.zeros(1, np.int64)  # positions within the level
    places = np.zeros((len(order), 1), np.int64)  # coordinates, by dimension
    for dimension, level in zip(order, levels, strict=True):
        nodes, parents, steps = _descend(nodes, level, total)
        places = places[:, parents]
        places[dimension] = steps
    for number, dimension in enumerate(blocked):  # a block's dimension is within the tensor's
        size = levels[order.index(rank + number)].denseSize
        places[dimension] = places[dimension] * size + places[rank + number]
    result = np.zeros(total, values.dtype)
    if total:
        flat = np.ravel_multi_index(tuple(places[:rank]), shape) if rank else np.zeros(1, np.int64)
        result[flat] = values[: len(flat)].reshape(len(flat))
    return result.reshape(shape)


def _descend(
    nodes: NDArray[np.int64], level: Any, most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The next level's nodes: their positions, their parents' number, their coordinates."""
    if level.format == _DENSE:
        counts = np.full(len(nodes), level.denseSize, np.int64)
        begins = nodes * level.denseSize
    elif level.format == _CSR:
        ends = np.asarray(level.arraySegments.values, np.int64)
        begins, counts = ends[nodes], ends[nodes + 1] - ends[nodes]
    else:
        raise ValueError(f"level of format {level.format}")
    if (counts < 0).any() or (begins < 0).any() or counts.sum(dtype=np.float64) > most:
        raise ValueError("a level holds more values than the tensor")
    parents = np.repeat(np.arange(len(nodes)), counts)
    within = np.arange(len(parents)) - np.repeat(np.cumsum(counts) - counts, counts)
    found = begins[parents] + within
    if level.format == _DENSE:
        return found, parents, within
    return found, parents, np.asarray(level.arrayIndices.values, np.int64)[found]


def replace_transpose_conv(editor: Editor) -> int:
    """Replace mediapipe's custom transposed convolution with a bias by the builtin operator.

    Only mediapipe can run it; newer versions of the builtin one compute the same. Its options are
    those of `TfLiteTransposeConvParams`: the padding and both strides.
    """
    done = 0
    for operator in editor.of_kind(_CUSTOM_TRANSPOSE_CONV):
        inputs, outputs = editor.inputs(operator), editor.outputs(operator)
        shape = editor.shape(outputs[0])
        raw = np.asarray([] if operator.customOptions is None else operator.customOptions, np.uint8)
        if len(inputs) != 3 or shape is None or raw.size < 12:
            continue
        padding, width, height = raw[:12].view("<i4")
        options = flatbuffer.schema().TransposeConvOptionsT()
        options.padding = int(padding) - 1  # the runtime counts from 1, the file from 0
        options.strideW, options.strideH = int(width), int(height)
        size = editor.new_constant("output_shape", np.array(shape, np.int32))
        given = (size, inputs[1], inputs[0], inputs[2])
        behind = editor.operators[editor.operators.index(operator) + 1 :]
        editor.remove(operator)
        editor.insert(
            behind[0] if behind else None,
            "TRANSPOSE_CONV", given, outputs, options=options, version=3,
        )  # fmt: skip
        done += 1
    return done
