"""Keras models with recurrent layers, their samples and their outputs.

    python make_recurrent_models.py FOLDER

For each model it writes NAME.keras, NAME.npz to calibrate with, and NAME-truth.npz: other samples
(in_NAME) and what Keras computes from them (out_NUMBER). The samples of "stateful" are one stream.
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
    """It keeps an LSTM's and a GRU's states from call to call."""
    entry = keras.Input((1, FEATURES), batch_size=1, name="x")
    steps = layers.LSTM(6, stateful=True, return_sequences=True, name="memory")(entry)
    return keras.Model(entry, layers.Dense(2)(layers.GRU(5, stateful=True, name="gate")(steps)))


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


def draw(count: int, length: int, peak: float) -> Any:
    return RNG.uniform(-peak, peak, (count, length, FEATURES))


def steps(count: int, peak: float) -> dict[str, Any]:
    return {"x": draw(count, STEPS, peak)}


def masked_steps(count: int, peak: float) -> dict[str, Any]:
    values, lengths = draw(count, STEPS, peak), RNG.integers(2, STEPS + 1, count)
    values[np.arange(STEPS) >= lengths[:, np.newaxis]] = MARK
    return {"x": values}


def one_stream(count: int, peak: float) -> dict[str, Any]:
    return {"x": draw(count, 1, peak)}


def stream(count: int, peak: float) -> dict[str, Any]:
    states = {name: RNG.uniform(-0.4, 0.4, (count, 5)) * peak for name in ("hidden", "cell")}
    return {"x": draw(count, 1, peak), **states}


CELLS = (layers.LSTMCell, layers.GRUCell)
MODELS: dict[str, tuple[Callable[[], Any], Callable[[int, float], dict[str, Any]]]] = {
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
    # Its state grows beyond what the calibration's samples show.
    "relu": (lambda: chain(layers.LSTM(5, activation="relu")), steps),
    "two-way": (lambda: chain(layers.Bidirectional(layers.LSTM(5, return_state=False))), steps),
    "stateful": (stateful, one_stream),
}


def main(folder: Path) -> None:
    for name, (build, samples_of) in MODELS.items():
        keras.utils.set_random_seed(1)
        model = build()
        model.save(folder / f"{name}.keras")
        # Smaller values to check with: no output leaves the range that the calibration saw.
        samples, held = (
            {key: np.float32(value) for key, value in samples_of(count, peak).items()}
            for count, peak in ((150, 2.0), (40, 1.3))
        )
        np.savez(folder / f"{name}.npz", **samples)
        found = model.predict(
            list(held.values()) if len(held) > 1 else held["x"],
            batch_size=1 if name == "stateful" else None,
            verbose=0,
        )
        outputs = found if isinstance(found, list) else [found]
        truth = {f"out_{number}": np.asarray(value) for number, value in enumerate(outputs)}
        inputs = {f"in_{key}": value for key, value in held.items()}
        np.savez(folder / f"{name}-truth.npz", **inputs, **truth)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
