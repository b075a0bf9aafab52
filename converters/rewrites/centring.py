"""A layer whose result is only used without its mean computes it without its mean.

Exact: the mean over the output channels of `W x + b` is `mean(W) x + mean(b)`, so it can be
subtracted from the weights and the bias.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeq.converters.rewrites.editor import Editor
from edgeq.converters.rewrites.functions import reduced_axes

# Layers with one filter for each output channel, counted by the first axis.
_LAYERS = ("CONV_2D", "FULLY_CONNECTED")


def fold_means(editor: Editor) -> int:
    """Remove the mean over the channels that normalizations subtract from a layer's result."""
    done = 0
    for operator in editor.of_kind("SUB"):
        whole, mean = editor.inputs(operator)
        layer = editor.producer(whole)
        if (
            editor.kind(layer) in _LAYERS
            and not editor.activation(layer)
            and not editor.activation(operator)
            and _is_mean(editor, mean, whole, operator)
            and _centre(editor, layer)
        ):
            done += editor.replace(editor.outputs(operator)[0], whole)
    return done


def _is_mean(editor: Editor, mean: int, whole: int, operator: Any) -> bool:
    """Whether a tensor is the mean over the last axis of another one, which has no other use."""
    reduction, shape = editor.producer(mean), editor.shape(whole)
    if reduction is None or editor.kind(reduction) != "MEAN" or not shape:
        return False
    if editor.inputs(reduction)[0] != whole:
        return False
    readers = {id(reader) for reader in editor.readers(whole)} | {id(reduction), id(operator)}
    return (
        len(readers) == 2
        and whole not in editor.model_outputs
        and bool(reduction.builtinOptions.keepDims)
        and reduced_axes(editor, reduction) == (len(shape) - 1,)
    )


def _centre(editor: Editor, layer: Any) -> bool:
    """Subtract the mean from a layer's weights and bias; False if they are not constants."""
    inputs = list(editor.inputs(layer))
    data, weights = editor.shape(inputs[0]), editor.shape(inputs[1])
    if editor.kind(layer) == "CONV_2D" and (data is None or weights is None
                                            or data[-1] != weights[-1]):  # fmt: skip
        return False  # in groups: the mean over all channels depends on all inputs
    for place in range(1, len(inputs)):
        values = editor.value(inputs[place])
        if inputs[place] >= 0 and (values is None or values.dtype != np.float32):
            return False
    for place in range(1, len(inputs)):
        values = editor.value(inputs[place])
        if values is not None:
            exact = values.astype(np.float64)
            name = f"{editor.tensor_name(inputs[place])}/centred"
            made = editor.new_constant(name, (exact - exact.mean(axis=0)).astype(np.float32))
            inputs[place] = made
    editor.set_inputs(layer, inputs)
    return True
