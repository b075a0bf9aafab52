"""Compare the forms of LSTM layers: python benchmarks/lstm.py [DATA].

It trains two LSTM models for a minute on the keyword clips and digits beside the project, converts
them and mnist_lstm with `--effort fast`, and measures on samples that neither trained nor
calibrated. "stock" is `--calibrator tflite`, which gets the unrolled model.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

import edgeq
from edgeq.errors import EdgeqError

FORMS: dict[str, dict[str, str]] = {
    "stock": {"calibrator": "tflite"},
    "unrolled": {"lstm": "unrolled", "recurrent": "int8"},
    "unrolled, INT16 inside": {"lstm": "unrolled"},
    "fused": {"lstm": "fused"},
}
CALIBRATION = 250


def _trained(layers: list[Any], x: Any, y: Any, epochs: int) -> Any:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(x.shape[1:]), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    model.fit(x, y, epochs=epochs, batch_size=25, verbose=0)
    return model


def cases(root: Path) -> Iterator[tuple[str, Any, Any, Any, Any]]:
    """Name, model, samples to calibrate with, held-out samples, and their labels."""
    layers = keras.layers
    with np.load(root / "kws" / "speech_commands_500_gru25x10.npz") as stored:
        x, y = stored["x"].astype(np.float32), stored["y"]
    x = (x - x[:300].mean((0, 1))) / x[:300].std((0, 1))
    chain = [
        layers.GaussianNoise(0.5),
        layers.LSTM(48, return_sequences=True),
        layers.Dropout(0.4),
        layers.LSTM(32),
        layers.Dropout(0.4),
        layers.Dense(12),
    ]
    model = _trained(chain, x[:300], y[:300], 100)
    yield "keywords: LSTM(48), LSTM(32)", model, x[:CALIBRATION], x[300:], y[300:]
    with np.load(root / "mnist_lstm" / "mnist_small.npz") as stored:
        x, y, held, labels = (stored[name] for name in ("x_train", "y_train", "x_test", "y_test"))
    x, held = (np.float32(values / 255) for values in (x, held))
    chain = [
        layers.Bidirectional(layers.LSTM(24, return_sequences=True)),
        layers.LSTM(24),
        layers.Dense(10),
    ]
    model = _trained(chain, x, y, 12)
    yield "digits: two-way LSTM(24), LSTM(24)", model, x[:CALIBRATION], held, labels
    shipped = root / "mnist_lstm" / "mnist_lstm.keras"
    yield "mnist_lstm: LSTM(20)", shipped, x[:CALIBRATION], held, labels


def main() -> None:
    """Print a row for each model and form."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data")
    print("| model, held-out samples | form | SQNR dB | accuracy, of float | size kB |")
    print("|---|---|--:|--:|--:|")
    for name, model, samples, held, labels in cases(root):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            path = model if isinstance(model, Path) else folder / "model.keras"
            if path != model:
                model.save(path)
            np.savez(folder / "test.npz", x=held, y=labels)
            for form, options in FORMS.items():
                print(
                    f"| {name}, {len(held):,} | {form} | {_row(path, samples, folder, options)} |"
                )


def _row(path: Path, samples: Any, folder: Path, options: dict[str, str]) -> str:
    try:
        made = edgeq.convert(
            path, folder / "o.tflite", data=samples, test_data=folder / "test.npz",
            effort="fast", **options,
        )  # fmt: skip
    except EdgeqError as error:
        return f"{str(error).splitlines()[0][:80]} | | "
    quality = made.quality
    assert quality is not None and quality.candidate_accuracy_percent is not None
    size = made.model.file.size_bytes / 1000
    return (
        f"{quality.outputs[0].sqnr_db:.1f} | {quality.candidate_accuracy_percent:.2f} %, "
        f"{quality.baseline_accuracy_percent:.2f} % | {size:.1f}"
    )


if __name__ == "__main__":
    main()
