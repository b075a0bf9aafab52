"""The smallest model of each family of `keras.applications`, with random weights that vary.

Nothing is downloaded. Kernels have Keras's random values from a seed, biases and the scales and
offsets of normalizations random ones too. The statistics of batch normalization are measured on
pictures: without that, the values of most layers would be almost constant.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from cases import SAMPLES, UNLABELLED, Case, garments, tinted

SIZE = 96
CLASSES = 100
_MEASURED = 32  # pictures for the statistics

# Without these, a value of 0..255 is expected.
_SCALED = ("scale=1/127.5", "offset=-1")

FAMILIES = {
    "ConvNeXtTiny": (),
    "DenseNet121": _SCALED,
    "EfficientNetB0": (),
    "EfficientNetV2B0": (),
    "InceptionResNetV2": _SCALED,
    "InceptionV3": _SCALED,
    "MobileNet": _SCALED,
    "MobileNetV2": _SCALED,
    "MobileNetV3Small": (),
    "NASNetMobile": _SCALED,
    "ResNet50": _SCALED,
    "ResNet50V2": _SCALED,
    "VGG16": _SCALED,
    "Xception": _SCALED,
}


def family_cases() -> Iterator[Case]:
    """The families with coloured pictures of 96x96."""
    for name, preprocess in FAMILIES.items():
        yield Case(
            name,
            partial(build, name),
            lambda: {"x": tinted(garments("calibration")[:SAMPLES], SIZE)},
            lambda: {"x": tinted(garments("test")[:UNLABELLED], SIZE)},
            preprocess,
        )


def build(name: str, size: int = SIZE, classes: int = CLASSES) -> Any:
    """Make the Keras model of a family for pictures of some size; its outputs are logits."""
    import keras

    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(
        weights=None,
        input_shape=(size, size, 3),
        classes=classes,
        classifier_activation=None,
    )
    random = np.random.default_rng(0)
    layers = [layer for layer in model._flatten_layers() if layer.weights]
    is_normalized = any("Normalization" in type(layer).__name__ for layer in layers)
    for layer in layers:
        for weight in layer.weights:
            _vary(weight, random, is_normalized)
    pictures = tinted(garments("calibration")[-_MEASURED:], size).astype(np.float32)
    if FAMILIES[name]:
        pictures = pictures / np.float32(127.5) - 1
    _measure_statistics(model, pictures)
    return model


def _vary(weight: Any, random: np.random.Generator, is_normalized: bool) -> None:
    """Give one vector of weights random values; without normalization, widen the kernels."""
    kind = weight.path.rpartition("/")[2]
    if kind == "gamma":
        weight.assign(random.uniform(0.5, 1.5, weight.shape))
    elif kind in ("beta", "bias"):
        weight.assign(random.normal(0, 0.1, weight.shape))
    elif kind == "kernel" and not is_normalized:
        weight.assign(weight * 2**0.5)  # a ReLU halves the power of its input


def _measure_statistics(model: Any, pictures: np.ndarray) -> None:
    """Set the statistics of each batch normalization to those of its input."""
    import keras

    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    model(pictures, training=True)
