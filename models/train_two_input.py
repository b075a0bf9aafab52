"""Train fmnist_two_input.keras, which takes the upper and the lower half of an image apart.

python -m edgeq.models.train_two_input --fashion-mnist DIR
"""

from __future__ import annotations

import keras
from keras import layers

from edgeq.models.data import Pixels, split_halves
from edgeq.models.training import CLASS_COUNT, Recipe, run


def build() -> keras.Model:
    """Two unlike branches, joined; both inputs float32 [N, 14, 28, 1] of 0..255."""
    upper = keras.Input((14, 28, 1), name="upper")
    x = layers.Rescaling(1 / 255)(upper)
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(32, 3, padding="same", activation="relu")(x)
    x = layers.MaxPooling2D()(x)

    lower = keras.Input((14, 28, 1), name="lower")
    y = layers.Rescaling(1 / 255)(lower)
    y = layers.Conv2D(24, 5, strides=2, padding="same", activation="relu")(y)
    y = layers.Conv2D(24, 3, strides=2, padding="same", activation="relu")(y)

    z = layers.Concatenate()([layers.Flatten()(x), layers.Flatten()(y)])
    z = layers.Dropout(0.3)(z)
    z = layers.Dense(32, activation="relu")(z)
    z = layers.Dense(CLASS_COUNT, activation="softmax", name="class")(z)
    # Not in alphabetical order, so that tools which sort inputs by name are found out.
    return keras.Model([upper, lower], z, name="fmnist_two_input")


def prepare(images: Pixels) -> list[Pixels]:
    """Cut images in halves: [upper, lower], the order of the model's inputs."""
    halves = split_halves(images)
    return [halves["upper"], halves["lower"]]


RECIPE = Recipe("fmnist_two_input.keras", build, prepare, epochs=10)

if __name__ == "__main__":
    run(RECIPE)
