"""Keras models with recurrent layers, their samples and their outputs.

    python make_recurrent_models.py FOLDER

For each model it writes NAME.keras, NAME.npz to calibrate with, and NAME-truth.npz: other samples
(in_NAME) and what Keras computes from them (out_NUMBER). "stateful" has no truth.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
import keras
import numpy as np

layers = keras.layers
RNG = np.random.default_rng(0)
STEPS, FEATURES, MARK = 6, 3, -999.0
SHAPE = (STEPS, FEATURES)


def chain(*own: Any, shape: Sequence[int] = SHAPE) -> Any:
    return keras.Sequential([keras.Input(shape, name="x"), *own, layers.Dense(2)])


def stateful() -> Any:
    entry = keras.Input(SHAPE, batch_size=1, name="x")
    return keras.Model(entry, layers.Dense(2)(layers.LSTM(4, stateful=True, name="memory")(entry)))


def states_returned() -> Any:
    entry = keras.Input(SHAPE, name="x")
    found, hidden, cell = layers.LSTM(5, return_state=True)(entry)
    return keras.Model(entry, [layers.Dense(2)(found), hidden, cell])


def states_given() -> Any:
    """Its states as inputs and outputs, as a stream of steps needs them."""
    entry = keras.Input((1, FEATURES), name="x")
    hidden, cell = (keras.Input((5,), name=name) for name in ("hidden", "cell"))
    made = layers.LSTM(5, return_state=True)(entry, initial_state=[hidden, cell])
    return keras.Model([entry, hidden, cell], [layers.Dense(2)(made[0]), *made[1:]])


def steps(count: int) -> dict[str, Any]:
    return {"x": RNG.normal(0, 1, (count, *SHAPE))}


def masked_steps(count: int) -> dict[str, Any]:
    values, lengths = steps(count)["x"], RNG.integers(2, STEPS + 1, count)
    values[np.arange(STEPS) >= lengths[:, np.newaxis]] = MARK
    return {"x": values}


def stream(count: int) -> dict[str, Any]:
    states = {name: RNG.uniform(-0.7, 0.7, (count, 5)) for name in ("hidden", "cell")}
    return {"x": RNG.normal(0, 1, (count, 1, FEATURES)), **states}


CELLS = (layers.LSTMCell, layers.GRUCell)
MODELS: dict[str, tuple[Callable[[], Any], Callable[[int], dict[str, Any]]]] = {
    "masked-lstm": (lambda: chain(layers.Masking(MARK), layers.LSTM(5)), masked_steps),
    "masked-two-way": (
        lambda: chain(layers.Masking(MARK), layers.Bidirectional(layers.GRU(5))),
        masked_steps,
    ),
    "states-returned": (states_returned, steps),
    "states-given": (states_given, stream),
    "stacked-cells": (lambda: chain(layers.RNN([make(5) for make in CELLS])), steps),
    "reset-before": (lambda: chain(layers.GRU(5, reset_after=False)), steps),
    "dropout": (
        lambda: chain(
            layers.GRU(5, dropout=0.3, recurrent_dropout=0.3, return_sequences=True),
            layers.SimpleRNN(5, dropout=0.2),
        ),
        steps,
    ),
    "stateful": (stateful, steps),
}


def main(folder: Path) -> None:
    for name, (build, draw) in MODELS.items():
        keras.utils.set_random_seed(1)
        model = build()
        model.save(folder / f"{name}.keras")
        samples, held = ({k: np.float32(v) for k, v in draw(n).items()} for n in (120, 40))
        np.savez(folder / f"{name}.npz", **samples)
        if name == "stateful":
            continue
        found = model(list(held.values()) if len(held) > 1 else held["x"])
        outputs = found if isinstance(found, list) else [found]
        truth = {f"out_{number}": np.asarray(value) for number, value in enumerate(outputs)}
        inputs = {f"in_{key}": value for key, value in held.items()}
        np.savez(folder / f"{name}-truth.npz", **inputs, **truth)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
