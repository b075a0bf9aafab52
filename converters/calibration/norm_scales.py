"""Operators that give the channels around a normalization other units: a MUL by constants.

A normalization mixes the channels of its input in their mean and their variance, so a factor on
them has to be taken back before. And gamma, which could give its result any factor, is often part
of the layers behind it. So two places get a MUL with one constant for each channel: before a
normalization, and behind it where gamma is missing. The writer computes both in INT16, like the
normalization itself. Each costs time, so only those with a use are inserted.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from edgeq.converters.rewrites.editor import Editor
from edgeq.converters.rewrites.normalization import Written, each_written
from edgeq.tflite import flatbuffer

# Ends of the names of the tensors that the two kinds of MUL make.
_BEFORE, _BEHIND = "/restored", "/balanced"


def open_norms(tree: Any, names: Collection[str] | None = None) -> dict[int, int]:
    """Insert a MUL by ones wherever channels around normalizations may get other units.

    Args:
        tree: the float model, changed in place.
        names: of the tensors that these operators make, to insert; None for all.

    Returns:
        Tensor that a MUL makes to the tensor that it reads.
    """
    editor = Editor(tree)
    made: dict[int, int] = {}
    for norm in list(each_written(editor)):
        (normalized,) = editor.outputs(norm.scaling)
        if not norm.has_gamma and normalized not in editor.model_outputs:
            made |= _insert(editor, normalized, _BEHIND, editor.readers(normalized), names)
        if not norm.is_prescaled:
            made |= _insert(editor, norm.source, _BEFORE, _entries(editor, norm), names)
    return made


def _entries(editor: Editor, norm: Written) -> list[Any]:
    return [operator for operator in norm.operators if norm.source in editor.inputs(operator)]


def _insert(
    editor: Editor, index: int, end: str, readers: list[Any], names: Collection[str] | None
) -> dict[int, int]:
    # A name for each place, with an operator or without: several tensors may have one name.
    shape, name = editor.shape(index), editor.fresh_name(f"{editor.tensor_name(index)}{end}")
    if not shape or not readers or (names is not None and name not in names):
        return {}
    made = editor.new_like(index)
    editor.graph.tensors[made].name = name
    ones = editor.new_constant(f"{name}_by", np.ones(shape[-1], np.float32))
    first = min(readers, key=editor.operators.index)
    options = flatbuffer.schema().MulOptionsT()
    editor.insert(first, "MUL", [index, ones], [made], options=options)
    for reader in readers:
        editor.replace_input(reader, index, made)
    return {made: index}
