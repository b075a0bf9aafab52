"""Package models for all targets, and run their golden vectors.

    python benchmarks/packages.py [--shared ../shared/data] [--device emulated:arm64] [--only NAME]

Each model is converted to INT8, packaged for every target, and verified: on this machine, on a
virtual arm64 board, and, by the package for microcontrollers itself, in tflite-micro. Prints a
table in Markdown. Needs what the targets need: a JDK for Android, tflite-micro for C.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import edgeq
from edgeq import models
from edgeq.errors import EdgeqError
from edgeq.packaging import targets
from edgeq.packaging.container import writing

FASHION = models.path("fashion_mnist_test.npz")


def made_up(shape: tuple[int, ...], low: float, high: float) -> np.ndarray[Any, Any]:
    """Smooth pictures, or plain noise: for models without their own data."""
    source = np.random.default_rng(0).uniform(low, high, (40, *shape))
    return source.astype(np.float32)


def list_models(shared: Path) -> list[tuple[str, Path, Any, tuple[str, ...]]]:
    """Name, file, samples, preprocessing."""
    scale = ("scale=1/255",)
    found: list[tuple[str, Path, Any, tuple[str, ...]]] = [
        ("fmnist_cnn", models.path("fmnist_cnn.keras"), str(FASHION), ()),
        ("fmnist_mobilenet", models.path("fmnist_mobilenet.keras"), str(FASHION), scale),
        ("fmnist_uneven", models.path("fmnist_uneven.keras"), str(FASHION), scale),
        ("fmnist_gru", models.path("fmnist_gru.keras"), str(FASHION), scale),
    ]
    if shared.is_dir():
        tiny, kws = shared / "mlperf_tiny", shared / "kws"
        with np.load(shared / "mnist_lstm" / "mnist_small.npz") as stored:
            digits = stored["x_test"][:300]
        found += [
            ("kws_dscnn", kws / "kws_dscnn.keras",
             str(kws / "speech_commands_500_mfcc49x10.npz"), ()),
            ("kws_gru_s", kws / "kws_gru_s.keras",
             str(kws / "speech_commands_500_gru25x10.npz"), ()),
            ("mnist_lstm", shared / "mnist_lstm" / "mnist_lstm.keras", digits, scale),
            ("ad01", tiny / "ad01.h5", made_up((640,), -60, 0), ()),
            ("resnet", tiny / "pretrainedResnet.h5", made_up((32, 32, 3), 0, 255), ()),
            ("vww_96", tiny / "vww_96.h5", made_up((96, 96, 3), 0, 1), ()),
            ("mobilenet_v1_025", shared / "mobilenet_v1_025" / "mobilenet_v1_025_224.keras",
             made_up((224, 224, 3), -1, 1), ()),
        ]  # fmt: skip
        found += [
            (name, path, made_up(shape, low, high), ())
            for name, path, shape, low, high in (
                ("ad01_int8.tflite", tiny / "ad01_int8.tflite", (640,), -60, 0),
                ("vww_96_int8.tflite", tiny / "vww_96_int8.tflite", (96, 96, 3), 0, 1),
                ("resnet_quant.tflite", tiny / "pretrainedResnet_quant.tflite",
                 (32, 32, 3), 0, 255),
                ("kws_ref_model.tflite", kws / "kws_ref_model.tflite", (49, 10, 1), -100, 100),
                ("trained_lstm_int8.tflite", shared / "mnist_lstm" / "trained_lstm_int8.tflite",
                 (28, 28), 0, 1),
            )
        ]  # fmt: skip
    return found


def try_target(model: Path, target: str, data: Any, folder: Path, devices: list[str]) -> str:
    """Package and verify a model for one target, and return the result as a cell."""
    try:
        package = edgeq.make_package(model, target, data=data, vectors=2)
        path = folder / f"{target}.zip"
        writing.write_package(package.files, path)
        result = edgeq.verify_package(path, devices=devices)
    except EdgeqError as error:
        return f"refused: {error.message}"
    failed = [check for check in result.checks if check.verdict in ("fail", "cannot-tell")]
    if failed:
        return "; ".join(f"{check.name}: {check.detail[0]}" for check in failed)
    exact = [check.detail[0].rpartition(", ")[2] for check in result.checks
             if check.name.startswith("golden vectors")]  # fmt: skip
    return " / ".join(text.replace(" exact", "") for text in exact) + " exact"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("--device", action="append", default=[])
    parser.add_argument("--only", action="append", default=[])
    given = parser.parse_args()
    devices = ["local", *given.device]
    print(f"2 golden vectors, on {' / '.join(devices)}\n")
    print("| model | " + " | ".join(targets.NAMES) + " |")
    print("|---|" + "---|" * len(targets.NAMES))
    for name, source, data, preprocess in list_models(given.shared):
        if given.only and name not in given.only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            model = source
            if source.suffix != ".tflite":
                model = Path(folder) / f"{name}.tflite"
                edgeq.convert(source, model, data=data, preprocess=preprocess, effort="fast")
            # On the virtual board once: it is the same model in every package.
            cells = [
                try_target(model, target, data, Path(folder), devices if number == 0 else ["local"])
                for number, target in enumerate(targets.NAMES)
            ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
