"""A fused LSTM gets the tensors inside of it, so that calibration can give them ranges."""

from __future__ import annotations

import numpy as np

from edgeq.converters.rewrites.editor import Editor
from edgeq.tflite import lstm

_EMPTY = [0]  # shape of tensors that hold parameters only
_COUNT = 5


def add_intermediates(editor: Editor) -> int:
    """Add intermediates to each fused LSTM whose integer form needs the ranges of some.

    These are the gates before layer normalization and the hidden state before a projection. The
    float kernel ignores intermediates.
    """
    done = 0
    for operator in editor.of_kind(lstm.NAME) if editor.number == 0 else ():
        own = lstm.read(editor.tree, operator)
        if own is None or lstm.why_float(editor.tree, operator) is not None:
            continue
        if (own.has_norms or own.projection >= 0) and len(own.sums) < _COUNT - 1:
            stem = f"{editor.tensor_name(own.result)}_intermediate"
            made = [editor.new_tensor(stem, _EMPTY, "float32") for _ in range(_COUNT)]
            operator.intermediates = np.array(made, np.int32)
            done += 1
    return done
