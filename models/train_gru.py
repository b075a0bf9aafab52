"""Train fmnist_gru.keras, a recurrent model that reads an image row by row.

python -m edgeq.models.train_gru --fashion-mnist DIR
"""

from __future__ import annotations

import keras
from keras import layers

from edgeq.models.data import drop_channel
from edgeq.models.training import CLASS_COUNT, Recipe, run


def build() -> keras.Model:
    """A GRU over 28 steps of 28 values; float32 [N, 28, 28] of 0..255."""
    return keras.Sequential(
        [
            keras.Input((28, 28), name="rows"),
            layers.Rescaling(1 / 255),
            layers.GRU(64),
            layers.Dense(CLASS_COUNT, activation="softmax", name="class"),
        ],
        name="fmnist_gru",
    )


RECIPE = Recipe("fmnist_gru.keras", build, drop_channel, epochs=10, learning_rate=4e-3)

if __name__ == "__main__":
    run(RECIPE)
