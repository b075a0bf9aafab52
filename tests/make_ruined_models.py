"""Keras models that plain INT8 ruins in one part each, and models that it does not.

    python make_ruined_models.py FOLDER      writes ruined/NAME.keras and sound/NAME.keras

Weights are random; what is ruined follows from ranges alone. Inputs are normal numbers.
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


def vector(make: Callable[[Any], Any]) -> Any:
    return network(make, (16,))


def image(make: Callable[[Any], Any]) -> Any:
    return network(make, (8, 8, 3))


def series(make: Callable[[Any], Any]) -> Any:
    return network(make, (12, 4))


def network(make: Callable[[Any], Any], shape: Sequence[int]) -> Any:
    keras.utils.set_random_seed(1)
    source = keras.Input(shape, name="x")
    return keras.Model(source, make(source))


def body(values: Any) -> Any:
    hidden = layers.Dense(64, activation="relu")(values)
    return layers.Dense(32, activation="relu")(hidden)


def dense(
    values: Any, scales: Any, offsets: Any = 0.0, count: int | None = None, name: str | None = None
) -> Any:
    """Outputs of these scales around these offsets."""
    scales = np.broadcast_to(scales, count or np.size(scales))
    layer = layers.Dense(len(scales), name=name)
    made = layer(values)
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel * scales, bias + offsets])
    return made


def join(*parts: Any) -> Any:
    return layers.Concatenate()(list(parts))


def sigmoid(values: Any) -> Any:
    return layers.Activation("sigmoid")(values)


def convolve(values: Any, count: int, size: int = 3, **more: Any) -> Any:
    return layers.Conv2D(count, size, padding="same", **more)(values)


def detect(values: Any) -> Any:
    features = convolve(values, 16, activation="relu")
    boxes = layers.Rescaling(640.0)(convolve(features, 4, 1, activation="sigmoid"))
    return join(boxes, convolve(features, 3, 1, activation="sigmoid"))


def three(values: Any) -> Any:
    hidden = body(values)
    scores = layers.Dense(5, activation="softmax", name="c")(hidden)
    return [layers.Dense(4, name="a")(hidden), dense(hidden, [1, 1], 2000.0, name="b"), scores]


def some_steps(count: int, step: int) -> Any:
    factors = np.ones((count, 1), np.float32)
    factors[step] = 0.001
    return factors


RUINED: dict[str, Callable[[], Any]] = {
    "scores beside boxes": lambda: vector(
        lambda x: join(layers.Rescaling(640.0)(sigmoid(dense(body(x), 1, 0, 4))),
                       sigmoid(dense(body(x), 1, 0, 3)))),
    "scores of anchors": lambda: image(
        lambda x: layers.Permute((2, 1))(layers.Reshape((64, 7))(detect(x)))),
    "an offset": lambda: vector(
        lambda x: dense(layers.Dense(16, activation="tanh")(x), [1], 1000.0)),
    "offsets": lambda: vector(lambda x: dense(body(x), [1, 1, 1], [500.0, 0, -300.0])),
    "one of eight": lambda: vector(lambda x: dense(body(x), [1, 1, 1, 0.002, 1, 1, 1, 1])),
    "one time step": lambda: vector(
        lambda x: layers.Reshape((6, 4))(dense(body(x), 1, 0, 24)) * some_steps(6, 3)),
    "one step of a series": lambda: series(
        lambda x: layers.Dense(4)(layers.Conv1D(16, 3, padding="same", activation="relu")(x))
        * some_steps(12, 7)),
    "one keypoint": lambda: vector(
        lambda x: layers.Reshape((8, 2))(dense(body(x), [100.0] * 14 + [0.1] * 2))),
    "one of three outputs": lambda: vector(three),
    "deviation beside mean": lambda: vector(
        lambda x: join(dense(body(x), [300.0]), layers.Dense(1, activation="softplus")(body(x)))),
    "masks beside depth": lambda: image(
        lambda x: join(layers.Rescaling(1000.0)(convolve(x, 1)),
                       convolve(x, 2, activation="sigmoid"))),
    "the middle of a stack": lambda: vector(
        lambda x: keras.ops.stack(
            [dense(body(x), 500.0, 0, 4), dense(body(x), 1, 0, 4), dense(body(x), 400.0, 0, 4)],
            axis=1)),
}  # fmt: skip

SOUND: dict[str, Callable[[], Any]] = {
    "1,000 classes": lambda: vector(lambda x: layers.Softmax()(dense(body(x), 40, 0, 1000))),
    "rare classes": lambda: vector(
        lambda x: layers.Softmax()(dense(body(x), 5, [0.0] * 15 + [-6.0] * 5, 20))),
    "logits of 1,000 classes": lambda: vector(
        lambda x: dense(body(x), np.exp(RNG.normal(0, 0.3, 1000)))),
    "features": lambda: vector(
        lambda x: layers.ReLU()(dense(
            body(x), np.exp(RNG.normal(0, 0.7, 512)), RNG.normal(-1, 1, 512)))),
    "labels that go together": lambda: vector(
        lambda x: sigmoid(dense(body(x), 3, RNG.normal(-3, 2, 40), 40))),
    "numbers of like size": lambda: vector(lambda x: dense(body(x), [1, 0.6, 2, 1.5, 0.8, 3])),
    "tanh of unlike size": lambda: vector(
        lambda x: layers.Activation("tanh")(dense(body(x), [0.2, 0.5, 1, 1, 2, 2, 3, 5]))),
    "sparse heatmap": lambda: image(
        lambda x: sigmoid(convolve(convolve(x, 8, activation="relu"), 4) * 3.0 - 6.0)),
    "sparse map without a sigmoid": lambda: image(
        lambda x: layers.ReLU()(convolve(convolve(x, 8, activation="relu"), 4) * 2.0 - 2.0)),
    "background of zeros": lambda: image(
        lambda x: join(layers.ReLU()(convolve(x, 2)), layers.ReLU()(convolve(x, 1, 1) - 50.0))),
    "series": lambda: series(
        lambda x: layers.Dense(5)(layers.Conv1D(16, 3, padding="same", activation="relu")(x))),
    "two outputs": lambda: vector(
        lambda x: [layers.Dense(3)(body(x)), layers.Rescaling(500.0)(layers.Dense(2)(body(x)))]),
}  # fmt: skip


if __name__ == "__main__":
    for kind, models in (("ruined", RUINED), ("sound", SOUND)):
        folder = Path(sys.argv[1]) / kind
        folder.mkdir(parents=True)
        for title, make_model in models.items():
            make_model().save(folder / f"{title.replace(' ', '-').replace(',', '')}.keras")
