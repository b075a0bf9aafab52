"""Train scenes_unet.keras, which gives each pixel of a scene a garment's class; raw pixels.

python -m edgeq.models.train_unet --fashion-mnist DIR

The network is that of Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image
Segmentation" (2015), with few channels; the way down starts as the trained detector.
"""

from __future__ import annotations

import keras
from keras import layers

from edgeq.models.scene_training import SceneRecipe, convolve, run, start_from_detector
from edgeq.models.training import CLASS_COUNT


def build() -> keras.Model:
    """The detector's convolutions down, others up, and a softmax; float32 [N, 64, 64, 3] of 0..255.

    The levels are half, a quarter and an eighth of the image's size.
    """
    entry, (half, _, quarter, *_, x) = start_from_detector()
    for passed, channels in ((quarter, 32), (half, 16)):
        x = layers.Conv2DTranspose(channels, 2, 2)(x)
        x = convolve(layers.Concatenate()([x, passed]), channels, 1, f"up{x.shape[1]}")
    x = layers.Conv2DTranspose(1 + CLASS_COUNT, 2, 2)(x)
    return keras.Model(entry, layers.Softmax(name="classes")(x), name="scenes_unet")


RECIPE = SceneRecipe(
    "scenes_unet.keras",
    build,
    lambda scene: scene.mask,
    "sparse_categorical_crossentropy",
    label=lambda scene: scene.mask,
    metric="miou",
    epochs=3,
)

if __name__ == "__main__":
    run(RECIPE)
