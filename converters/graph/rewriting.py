"""Rewrites of a lowered float model that keep its function and help the quantizer."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeq.tflite import flatbuffer

_STABLEHLO_FLAG = b"keep_stablehlo_constant"


def replace_half_used_splits(tree: Any) -> int:
    """Replace each SPLIT with unread parts by one SLICE for each part that is read.

    TensorFlow Lite's quantizer gives an unread part no parameters, and then, in some runs and not
    in others, leaves the whole SPLIT in float. The first step of an unrolled LSTM is such a case:
    the forget gate has nothing to forget yet.

    Args:
        tree: changed in place.

    Returns:
        How many were replaced.
    """
    replaced = 0
    for graph in tree.subgraphs:
        read = {index for op in graph.operators for index in flatbuffer.indices(op.inputs)}
        read |= set(flatbuffer.indices(graph.outputs))
        operators: list[Any] = []
        for operator in graph.operators:
            slices = _slices(tree, graph, operator, read)
            replaced += slices is not None
            operators += [operator] if slices is None else slices
        graph.operators = operators
    return replaced


def _slices(tree: Any, graph: Any, operator: Any, read: set[int]) -> list[Any] | None:
    """The operators that replace a half used SPLIT; None for other operators."""
    if flatbuffer.operator_name(tree, operator) != "SPLIT":
        return None
    parts = flatbuffer.indices(operator.outputs)
    axis_index, whole = flatbuffer.indices(operator.inputs)
    axis_tensor = graph.tensors[axis_index]
    if all(part in read for part in parts) or not flatbuffer.is_constant(tree, axis_tensor):
        return None
    shape = flatbuffer.indices(graph.tensors[parts[0]].shape)
    axis = int(flatbuffer.constant(tree, axis_tensor).reshape(-1)[0]) % len(shape)
    slices = []
    for number, part in enumerate(parts):
        if part in read:
            begin, sizes = np.zeros(len(shape), np.int32), np.full(len(shape), -1, np.int32)
            begin[axis], sizes[axis] = number * shape[axis], shape[axis]
            stem = flatbuffer.tensor_name(graph, part)
            inputs = [
                whole,
                flatbuffer.add_constant(tree, graph, f"{stem}/begin", begin),
                flatbuffer.add_constant(tree, graph, f"{stem}/size", sizes),
            ]
            options = flatbuffer.schema().SliceOptionsT()
            slices.append(flatbuffer.make_operator(tree, "SLICE", inputs, [part], options=options))
    return slices


def drop_stored_results(tree: Any) -> int:
    """Remove operators whose results are stored too: onnx2tf leaves such arithmetic on shapes.

    The comparison with the source would find a stored value that is not the computed one.

    Args:
        tree: changed in place.

    Returns:
        How many operators were removed.
    """
    removed = 0
    for graph in tree.subgraphs:
        stored = {i for i, item in enumerate(graph.tensors) if flatbuffer.is_constant(tree, item)}
        kept = [
            operator
            for operator in graph.operators
            if not stored.intersection(flatbuffer.indices(operator.outputs))
        ]
        removed += len(graph.operators) - len(kept)
        graph.operators = kept
    return removed


def drop_stablehlo_flag(content: bytes) -> bytes:
    """The model without the metadata entry by which litert-torch's files mark their constants.

    With it TensorFlow's quantizer takes weights for StableHLO constants, and leaves every
    convolution and fully connected operator in float.
    """
    if _STABLEHLO_FLAG not in content:
        return content
    tree = flatbuffer.parse(content, "the model to quantize")
    tree.metadata = [
        entry
        for entry in tree.metadata or ()
        if flatbuffer.text(entry.name).encode() != _STABLEHLO_FLAG
    ]
    return flatbuffer.serialize(tree)
