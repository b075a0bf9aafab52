"""Prepares recurrent layers of Keras 3 and tf_keras for tracing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from edgeq.errors import LoweringError

_GPU_KERNEL = "_could_use_gpu_kernel"  # of tf_keras' layers, which then keep their loop


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


def refuse_states(layers: Sequence[Any]) -> None:
    """Refuse recurrent layers that keep their states from call to call.

    Raises:
        LoweringError: there is one.
    """
    for layer in layers:
        if hasattr(layer, "return_state") and getattr(layer, "stateful", False):
            raise LoweringError(
                f"Layer {layer.name!r} has stateful=True: it keeps its state from call to call, "
                "which a .tflite file of integers cannot do.",
                hint="Make its states inputs and outputs: build the model with stateful=False and "
                "return_state=True, call the layer with initial_state=[keras.Input((units,)), "
                "...], copy the weights with set_weights, and let the application pass them on.",
            )
