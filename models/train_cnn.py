"""Train fmnist_cnn.keras, a plain CNN that takes raw pixels: `Rescaling` is its first layer.

python -m edgeq.models.train_cnn --fashion-mnist DIR
"""

from __future__ import annotations

import keras
from keras import layers

from edgeq.models.data import Pixels
from edgeq.models.training import CLASS_COUNT, Recipe, run


def build() -> keras.Model:
    """Three convolutions and two dense layers; float32 [N, 28, 28, 1] of 0..255."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1), name="image"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.2),
            layers.Dense(64, activation="relu"),
            layers.Dense(CLASS_COUNT, activation="softmax", name="class"),
        ],
        name="fmnist_cnn",
    )


def prepare(images: Pixels) -> Pixels:
    """Leave the images as they are."""
    return images


RECIPE = Recipe("fmnist_cnn.keras", build, prepare, epochs=10)

if __name__ == "__main__":
    run(RECIPE)
