"""Train fmnist_vit.keras, a small vision transformer that takes raw pixels.

python -m edgeq.models.train_vit --fashion-mnist DIR

It normalizes before each part of a block (Dosovitskiy et al., "An Image is Worth 16x16 Words",
2021) and takes the mean over the patches where the paper has a class token.
"""

from __future__ import annotations

import keras
from keras import layers

from edgeq.models.train_cnn import prepare
from edgeq.models.training import CLASS_COUNT, Recipe, run

_PATCH = 4  # pixels
_WIDTH, _HEADS, _BLOCKS = 48, 4, 4
_EPSILON = 1e-6


def build() -> keras.Model:
    """Four blocks of attention and GELU over 49 patches; float32 [N, 28, 28, 1] of 0..255."""
    entry = keras.Input((28, 28, 1), name="image")
    x = layers.Rescaling(1 / 255)(entry)
    x = layers.Conv2D(_WIDTH, _PATCH, _PATCH, name="patches")(x)
    x = layers.Reshape((-1, _WIDTH))(x)
    # A bias for each patch and channel is the learned embedding of positions.
    x = layers.EinsumDense("abc,cd->abd", (x.shape[1], _WIDTH), bias_axes="bd",
                           bias_initializer="random_normal", name="positions")(x)  # fmt: skip
    for _ in range(_BLOCKS):
        normal = layers.LayerNormalization(epsilon=_EPSILON)(x)
        x = layers.Add()([x, layers.MultiHeadAttention(_HEADS, _WIDTH // _HEADS)(normal, normal)])
        normal = layers.LayerNormalization(epsilon=_EPSILON)(x)
        inner = layers.Dense(2 * _WIDTH, activation="gelu")(normal)
        x = layers.Add()([x, layers.Dense(_WIDTH)(inner)])
    x = layers.LayerNormalization(epsilon=_EPSILON)(x)
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(entry, layers.Dense(CLASS_COUNT, activation="softmax", name="class")(x),
                       name="fmnist_vit")  # fmt: skip


RECIPE = Recipe("fmnist_vit.keras", build, prepare, epochs=6, learning_rate=2e-3)

if __name__ == "__main__":
    run(RECIPE)
