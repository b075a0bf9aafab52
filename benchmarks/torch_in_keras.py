"""Three networks of `torch_nets.py` in Keras, with the weights that PyTorch stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Weights = Mapping[str, np.ndarray]


def build_resnet(stored: Weights) -> Any:
    """Build `ResNet`."""
    import keras
    from keras import layers

    image = keras.Input((96, 96, 3), name="x")
    value = layers.MaxPooling2D()(_convolve(stored, "entry", image))
    for block in range(2):
        inner = _convolve(stored, f"inner.{block}", value)
        outer = _convolution(stored, f"outer.{block}")(inner)
        normal = _normalization(stored, f"norms.{block}")(outer)
        value = layers.ReLU()(layers.Add()([value, normal]))
    return keras.Model(image, _dense(stored)(layers.GlobalAveragePooling2D()(value)))


def build_unet(stored: Weights) -> Any:
    """Build `UNet`."""
    import keras
    from keras import layers

    image = keras.Input((96, 96, 3), name="x")
    kept, value = [], image
    for step in range(2):
        kept.append(_convolve(stored, f"down.{step}", value))
        value = layers.MaxPooling2D()(kept[-1])
    value = _convolve(stored, "bottom", value)
    for step, skipped in enumerate(reversed(kept)):
        kernel, bias = stored[f"up.{step}.weight"], stored[f"up.{step}.bias"]
        up = layers.Conv2DTranspose(len(bias), 2, 2)
        up.build(value.shape)
        up.set_weights([kernel.transpose(2, 3, 1, 0), bias])
        value = _convolve(stored, f"side.{step}", layers.Concatenate()([skipped, up(value)]))
    mask = _convolution(stored, "head", padding="valid")(value)
    return keras.Model(image, [mask, layers.GlobalAveragePooling2D()(mask)])


def build_gru(stored: Weights) -> Any:
    """Build `Recurrent` with a GRU; Keras has the gates z, r, h, and PyTorch r, z, n."""
    import keras
    from keras import layers

    rows = keras.Input((28, 28), name="x")
    cells = stored["recurrent.weight_hh_l0"].shape[1]
    layer = layers.GRU(cells)
    layer.build(rows.shape)

    def reordered(name: str) -> np.ndarray:
        reset, update, new = np.split(stored[f"recurrent.{name}_l0"], 3)
        return np.concatenate([update, reset, new]).T

    biases = np.stack([reordered("bias_ih"), reordered("bias_hh")])
    layer.set_weights([reordered("weight_ih"), reordered("weight_hh"), biases])
    return keras.Model(rows, _dense(stored)(layer(rows)))


BUILT: dict[str, Callable[[Weights], Any]] = {
    "resnet": build_resnet,
    "unet": build_unet,
    "gru": build_gru,
}


def _convolve(stored: Weights, name: str, value: Any) -> Any:
    """Apply a convolution, its normalization and a ReLU."""
    from keras import layers

    value = _normalization(stored, f"{name}.1")(_convolution(stored, f"{name}.0")(value))
    return layers.ReLU()(value)


def _convolution(stored: Weights, name: str, padding: str = "same") -> Any:
    from keras import layers

    kernel = stored[f"{name}.weight"].transpose(2, 3, 1, 0)
    layer = layers.Conv2D(kernel.shape[-1], kernel.shape[:2], padding=padding)
    layer.build((None, None, None, kernel.shape[2]))
    layer.set_weights([kernel, stored[f"{name}.bias"]])
    return layer


def _normalization(stored: Weights, name: str) -> Any:
    from keras import layers

    layer = layers.BatchNormalization(epsilon=1e-5)
    parts = [stored[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
    layer.build((None, None, None, len(parts[0])))
    layer.set_weights(parts)
    return layer


def _dense(stored: Weights) -> Any:
    from keras import layers

    kernel = stored["head.weight"].T
    layer = layers.Dense(kernel.shape[1])
    layer.build((None, len(kernel)))
    layer.set_weights([kernel, stored["head.bias"]])
    return layer
