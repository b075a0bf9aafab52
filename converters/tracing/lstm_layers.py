"""Prepares recurrent layers of Keras 3 and tf_keras for tracing: as single steps, or fused LSTMs.

TFLiteConverter fuses the LSTM of a SavedModel of Keras 2 only. While a model is traced, a layer
that can be fused puts a marker in its place, TensorFlow's BlockLSTMV2, which the converter passes
on as a custom operator; `converters.graph.marked_lstm` replaces it.
"""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from edgeq.converters.graph.marked_lstm import MARK
from edgeq.errors import LoweringError

_HOMES = ("keras.", "tf_keras.")
_GPU_KERNEL = "_could_use_gpu_kernel"  # of tf_keras' layers, which then keep their loop


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


@contextlib.contextmanager
def unrolled(layers: Sequence[Any]) -> Iterator[tuple[str, ...]]:
    """Unroll recurrent layers while tracing: TensorFlow Lite's quantizer cannot enter a loop."""
    loops = [layer for layer in layers if getattr(layer, "unroll", None) is False]
    kernels = [layer for layer in loops if getattr(layer, _GPU_KERNEL, False)]
    for layer in loops:
        layer.unroll = True
    for layer in kernels:
        setattr(layer, _GPU_KERNEL, False)
    try:
        yield tuple(layer.name for layer in loops)
    finally:
        for layer in loops:
            layer.unroll = False
        for layer in kernels:
            setattr(layer, _GPU_KERNEL, True)


@contextlib.contextmanager
def without_dropout(layers: Sequence[Any]) -> Iterator[None]:
    """Take the dropout out of recurrent cells: they draw its masks even where they use none."""
    rates = ("dropout", "recurrent_dropout")
    cells = [layer for layer in layers if hasattr(layer, "get_dropout_mask")]
    before = [tuple(getattr(cell, rate) for rate in rates) for cell in cells]
    for cell in cells:
        for rate in rates:
            setattr(cell, rate, 0.0)
    try:
        yield
    finally:
        for cell, own in zip(cells, before, strict=True):
            for rate, value in zip(rates, own, strict=True):
                setattr(cell, rate, value)


def refuse_states(layers: Sequence[Any], path: Path | None = None) -> None:
    """Refuse recurrent layers that keep their states from call to call.

    Args:
        layers: of a model.
        path: of its file; None for a live model.

    Raises:
        LoweringError: there is one; the hint has the code that makes inputs of the states.
    """
    for layer in layers:
        if hasattr(layer, "return_state") and getattr(layer, "stateful", False):
            raise LoweringError(
                f"Layer {layer.name!r} has stateful=True: it keeps its state from call to call, "
                "which a .tflite file of integers cannot do.",
                hint=_exposing(path)
                if type(layer).__module__.startswith("keras.")
                else "Build the model with stateful=False and return_state=True, call the layer "
                "with initial_state=[tf_keras.Input((units,)), ...], and copy the weights.",
            )


def _exposing(path: Path | None) -> str:
    """How to make inputs and outputs of the states of a Keras 3 model."""
    result = "; the application passes them on (docs/tasks/keywords.md)."
    if path is None:
        return f"Convert edgeq.expose_states(model), whose states are inputs and outputs{result}"
    read, made = (
        json.dumps(str(item)) for item in (path, path.with_name(f"{path.stem}_states.keras"))
    )
    load = f"keras.saving.load_model({read})"
    code = f"import edgeq, keras; edgeq.expose_states({load}).save({made})"
    return f"Make its states inputs and outputs{result} Run: python -c {shlex.quote(code)}"
