"""Train fmnist_mobilenet.keras, a small MobileNetV2 that takes pixels divided by 255.

python -m edgeq.models.train_mobilenet --fashion-mnist DIR
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from edgeq.models.data import Pixels
from edgeq.models.training import CLASS_COUNT, Recipe, run

_EXPANSION = 4
_BLOCKS = ((16, 1), (16, 1), (32, 2), (32, 1), (32, 1))  # channels, stride


def build(width: int = 1) -> keras.Model:
    """A stem, five inverted residual blocks and a head; float32 [N, 28, 28, 1] of 0..1.

    Args:
        width: factor on the blocks' channels.
    """
    image = keras.Input((28, 28, 1), name="image")
    x = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False)(image)
    x = _activate(x)
    for channels, stride in _BLOCKS:
        x = _add_block(x, width * channels, stride)
    x = layers.Conv2D(128, 1, use_bias=False)(x)
    x = _activate(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(CLASS_COUNT, activation="softmax", name="class")(x)
    return keras.Model(image, x, name="fmnist_mobilenet")


def prepare(images: Pixels) -> NDArray[np.float32]:
    """Scale pixels to 0..1, which the model leaves to its user."""
    scaled: NDArray[np.float32] = images * np.float32(1 / 255)
    return scaled


def _add_block(x: keras.KerasTensor, channels: int, stride: int) -> keras.KerasTensor:
    """Expand, filter each channel, project; and add the input where shapes allow."""
    entry = x
    x = layers.Conv2D(_EXPANSION * x.shape[-1], 1, use_bias=False)(x)
    x = _activate(x)
    x = layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False)(x)
    x = _activate(x)
    x = layers.Conv2D(channels, 1, use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    return layers.Add()([entry, x]) if entry.shape == x.shape else x


def _activate(x: keras.KerasTensor) -> keras.KerasTensor:
    return layers.ReLU(6.0)(layers.BatchNormalization()(x))


RECIPE = Recipe("fmnist_mobilenet.keras", build, prepare, epochs=8, learning_rate=5e-3)

if __name__ == "__main__":
    run(RECIPE)
