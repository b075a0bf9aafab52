"""How many candidates `edgeq tune` judges in a minute, and what the one it chooses is worth.

    python benchmarks/tune.py [--fashion-mnist DIR] [--max-drop POINTS]

The model is fmnist_uneven, which loses most of all under plain INT8. What a user would do instead
is a loop around TFLiteConverter: for each candidate, convert with the representative dataset and
run the file over the same labelled samples. That loop gets TensorFlow and the model loaded for
nothing. With DIR, the four `.gz` files of Fashion-MNIST, the chosen file is judged on the 8,000
test images that neither search nor calibration saw. A measurement, not a gate.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import edgeq
import edgeq.models
from edgeq.models.training import read_split
from edgeq.values import Tuning

SAMPLES = 200  # for calibration
MODEL = edgeq.models.path("fmnist_uneven.keras")
STOCK_CANDIDATES = 3
SHIPPED_TEST = 200  # images per class that ship with edgeq, the first ones of the test set


def main() -> None:
    arguments = _parse()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
          f"TensorFlow {tf.__version__}, edgeq {edgeq.__version__}")  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "tuned.tflite"
        tuned = edgeq.tune(
            MODEL,
            out,
            data=_shipped("calibration"),
            test_data=_shipped("test"),
            preprocess=["scale=1/255"],
            samples=SAMPLES,
            max_drop_points=arguments.max_drop,
        )
        rate = 60 * len(tuned.trials) / tuned.elapsed_s
        seconds = _stock_seconds(tuned.search_samples)
        print(f"edgeq tune: {len(tuned.trials)} candidates in {tuned.elapsed_s:.1f} s, confirming "
              f"included: {rate:.0f} per minute")  # fmt: skip
        print(f"TFLiteConverter: {seconds:.2f} s each: {60 / seconds:.1f} per minute")
        print(f"ratio {rate * seconds / 60:.1f}")
        _show_choice(tuned)
        if arguments.fashion_mnist is not None:
            _judge(out, arguments.fashion_mnist)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure edgeq tune.")
    parser.add_argument("--fashion-mnist", type=Path, metavar="DIR")
    parser.add_argument("--max-drop", type=float, default=0.3, metavar="POINTS")
    return parser.parse_args()


def _shipped(part: str) -> Path:
    return edgeq.models.path(f"fashion_mnist_{part}.npz")


def _stock_seconds(count: int) -> float:
    """Mean time of a candidate with TFLiteConverter, converted and run over `count` samples."""
    model = keras.saving.load_model(MODEL)
    fed = np.load(_shipped("calibration"))["x"][:SAMPLES].astype(np.float32) / 255
    test = np.load(_shipped("test"))["x"][:count].astype(np.float32) / 255
    started = time.monotonic()
    for _ in range(STOCK_CANDIDATES):
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image[np.newaxis]] for image in fed)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        _run(converter.convert(), test)
    return (time.monotonic() - started) / STOCK_CANDIDATES


def _run(content: bytes, images: np.ndarray) -> np.ndarray:
    """The classes that a model gives."""
    interpreter = tf.lite.Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (given,), (wanted,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero = given["quantization"]
    classes = []
    for image in images[:, np.newaxis]:
        fed = image if scale == 0 else np.clip(np.rint(image / scale + zero), -128, 127)
        interpreter.set_tensor(given["index"], fed.astype(given["dtype"]))
        interpreter.invoke()
        classes.append(interpreter.get_tensor(wanted["index"]).argmax())
    return np.array(classes)


def _show_choice(tuned: Tuning) -> None:
    chosen, quality = tuned.trials[0], tuned.quality
    assert quality.drop_points is not None and chosen.speedup is not None
    drop, ratio = quality.drop_points, chosen.speedup
    print(f"chosen: {chosen.recipe}")
    print(f"drop on {quality.sample_count} images kept apart: {drop.value:.2f} points "
          f"[{drop.low:.2f}, {drop.high:.2f}]; {ratio.value:.2f}x as fast as FP32 "
          f"[{ratio.low:.2f}, {ratio.high:.2f}]")  # fmt: skip


def _judge(tuned: Path, folder: Path) -> None:
    images, labels = read_split(folder, "test")
    seen = np.concatenate([np.flatnonzero(labels == c)[:SHIPPED_TEST] for c in range(10)])
    rest = np.setdiff1d(np.arange(len(labels)), seen)
    data = {"image": images[rest], "y": labels[rest]}
    with tempfile.TemporaryDirectory() as name:
        stock = Path(name) / "stock.tflite"
        settings = {"data": _shipped("calibration"), "preprocess": ["scale=1/255"]}
        edgeq.convert(MODEL, stock, calibrator="tflite", samples=SAMPLES, **settings)
        for shown, path in (("plain INT8 (TFLiteConverter)", stock), ("chosen", tuned)):
            quality = edgeq.compare(MODEL, path, data, latency=False).quality
            drop = quality.drop_points
            assert drop is not None
            print(f"{shown}, {len(rest):,} other images: FP32 "
                  f"{quality.baseline_accuracy_percent:.2f} %, INT8 "
                  f"{quality.candidate_accuracy_percent:.2f} %, drop {drop.value:.2f} "
                  f"[{drop.low:.2f}, {drop.high:.2f}]")  # fmt: skip


if __name__ == "__main__":
    main()
