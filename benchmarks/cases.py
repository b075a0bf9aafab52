"""The models that several benchmarks measure, with their samples.

Models with labelled data: those that ship in `edgeq.models`, and those of `../shared/data`. Models
without get garments of Fashion-MNIST: enlarged, tinted and lit as colour pictures.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import edgeq.models
from edgeq.models import data as shipped

Arrays = dict[str, np.ndarray]

SAMPLES = 200  # for calibration
UNLABELLED = 200

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@dataclass(frozen=True)
class Case:
    """A model, its samples (inputs by name, classes as "y") and their preprocessing.

    `model` is a file, or a function that makes a Keras model.
    """

    name: str
    model: Path | Callable[[], Any]
    calibration: Callable[[], Arrays]
    test: Callable[[], Arrays]
    preprocess: tuple[str, ...] = ()


def shipped_cases(root: Path) -> Iterator[Case]:
    """The models inside edgeq: 200 of their 300 training samples, and all 10,000 test images.

    Where the whole Fashion-MNIST is not beside the project, the 2,000 of them that ship.
    """
    whole = root / "fashion_mnist"
    judged = (lambda: read_idx(whole, "t10k")) if whole.is_dir() else (lambda: _shipped("test"))
    for name, form, preprocess in (
        ("fmnist_cnn", _as_images, ()),
        ("fmnist_mobilenet", _as_images, ("scale=1/255",)),
        ("fmnist_uneven", _as_images, ("scale=1/255",)),
        ("fmnist_two_input", shipped.split_halves, ()),
        ("fmnist_gru", _as_rows, ()),
    ):
        yield Case(
            name,
            edgeq.models.path(f"{name}.keras"),
            lambda form=form: _formed(form, _head(_shipped("calibration"), SAMPLES)),
            lambda form=form: _formed(form, judged()),
            preprocess,
        )


def _as_images(images: np.ndarray) -> Arrays:
    return {"x": images}


def _as_rows(images: np.ndarray) -> Arrays:
    return {"x": shipped.drop_channel(images)}


def _formed(form: Callable[[np.ndarray], Arrays], arrays: Arrays) -> Arrays:
    return {**form(arrays["x"]), "y": arrays["y"]}


def _shipped(part: str) -> Arrays:
    return dict(np.load(edgeq.models.path(f"fashion_mnist_{part}.npz")))


def shared_cases(root: Path) -> Iterator[Case]:
    """The real models beside the project."""
    folder = root / "fashion_mnist"
    yield Case(
        "shared fmnist_cnn",
        folder / "fmnist_cnn.keras",
        lambda: _head(read_idx(folder, "train"), SAMPLES),
        lambda: read_idx(folder, "t10k"),
    )
    for name, clips in (("kws_dscnn", "mfcc49x10"), ("kws_gru_s", "gru25x10")):
        path = root / "kws" / f"speech_commands_500_{clips}.npz"
        yield Case(
            name,
            root / "kws" / f"{name}.keras",
            lambda path=path: _head(dict(np.load(path)), SAMPLES),
            lambda path=path: {key: value[SAMPLES:] for key, value in np.load(path).items()},
        )
    digits = root / "mnist_lstm" / "mnist_small.npz"
    yield Case(
        "mnist_lstm",
        root / "mnist_lstm" / "mnist_lstm.keras",
        lambda: _head(_part(digits, "train"), SAMPLES),
        lambda: _part(digits, "test"),
        ("scale=1/255",),
    )


def garments(part: str) -> np.ndarray:
    """Grey pictures of Fashion-MNIST that ship, "calibration" or "test": uint8 [N, 28, 28, 1]."""
    return _shipped(part)["x"]


def unlabelled_cases(root: Path) -> Iterator[Case]:
    """Models without labelled data here, fed with garments enlarged, tinted and lit: SQNR only."""
    for name, path, size, preprocess in (
        ("mobilenet_v1_025", root / "mobilenet_v1_025" / "mobilenet_v1_025_224.keras", 224,
         ("scale=1/127.5", "offset=-1")),
        ("resnet8", root / "mlperf_tiny" / "pretrainedResnet.h5", 32, ()),
        ("vww_96", root / "mlperf_tiny" / "vww_96.h5", 96, ("scale=1/255",)),
    ):  # fmt: skip
        yield Case(
            f"{name}, unlabelled",
            path,
            lambda size=size: {"x": tinted(garments("calibration")[:SAMPLES], size)},
            lambda size=size: {"x": tinted(garments("test")[:UNLABELLED], size)},
            preprocess,
        )


def tinted(images: np.ndarray, size: int) -> np.ndarray:
    """Grey images [N, 28, 28, 1] as colour images [N, size, size, 3], uint8."""
    random = np.random.default_rng(0)
    found = []
    for image in images[..., 0]:
        large = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
        tint, light = random.uniform(0.3, 1, 3), random.uniform(0, 100, 3)
        found.append(np.clip(np.asarray(large)[..., np.newaxis] * tint + light, 0, 255))
    return np.array(found, np.uint8)


def _head(arrays: Arrays, count: int) -> Arrays:
    return {name: array[:count] for name, array in arrays.items()}


def _part(path: Path, part: str) -> Arrays:
    with np.load(path) as arrays:
        return {name: arrays[f"{name}_{part}"] for name in ("x", "y")}


def read_idx(folder: Path, part: str) -> Arrays:
    """Images [N, 28, 28, 1] and classes from the two gzipped IDX files of a part."""
    pixels = gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes())
    images = np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 28, 28, 1)
    return {"x": images, "y": np.frombuffer(labels, np.uint8, offset=8).astype(np.int64)}


def other_cases(root: Path) -> Iterator[Case]:
    """The shared models that `quality.py` does not measure: other files, and other kinds of data.

    Their samples only vary the values: pictures stand for the autoencoder's and the wake word's
    sound.
    """
    tiny, rows = root / "mlperf_tiny", {"ad01": (5, 128), "str_ww": (30, 40)}
    sounds = {
        name: (
            lambda shape=shape: {"x": _as_sound(garments("calibration")[:SAMPLES], shape)},
            lambda shape=shape: {"x": _as_sound(garments("test")[:UNLABELLED], shape)},
        )
        for name, shape in rows.items()
    }
    clips = root / "kws" / "speech_commands_500_mfcc49x10.npz"
    words = (
        lambda: _head(dict(np.load(clips)), SAMPLES),
        lambda: {key: value[SAMPLES:] for key, value in np.load(clips).items()},
    )
    digits = root / "mnist_lstm" / "mnist_small.npz"
    known = {case.name.partition(",")[0]: case for case in unlabelled_cases(root)}
    pictures = {name: (case.calibration, case.test) for name, case in known.items()}
    light = known["mobilenet_v1_025"].preprocess
    for name, path, samples, preprocess in (
        ("ad01", tiny / "ad01.h5", sounds["ad01"], ()),
        ("ad01.tflite", tiny / "ad01_fp32.tflite", sounds["ad01"], ()),
        ("str_ww", tiny / "str_ww_ref_model.h5", sounds["str_ww"], ("scale=1/60", "offset=1")),
        ("kws_ref_model", tiny / "kws_ref_model", words, ()),
        ("resnet8.tflite", tiny / "pretrainedResnet.tflite", pictures["resnet8"], ()),
        ("mobilenet_v1_025.h5", root / "mobilenet_v1_025" / "mobilenet_v1_025_224.h5",
         pictures["mobilenet_v1_025"], light),
        ("mobilenet_v1_025.tflite",
         root / "mobilenet_v1_025" / "mobilenet_v1_0.25_224_1_default_1.tflite",
         pictures["mobilenet_v1_025"], light),
        ("mnist_lstm.tflite", root / "mnist_lstm" / "trained_lstm.tflite",
         (lambda: _head(_part(digits, "train"), SAMPLES), lambda: _part(digits, "test")),
         ("scale=1/255",)),
    ):  # fmt: skip
        yield Case(name, path, *samples, preprocess)


def _as_sound(images: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Grey images [N, 28, 28, 1] as levels in dB, -60 to 0, of `shape` (time, bands), float32."""
    found = [
        np.asarray(Image.fromarray(image).resize(shape[::-1], Image.Resampling.BICUBIC))
        for image in images[..., 0]
    ]
    levels = np.array(found, np.float32) * (60 / 255) - 60
    return levels.reshape(-1, 640) if shape == (5, 128) else levels[:, :, np.newaxis]
