"""Masks before a softmax get constants that leave steps for the scores.

An INT8 tensor that holds -1e9, -FLT_MAX or -infinity has one step for everything else.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeq.converters.rewrites.editor import Editor

# In float32 exp(-104) is 0. A mask of -1000 gives 0 as before if the scores of a row differ by less
# than 896. (A row in which everything is masked changes: it becomes the softmax of its scores.)
MASK = 1000.0

_LAYOUT = {"RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS", "BROADCAST_TO", "TILE", "SLICE",
           "STRIDED_SLICE", "CONCATENATION", "PACK", "PAD", "GATHER"}  # fmt: skip
_JOINTS = {"CONCATENATION", "PACK"}
_SELECTS = {"SELECT", "SELECT_V2"}
_JOINING = {"ADD", "SUB", "MAXIMUM", "MINIMUM"}


def soften_masks(editor: Editor) -> int:
    """Replace the large constants of masks before softmaxes by `MASK`.

    Exact if masks are 0 or 1 and the scores of each row, with one value that is not masked, differ
    by less than 896.
    """
    done = 0
    scores = masked_scores(editor)
    for operator in list(editor.operators):
        outputs = editor.outputs(operator)
        if not outputs or outputs[0] not in scores:
            continue
        for place, index in mask_operands(editor, operator):
            values = editor.value(index)
            if values is None or values.dtype != np.float32:
                continue
            low, high = _limits(editor.kind(operator), place)
            milder = np.clip(values, low, high)
            if not np.array_equal(milder, values, equal_nan=True):
                made = editor.new_constant(editor.tensor_name(index), milder)
                inputs = list(editor.inputs(operator))
                inputs[place] = made
                editor.set_inputs(operator, inputs)
                done += 1
    return done


def _limits(kind: str, place: int) -> tuple[float, float]:
    """The limits of a constant operand that hides values."""
    if kind in ("MUL", "MINIMUM"):  # MINIMUM(scores, FLT_MAX) shows a score
        return -MASK, MASK
    return (-np.inf, MASK) if kind == "SUB" and place == 1 else (-MASK, np.inf)


def masked_scores(editor: Editor) -> set[int]:
    """Tensors that only softmaxes read, perhaps after masks were added and values rearranged."""
    found: set[int] = set()
    if not editor.of_kind("SOFTMAX"):
        return found
    for operator in reversed(editor.operators):
        for index in {*editor.inputs(operator), *editor.outputs(operator)} - found:
            readers = editor.readers(index)
            if (
                index >= 0
                and readers
                and index not in editor.model_outputs
                and all(_leads(editor, reader, index, found) for reader in readers)
            ):
                found.add(index)
    return found


def _leads(editor: Editor, reader: Any, index: int, found: set[int]) -> bool:
    """Whether what an operator reads becomes an addend of a softmax's input, or a choice there."""
    kind, inputs = editor.kind(reader), editor.inputs(reader)
    if kind == "SOFTMAX":
        return bool(getattr(reader.builtinOptions, "beta", 0.0) >= 1)
    if editor.outputs(reader)[:1] == () or editor.outputs(reader)[0] not in found:
        return False
    if kind in _LAYOUT:
        return True
    return (kind in _JOINING and not editor.activation(reader)) or (
        kind in _SELECTS and index != inputs[0]
    )


def mask_operands(editor: Editor, operator: Any) -> list[tuple[int, int]]:
    """Place and index of the operands of an operator that may hold a mask's constant."""
    kind, pairs = editor.kind(operator), list(enumerate(editor.inputs(operator)))
    if kind in _JOINING:
        return pairs
    if kind in _SELECTS:
        return pairs[1:]
    if kind == "MUL" and not editor.activation(operator):
        return [(place, index) for place, index in pairs if _is_mask(editor, pairs[1 - place][1])]
    return []


def _is_mask(editor: Editor, index: int, depth: int = 8) -> bool:
    """Whether a tensor holds zeros and ones, or minus ones, judged by how it is made."""
    values, operator = editor.value(index), editor.producer(index)
    if values is not None:
        return bool(np.isin(values, (0, 1)).all())
    if operator is None or depth == 0:
        return index in editor.model_inputs  # nothing else is known of it
    kind, inputs = editor.kind(operator), editor.inputs(operator)
    if kind == "CAST" and editor.dtype(inputs[0]) == "bool":
        return True
    if kind == "SUB":
        ones = [place for place in (0, 1) if editor.scalar(inputs[place]) == 1]
        return bool(ones) and _is_mask(editor, inputs[1 - ones[0]], depth - 1)
    if kind == "MUL" or kind in _JOINTS or kind in _SELECTS:
        parts = inputs[1:] if kind in _SELECTS else inputs
        return all(_is_mask(editor, item, depth - 1) for item in parts)
    return (kind == "CAST" or kind in _LAYOUT) and _is_mask(editor, inputs[0], depth - 1)
