"""Train scenes_weight.keras, which weighs the garments in a scene: about 1,013 kg; raw pixels.

python -m edgeq.models.train_weight --fashion-mnist DIR

The weights vary by a thousandth of their mean, which the bias of the last layer has. Training
starts with the convolutions of the trained detector.
"""

from __future__ import annotations

import keras
from keras import layers

from edgeq.models.scene_training import SceneRecipe, run, start_from_detector

_TYPICAL = 1013.0  # kg


def build() -> keras.Model:
    """The detector's convolutions and two dense layers; float32 [N, 64, 64, 3] of 0..255."""
    entry, (*_, x) = start_from_detector()
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(64, activation="relu")(x)
    offset = keras.initializers.Constant(_TYPICAL)
    weight = layers.Dense(1, bias_initializer=offset, name="weight")(x)
    return keras.Model(entry, weight, name="scenes_weight")


RECIPE = SceneRecipe(
    "scenes_weight.keras",
    build,
    lambda scene: [scene.weight],
    "mean_squared_error",
    label=lambda scene: scene.weight,
    metric="r2",
    epochs=3,
)

if __name__ == "__main__":
    run(RECIPE)
