"""Measure how much of the accuracy lost by per-tensor INT8 quantization-aware training recovers.

python -m edgeq.models.train_qat --fashion-mnist DIR

It prints one line for the shipped fmnist_mobilenet.keras, which loses next to nothing per tensor,
and one for a variation that does: the network of `train_uneven` with channels that differ up to
24-fold either way, so that one scale for all leaves the small ones no step.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras

import edgeq
from edgeq.models import path, train_mobilenet, train_uneven
from edgeq.models.data import Pixels
from edgeq.models.training import Labels, make_parser, read_split, train

_SPREAD = 24.0
_BATCH_SIZE = 128
_LEARNING_RATE = 1e-3  # a fifth of what the models were trained with
_LEAST_DROP = 1.0  # percentage points; of less, chance decides what share is taken back
_SCALING = ["scale=1/255"]


def main() -> None:
    """Train the variation, fine-tune both, and print the table."""
    parser = make_parser("Compare per-tensor INT8 with and without quantization-aware training.")
    parser.add_argument("--epochs", type=int, default=1, help="of fine-tuning (default: 1)")
    arguments = parser.parse_args()
    images, labels = read_split(arguments.fashion_mnist, "train")
    full = read_split(arguments.fashion_mnist, "test")
    recipe = replace(
        train_mobilenet.RECIPE,
        file="uneven channels",
        build=partial(train_uneven.build_uneven, _SPREAD),
        epochs=2,
    )
    models = {
        train_mobilenet.RECIPE.file: keras.saving.load_model(path(train_mobilenet.RECIPE.file)),
        recipe.file: train(recipe, images, labels),
    }
    lines = []
    for name, model in models.items():
        trained = fine_tune(model, images, labels, arguments.epochs)
        lines += [f"| {name} | {' | '.join(row)} |" for row in measure(model, trained, full)]
    print("| model | test images | FP32 | per-tensor PTQ | per-tensor QAT | taken back |")
    print("|---|---:|---:|---:|---:|---:|")
    print("\n".join(lines))


def fine_tune(model: keras.Model, images: Pixels, labels: Labels, epochs: int) -> keras.Model:
    """A quantization-aware copy, trained on images, uint8 [N, 28, 28, 1], and classes [N]."""
    keras.utils.set_random_seed(0)
    trained = edgeq.quantization_aware(model, granularity="tensor")
    steps = epochs * -(-len(images) // _BATCH_SIZE)
    schedule = keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, steps)
    trained.compile(
        keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    prepared = train_mobilenet.prepare(images)
    trained.fit(prepared, labels, batch_size=_BATCH_SIZE, epochs=epochs, verbose=2)
    return trained


def measure(
    model: keras.Model, trained: keras.Model, full: tuple[Pixels, Labels]
) -> list[tuple[str, ...]]:
    """Accuracy of the three on the shipped 2,000 and on all 10,000 test images, as table rows."""
    calibration = path("fashion_mnist_calibration.npz")
    shared: dict[str, Any] = {"preprocess": _SCALING, "granularity": "tensor"}
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{name}.tflite" for name in ("fp32", "ptq", "qat")]
        edgeq.convert(model, files[0], preprocess=_SCALING, scheme="fp32")
        edgeq.convert(model, files[1], data=calibration, effort="fast", **shared)
        edgeq.convert(trained, files[2], **shared)
        rows = []
        for data in (path("fashion_mnist_test.npz"), {"image": full[0], "y": full[1]}):
            found = edgeq.evaluate(files, data)
            fp32, ptq, qat = (item.metrics[0].value for item in found)
            back = f"{(qat - ptq) / (fp32 - ptq):.0%}" if fp32 - ptq >= _LEAST_DROP else "-"
            values = (f"{value:.2f} %" for value in (fp32, ptq, qat))
            rows.append((f"{found[0].sample_count:,}", *values, back))
    return rows


if __name__ == "__main__":
    main()
