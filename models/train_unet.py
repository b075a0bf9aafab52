"""Train scenes_unet.keras, which gives each pixel of a scene a garment's class; raw pixels.

python -m edgeq.models.train_unet --fashion-mnist DIR

The network is that of Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image
Segmentation" (2015), with few channels.
"""

from __future__ import annotations

import keras
from keras import layers

from edgeq.models.scene_training import SceneRecipe, convolve, run
from edgeq.models.scenes import SIZE
from edgeq.models.training import CLASS_COUNT

_CHANNELS = (16, 32)


def build() -> keras.Model:
    """Levels of half, a quarter and an eighth of the size, and a softmax; float32 [N, 64, 64, 3].

    The values of a pixel are 0..255.
    """
    entry = keras.Input((SIZE, SIZE, 3), name="image")
    x = convolve(layers.Rescaling(1 / 255)(entry), _CHANNELS[0], stride=2)
    passed = []
    for channels in _CHANNELS:
        x = convolve(x, channels)
        passed.append(x)
        x = layers.MaxPooling2D()(x)
    x = convolve(convolve(x, 64), 64)
    for channels in reversed(_CHANNELS):
        x = layers.Conv2DTranspose(channels, 2, 2)(x)
        x = convolve(layers.Concatenate()([x, passed.pop()]), channels)
    x = layers.Conv2DTranspose(1 + CLASS_COUNT, 2, 2)(x)
    return keras.Model(entry, layers.Softmax(name="classes")(x), name="scenes_unet")


RECIPE = SceneRecipe(
    "scenes_unet.keras",
    build,
    lambda scene: scene.mask,
    "sparse_categorical_crossentropy",
    label=lambda scene: scene.mask,
    metric="miou",
    epochs=6,
)

if __name__ == "__main__":
    run(RECIPE)
