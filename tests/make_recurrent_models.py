"""Keras models with recurrent layers, their samples and their outputs.

    python make_recurrent_models.py FOLDER

For each model it writes NAME.keras, NAME.npz to calibrate with, NAME-any.npz and NAME-inside.npz:
other samples (in_NAME) and the outputs that Keras computes from them (out_NUMBER). Those of
NAME-any.npz are drawn like the ones that calibrate; those of NAME-inside.npz have smaller values,
so that no output leaves the range that calibration saw. The samples of "stateful" are one stream.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
import keras
import numpy as np

layers = keras.layers
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


@dataclass
class Dice:
    """Random samples.

    Attributes:
        gain: of all values; at 1, x is normal with a standard deviation of 1.
    """

    random: np.random.Generator
    gain: float

    def x(self, count: int, length: int) -> Any:
        return self.random.normal(0, self.gain, (count, length, FEATURES))


def steps(dice: Dice, count: int) -> dict[str, Any]:
    return {"x": dice.x(count, STEPS)}


def masked_steps(dice: Dice, count: int) -> dict[str, Any]:
    values, lengths = dice.x(count, STEPS), dice.random.integers(2, STEPS + 1, count)
    values[np.arange(STEPS) >= lengths[:, np.newaxis]] = MARK
    return {"x": values}


def one_stream(dice: Dice, count: int) -> dict[str, Any]:
    return {"x": dice.x(count, 1)}


def stream(dice: Dice, count: int) -> dict[str, Any]:
    states = {
        name: dice.random.uniform(-0.7, 0.7, (count, 5)) * dice.gain for name in ("hidden", "cell")
    }
    return {"x": dice.x(count, 1), **states}


CELLS = (layers.LSTMCell, layers.GRUCell)
MODELS: dict[str, tuple[Callable[[], Any], Callable[[Dice, int], dict[str, Any]]]] = {
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
    dice = Dice(np.random.default_rng(0), 1.0)
    small = Dice(np.random.default_rng(1), 0.7)
    for name, (build, samples_of) in MODELS.items():
        keras.utils.set_random_seed(1)
        model = build()
        model.save(folder / f"{name}.keras")
        for end, own, count in (("", dice, 120), ("-any", dice, 40), ("-inside", small, 40)):
            samples = {key: np.float32(value) for key, value in samples_of(own, count).items()}
            if end:
                samples = run(model, samples, 1 if name == "stateful" else None)
            np.savez(folder / f"{name}{end}.npz", **samples)


def run(model: Any, samples: dict[str, Any], batch_size: int | None) -> dict[str, Any]:
    """Samples and outputs; a stateful layer begins with zeros."""
    for layer in model.layers:
        if getattr(layer, "stateful", False):
            layer.reset_states()
    given = list(samples.values()) if len(samples) > 1 else samples["x"]
    found = model.predict(given, batch_size=batch_size, verbose=0)
    outputs = found if isinstance(found, list) else [found]
    inputs = {f"in_{key}": value for key, value in samples.items()}
    return {
        **inputs,
        **{f"out_{number}": np.asarray(value) for number, value in enumerate(outputs)},
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
