"""Measure the shipped models on Fashion-MNIST and on scenes, and print the tables of the README.

python -m edgeq.models.evaluate --fashion-mnist DIR
"""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np

from edgeq.models import (
    path,
    scene_training,
    train_cnn,
    train_detector,
    train_gru,
    train_mobilenet,
    train_two_input,
    train_unet,
    train_uneven,
    train_vit,
    train_weight,
)
from edgeq.models.data import Pixels
from edgeq.models.training import Recipe, make_parser, measure, read_split

_SHIPPED = "fashion_mnist_test.npz"


def main() -> None:
    """Print one line per model."""
    parser = make_parser("Measure the shipped models on Fashion-MNIST and on scenes.")
    arguments = parser.parse_args()
    full = read_split(arguments.fashion_mnist, "test")
    with np.load(path(_SHIPPED)) as arrays:
        shipped = arrays["x"], arrays["y"]
    print("| model | parameters | bytes | all 10,000 test images | the shipped 2,000 |")
    print("|---|---:|---:|---:|---:|")
    for label, recipe in _list_recipes().items():
        file = path(recipe.file)
        model = keras.saving.load_model(file)
        accuracies = [measure(model, recipe.prepare, *split) for split in (full, shipped)]
        columns = [f"{model.count_params():,}", f"{file.stat().st_size:,}"]
        columns += [f"{accuracy:.2%}" for accuracy in accuracies]
        print("|", " | ".join([label, *columns]), "|")
    print("\n| model | parameters | bytes | metric | 2,000 test scenes |")
    print("|---|---:|---:|---|---:|")
    for module in (train_detector, train_unet, train_weight):
        recipe = module.RECIPE
        file = path(recipe.file)
        model = keras.saving.load_model(file)
        found = scene_training.measure(model, recipe)
        print(
            f"| `{recipe.file}` | {model.count_params():,} | {file.stat().st_size:,} "
            f"| {recipe.metric} | {found:.4g} |"
        )


def _list_recipes() -> dict[str, Recipe]:
    modules = (train_cnn, train_mobilenet, train_uneven, train_two_input, train_gru, train_vit)
    recipes = {f"`{module.RECIPE.file}`": module.RECIPE for module in modules}
    swapped = replace(train_two_input.RECIPE, prepare=_swap_halves)
    return {**recipes, f"`{swapped.file}`, inputs swapped": swapped}


def _swap_halves(images: Pixels) -> list[Pixels]:
    return train_two_input.prepare(images)[::-1]


if __name__ == "__main__":
    main()
