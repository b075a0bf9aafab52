"""Shared functions of the training scripts: reading Fashion-MNIST, fitting, measuring, saving."""

from __future__ import annotations

import argparse
import gzip
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np
from numpy.typing import NDArray

from edgeq.models.data import Pixels

Labels: TypeAlias = NDArray[np.int64]

CLASS_COUNT = 10
_BATCH_SIZE = 128
_DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
_SPLITS = {"train": "train", "test": "t10k"}


@dataclass(frozen=True)
class Recipe:
    """How one shipped model comes about.

    Attributes:
        file: name of the saved model.
        build: makes it, untrained and not compiled.
        prepare: turns images, uint8 [N, 28, 28, 1], into what the model takes.
        epochs: passes over the training set.
        learning_rate: at the start; it falls to 0 along half a cosine.
    """

    file: str
    build: Callable[[], keras.Model]
    prepare: Callable[[Pixels], Any]
    epochs: int
    learning_rate: float = 2e-3


def run(recipe: Recipe) -> None:
    """Be the command line of a training script: train, measure, save."""
    parser = make_parser(f"Train {recipe.file} on Fashion-MNIST.")
    add_output(parser)
    arguments = parser.parse_args()
    model = train(recipe, *read_split(arguments.fashion_mnist, "train"))
    correct = measure(model, recipe.prepare, *read_split(arguments.fashion_mnist, "test"))
    target = arguments.output / recipe.file
    model.save(target)
    print(f"{target}: {model.count_params():,} parameters, {correct:.2%} of the test images")


def make_parser(description: str) -> argparse.ArgumentParser:
    """A command line with `--fashion-mnist`, the folder of the four `.gz` files."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--fashion-mnist",
        type=Path,
        default=_DEBIAN_FOLDER,
        metavar="DIR",
        help="folder with the four .gz files of Fashion-MNIST (default: %(default)s, "
        "where Debian's package dataset-fashion-mnist puts them)",
    )
    return parser


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add `--output`, the folder to write to; without it, this one."""
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(__file__).resolve().parent,
        metavar="DIR",
        help="folder to write to (default: %(default)s)",
    )


def read_split(folder: Path, split: str) -> tuple[Pixels, Labels]:
    """Read the "train" or the "test" part of Fashion-MNIST.

    Returns:
        Images, uint8 [N, 28, 28, 1], and classes, int64 [N].

    Raises:
        SystemExit: the folder does not hold the files.
        ValueError: a file is not of bytes in the IDX format.
    """
    prefix = _SPLITS[split]
    images = _read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")
    labels = _read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz")
    return images[..., np.newaxis], labels.astype(np.int64)


def _read_idx(file: Path) -> Pixels:
    if not file.is_file():
        raise SystemExit(f"{file} does not exist: name its folder with --fashion-mnist DIR.")
    content = gzip.decompress(file.read_bytes())
    zero, dtype, rank = struct.unpack_from(">HBB", content)
    if (zero, dtype) != (0, 0x08):
        raise ValueError(f"{file} is not an IDX file of unsigned bytes.")
    shape = struct.unpack_from(f">{rank}I", content, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def train(recipe: Recipe, images: Pixels, labels: Labels) -> keras.Model:
    """Build and fit a model.

    Args:
        recipe: what to train.
        images: uint8 [N, 28, 28, 1].
        labels: int64 [N].

    Returns:
        The trained model, not compiled.
    """
    keras.utils.set_random_seed(0)
    model = recipe.build()
    loss = "sparse_categorical_crossentropy"
    fit(model, recipe.prepare(images), labels, loss, recipe.epochs, recipe.learning_rate)
    return model


def fit(
    model: keras.Model, inputs: Any, targets: Any, loss: Any, epochs: int, learning_rate: float
) -> None:
    """Fit a model without compiling it: the saved one has no optimizer.

    Args:
        model: shares its layers with the model that is compiled.
        inputs, targets: arrays [N, ...]; several inputs as a list.
        loss: a Keras loss.
        epochs: passes over the samples.
        learning_rate: at the start; it falls to 0 along half a cosine.
    """
    trainee = keras.Model(model.inputs, model.outputs)
    steps = epochs * -(-len(targets) // _BATCH_SIZE)
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    trainee.compile(keras.optimizers.Adam(schedule), loss)
    trainee.fit(inputs, targets, batch_size=_BATCH_SIZE, epochs=epochs, verbose=2)


def measure(
    model: keras.Model, prepare: Callable[[Pixels], Any], images: Pixels, labels: Labels
) -> float:
    """The fraction of images, uint8 [N, 28, 28, 1], whose class, int64 [N], a model finds."""
    probabilities = model.predict(prepare(images), batch_size=500, verbose=0)
    return float(np.mean(np.argmax(probabilities, axis=-1) == labels))
