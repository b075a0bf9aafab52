"""Removes the transposition before a reduction, which can take other axes instead.

PyTorch has channels first, so a mean over a picture reads a transposed tensor.
"""

from __future__ import annotations

import numpy as np

from edgeq.converters.rewrites.editor import Editor

_REDUCTIONS = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")


def reduce_before_transposing(editor: Editor) -> int:
    """Let reductions read the operand of a TRANSPOSE if the axes that stay keep their order."""
    done = 0
    for operator in editor.of_kind(*_REDUCTIONS):
        data, axes = editor.inputs(operator)
        before = editor.producer(data)
        if before is None or editor.kind(before) != "TRANSPOSE" or operator.builtinOptions.keepDims:
            continue
        source, order = editor.inputs(before)
        permutation, reduced = editor.value(order), editor.value(axes)
        if permutation is None or reduced is None:
            continue
        gone = np.unique(np.atleast_1d(reduced) % len(permutation))
        if (np.diff(np.delete(permutation, gone)) > 0).all():
            taken = np.sort(permutation[gone]).astype(np.int32)
            editor.set_inputs(operator, [source, editor.new_constant("axes", taken)])
            done += 1
    return done
