"""Shared functions of the scripts that train on scenes: composing, fitting, measuring, saving."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from edgeq.metrics.catalogue import make_metric
from edgeq.metrics.decoding import find_decoder
from edgeq.models import data, path
from edgeq.models.scenes import SIZE, Scene, compose
from edgeq.models.training import add_output, fit, make_parser, read_split
from edgeq.values import TensorSpec

_SCENES = 20_000  # for training


@dataclass(frozen=True)
class SceneRecipe:
    """How one model of scenes comes about.

    Attributes:
        file: name of the saved model.
        build: makes it, untrained and not compiled; it takes pixels of 0..255.
        target: what it learns of a scene.
        loss: a Keras loss.
        label: what it is measured with.
        metric: name of edgeq's metric.
        decode: of `--decode`; None if the outputs are not boxes.
        epochs: passes over 20,000 scenes.
        learning_rate: at the start; it falls to 0 along half a cosine.
    """

    file: str
    build: Callable[[], keras.Model]
    target: Callable[[Scene], Any]
    loss: Any
    label: Callable[[Scene], Any]
    metric: str
    epochs: int
    decode: str | None = None
    learning_rate: float = 3e-3


def run(recipe: SceneRecipe) -> None:
    """Be the command line of a training script: compose scenes, train, measure, save."""
    parser = make_parser(f"Train {recipe.file} on scenes of Fashion-MNIST's garments.")
    add_output(parser)
    arguments = parser.parse_args()
    model = train(recipe, arguments.fashion_mnist)
    target = arguments.output / recipe.file
    model.save(target)
    found = measure(model, recipe)
    print(f"{target}: {model.count_params():,} parameters, {recipe.metric} {found:.4g}")


def train(recipe: SceneRecipe, fashion_mnist: Path) -> keras.Model:
    """Build a model and fit it to scenes of the garments in a folder's "train" part."""
    scenes = list(compose(*read_split(fashion_mnist, "train"), count=_SCENES, seed=0))
    images = np.stack([scene.image for scene in scenes])
    targets = np.stack([recipe.target(scene) for scene in scenes])
    keras.utils.set_random_seed(0)
    model = recipe.build()
    fit(model, images, targets, recipe.loss, recipe.epochs, recipe.learning_rate)
    return model


def measure(model: keras.Model, recipe: SceneRecipe) -> float:
    """The metric of a model over the 2,000 test scenes."""
    scenes = list(data.test_scenes())
    images = np.stack([scene.image for scene in scenes])
    outputs = {"output": model.predict(images, batch_size=100, verbose=0)}
    decode = find_decoder(recipe.decode, [TensorSpec("image", (1, SIZE, SIZE, 3), "float32")])
    metric = make_metric(recipe.metric)
    labels = np.stack([recipe.label(scene) for scene in scenes])
    metric.add(decode(outputs) if decode is not None else outputs, labels)
    return metric.value().value


def convolve(x: keras.KerasTensor, channels: int, stride: int, name: str) -> keras.KerasTensor:
    """A convolution of 3 x 3, batch normalization and SiLU."""
    x = layers.Conv2D(channels, 3, stride, padding="same", use_bias=False, name=name)(x)
    x = layers.BatchNormalization(name=f"{name}_normal")(x)
    return layers.Activation("silu", name=f"{name}_silu")(x)


def start_from_detector() -> tuple[keras.KerasTensor, list[keras.KerasTensor]]:
    """Input and results of the six trained convolutions of the shipped detector.

    Their sizes are 32, 16, 16, 8, 8 and 8. Other models of scenes start from them, which needs a
    tenth of the training.
    """
    detector = keras.saving.load_model(path("scenes_detector.keras"))
    found = [layer.output for layer in detector.layers if isinstance(layer, layers.Activation)]
    return detector.input, found
