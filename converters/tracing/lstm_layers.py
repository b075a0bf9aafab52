"""LSTM layers of Keras 3 and tf_keras that become one fused operator instead of single steps.

TFLiteConverter fuses the LSTM of a SavedModel of Keras 2 only. While a model is traced, a layer
that can be fused puts a marker in its place, TensorFlow's BlockLSTMV2, which the converter passes
on as a custom operator; `converters.graph.marked_lstm` replaces it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgeq.converters.graph.marked_lstm import MARK

_HOMES = ("keras.", "tf_keras.")


@contextlib.contextmanager
def marked(layers: Sequence[Any]) -> Iterator[list[str]]:
    """Let the LSTM layers that can be fused trace as markers.

    Yields:
        A list that receives the names of the layers that did.
    """
    names: list[str] = []
    own = [layer for layer in layers if is_fusable(layer)]
    for layer in own:
        layer.call = _marking_call(layer, names)
    try:
        yield names
    finally:
        for layer in own:
            del layer.call


def is_fusable(layer: Any) -> bool:
    """Whether a layer computes what the operator does: zero states, tanh, sigmoid, no state out."""
    kind = type(layer)
    if kind.__name__ != "LSTM" or not kind.__module__.startswith(_HOMES):
        return False
    plain = not (layer.stateful or layer.return_state or layer.unroll)
    plain = plain and not getattr(layer, "time_major", False)
    activations = [
        getattr(item, "__name__", "") for item in (layer.activation, layer.recurrent_activation)
    ]
    return plain and activations == ["tanh", "sigmoid"]


def _marking_call(layer: Any, names: list[str]) -> Any:
    """A `call` that leaves a marker, or unrolls for a mask, a given state or a dynamic shape."""
    original, cell = layer.call, layer.cell
    kernel, recurrent = _values(cell.kernel), _values(cell.recurrent_kernel)
    bias = _values(cell.bias) if cell.use_bias else np.zeros(4 * layer.units, np.float32)

    def call(sequences: Any, *args: Any, **options: Any) -> Any:
        given = (options.get("mask"), options.get("initial_state"), *args)
        if any(item is not None for item in given) or not sequences.shape.is_fully_defined():
            return original(sequences, *args, **options)
        names.append(layer.name)
        steps = tf.cast(sequences, tf.float32)
        steps = tf.reverse(steps, [1]) if layer.go_backwards else steps
        state, peephole = tf.zeros([1, layer.units]), tf.zeros([layer.units])
        # The operator expects the steps first; the order does not change the shapes.
        result = tf.raw_ops.BlockLSTMV2(
            seq_len_max=tf.constant(MARK, tf.int64),
            x=steps,
            cs_prev=state,
            h_prev=state,
            w=tf.constant(np.concatenate([kernel, recurrent])),
            wci=peephole,
            wcf=peephole,
            wco=peephole,
            b=tf.constant(bias),
        ).h
        result = tf.cast(result, layer.compute_dtype)
        return result if layer.return_sequences else result[:, -1]

    return call


def _values(weight: Any) -> Any:
    return np.asarray(weight).astype(np.float32)
