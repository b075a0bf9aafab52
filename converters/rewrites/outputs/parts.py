"""Give an output that joins values of unlike ranges in parts, each with its own scale.

Boxes in pixels and scores from 0 to 1 in one tensor share one INT8 step, which ruins the scores. So
the operands of the CONCATENATION become outputs, and `JoinedOutput` states how they make the whole
one. A transposition behind it moves in front of it; a reshape keeps the order of the values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeq.converters.rewrites.editor import Editor
from edgeq.tflite import flatbuffer
from edgeq.values import JoinBlock, JoinedOutput

# How often each tensor gives how many of its values, in order.
_Block = tuple[int, tuple[tuple[int, int], ...]]


def split_outputs(content: bytes) -> tuple[bytes, tuple[JoinedOutput, ...]]:
    """Split the outputs of a float model that join parts.

    Returns:
        The model, and its joined outputs; the same bytes and none if no output joins parts.
    """
    tree = flatbuffer.parse(content, "the float model")
    editor = Editor(tree)
    inputs, outputs = flatbuffer.interface(tree)
    names: list[str] = []
    indices: list[int] = []
    joins: list[JoinedOutput] = []
    taken = {spec.name for spec in outputs}
    for spec, index in zip(outputs, flatbuffer.indices(tree.subgraphs[0].outputs), strict=True):
        blocks = _blocks(editor, index) if min(spec.shape[1:], default=0) > 0 else []
        parts = [part for _, items in blocks for part, _ in items]
        if len(parts) < 2 or len(set(parts)) < len(parts) or not _are_computed(editor, parts):
            names.append(spec.name)
            indices.append(index)
            continue
        of = {part: _fresh(f"{spec.name}_part{number}", taken) for number, part in enumerate(parts)}
        names += of.values()
        indices += of
        shown = tuple(JoinBlock(n, tuple((of[p], run) for p, run in items)) for n, items in blocks)
        joins.append(JoinedOutput(spec.name, spec.shape, shown))
    if not joins or len(set(indices)) < len(indices):
        return content, ()
    tree.subgraphs[0].outputs = np.array(indices, np.int32)
    sign(tree, [spec.name for spec in inputs], names)
    editor = Editor(tree)  # it knows the new outputs
    editor.remove_unread()
    return flatbuffer.serialize(tree), tuple(joins)


def _fresh(stem: str, taken: set[str]) -> str:
    name, number = stem, 1
    while name in taken:
        name, number = f"{stem}_{number}", number + 1
    taken.add(name)
    return name


def _are_computed(editor: Editor, parts: Sequence[int]) -> bool:
    return all(
        editor.producer(part) is not None
        and editor.dtype(part) == "float32"
        and part not in editor.model_outputs
        for part in parts
    )


def _size(editor: Editor, index: int) -> int:
    """Values of a tensor for one sample."""
    return math.prod(flatbuffer.indices(editor.tensor(index).shape)[1:])


def _axis(editor: Editor, operator: Any) -> int:
    """The axis along which a CONCATENATION joins; 0 is the batch."""
    rank = len(flatbuffer.indices(editor.tensor(editor.outputs(operator)[0]).shape))
    return int(operator.builtinOptions.axis) % rank


def _blocks(editor: Editor, index: int) -> list[_Block]:
    """The values of a tensor in their order, by the tensors that are joined in it."""
    operator = editor.producer(index)
    alone: list[_Block] = [(1, ((index, _size(editor, index)),))]
    kind = editor.kind(operator)
    if operator is not None and kind == "RESHAPE":
        found = _blocks(editor, editor.inputs(operator)[0])
        return found if len(found) > 1 or len(found[0][1]) > 1 else alone
    pieces = _pieces(editor, index) if kind in ("CONCATENATION", "TRANSPOSE") else None
    if pieces is None:
        return alone
    axis, parts = pieces
    repeat = math.prod(flatbuffer.indices(editor.tensor(index).shape)[1:axis])
    inner = [_blocks(editor, part) for part in parts]
    if repeat == 1:
        return [block for blocks in inner for block in blocks]
    turns: list[tuple[int, int]] = []
    for part, blocks in zip(parts, inner, strict=True):
        is_alike = len(blocks) == 1 and blocks[0][0] == repeat
        turns += blocks[0][1] if is_alike else [(part, _size(editor, part) // repeat)]
    return [(repeat, tuple(turns))]


def _pieces(editor: Editor, index: int) -> tuple[int, list[int]] | None:
    """The axis and the tensors that a tensor joins; operators behind the join move before it."""
    operator = editor.producer(index)
    kind = editor.kind(operator)
    if operator is not None and kind == "CONCATENATION":
        axis = _axis(editor, operator)
        is_plain = axis > 0 and not editor.activation(operator)
        return (axis, list(editor.inputs(operator))) if is_plain else None
    if operator is None or kind not in ("RESHAPE", "TRANSPOSE"):
        return None
    source = editor.inputs(operator)[0]
    moved = editor.value(editor.inputs(operator)[1]) if kind == "TRANSPOSE" else None
    order = [] if moved is None else [int(place) for place in moved]
    found = _pieces(editor, source) if kind == "RESHAPE" or order[:1] == [0] else None
    if found is None:
        return None
    axis, parts = found
    if order:
        return order.index(axis), [_transposed(editor, operator, part, order) for part in parts]
    shape = flatbuffer.indices(editor.tensor(index).shape)
    place = _kept_axis(flatbuffer.indices(editor.tensor(source).shape), shape, axis)
    if place is None:
        return None
    return place, [_reshaped(editor, operator, part, shape, place, axis) for part in parts]


def _kept_axis(before: Sequence[int], after: Sequence[int], axis: int) -> int | None:
    """The axis of a reshaped tensor that another one became; None if it was merged or split."""
    return next(
        (
            place
            for place in range(1, len(after))
            if after[place] == before[axis] and math.prod(after[:place]) == math.prod(before[:axis])
        ),
        None,
    )


def _transposed(editor: Editor, before: Any, part: int, order: Sequence[int]) -> int:
    own = flatbuffer.indices(editor.tensor(part).shape)
    made = editor.new_tensor("transposed_part", [own[place] for place in order], "float32")
    stored = editor.new_constant("order_of_part", np.array(order, np.int32))
    editor.insert(before, "TRANSPOSE", [part, stored], [made])
    return made


def _reshaped(
    editor: Editor, before: Any, part: int, shape: Sequence[int], place: int, axis: int
) -> int:
    count = flatbuffer.indices(editor.tensor(part).shape)[axis]
    sizes = [*shape[:place], count, *shape[place + 1 :]]
    made = editor.new_tensor("reshaped_part", sizes, "float32")
    stored = editor.new_constant("shape_of_part", np.array([-1, *sizes[1:]], np.int32))
    options = flatbuffer.schema().ReshapeOptionsT()
    editor.insert(before, "RESHAPE", [part, stored], [made], options=options)
    return made


def sign(tree: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Name the inputs and outputs in the first signature; tensors keep their names."""
    kit, graph = flatbuffer.schema(), tree.subgraphs[0]
    signature = next((one for one in tree.signatureDefs or () if one.subgraphIndex == 0), None)
    if signature is None:
        signature = kit.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = "serving_default", 0
        tree.signatureDefs = [*(tree.signatureDefs or ()), signature]
    for side, names in (("inputs", inputs), ("outputs", outputs)):
        entries = []
        for index, name in zip(flatbuffer.indices(getattr(graph, side)), names, strict=True):
            entry = kit.TensorMapT()
            entry.name, entry.tensorIndex = name, index
            entries.append(entry)
        setattr(signature, side, entries)
