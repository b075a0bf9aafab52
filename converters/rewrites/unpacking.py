"""Weights that a file stores as FP16 become float32 constants."""

from __future__ import annotations

import numpy as np

from edgeq.converters.rewrites.editor import Editor


def unpack_half(editor: Editor) -> int:
    """Fold each DEQUANTIZE of FP16 constants: exact, every FP16 value is a float32 value."""
    done = 0
    for operator in editor.of_kind("DEQUANTIZE"):
        (packed,), (result,) = editor.inputs(operator), editor.outputs(operator)
        values = editor.value(packed)
        if values is not None and values.dtype == np.float16:
            made = editor.new_constant(editor.tensor_name(packed), values.astype(np.float32))
            done += editor.replace(result, made)
    return done
