"""How far the pixels of `--preprocess resize=HxW` are from those of other libraries.

python benchmarks/resizing.py [PHOTO] [--sizes 96x96,224x224,1024x1024]

Libraries that this Python does not have are left out: TensorFlow, Keras, OpenCV, PyTorch.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from edgeq.converters.samples.preprocessing import apply
from edgeq.values import Preprocessing

Resize = Callable[[Path, np.ndarray, int, int], np.ndarray]


def _edgeq(path: Path, pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    return apply(Preprocessing(resize=(height, width)), pixels)


def _pillow(filter: Image.Resampling) -> Resize:
    return lambda path, pixels, height, width: np.asarray(
        Image.fromarray(pixels).resize((width, height), filter)
    )


def _others() -> Iterator[tuple[str, Resize]]:
    yield (
        "Pillow, `resize(..., BILINEAR)`; torchvision, of Pillow images",
        _pillow(Image.Resampling.BILINEAR),
    )
    yield "Pillow, `resize(...)`, which is bicubic", _pillow(Image.Resampling.BICUBIC)
    if find_spec("torch"):
        import torch

        def interpolate(antialias: bool) -> Resize:
            return lambda path, pixels, height, width: (
                torch.nn.functional.interpolate(
                    torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float(),
                    (height, width), mode="bilinear", antialias=antialias,
                )[0].permute(1, 2, 0).numpy()
            )  # fmt: skip

        name = 'PyTorch, `interpolate(mode="bilinear"'
        yield f"{name}, antialias=True)`; torchvision, of tensors", interpolate(True)
        yield f"{name})`", interpolate(False)
    if find_spec("tensorflow"):
        import tensorflow

        def resize(antialias: bool) -> Resize:
            return lambda path, pixels, height, width: tensorflow.image.resize(
                pixels, (height, width), antialias=antialias
            ).numpy()

        yield "TensorFlow, `tf.image.resize(..., antialias=True)`", resize(True)
        yield (
            "TensorFlow, `tf.image.resize(...)`; Keras' `image_dataset_from_directory`",
            resize(False),
        )
    if find_spec("keras"):
        import keras

        yield (
            "Keras, `load_img(target_size=...)`, which is nearest",
            lambda path, _, *size: keras.utils.img_to_array(
                keras.utils.load_img(path, target_size=size)
            ),
        )
    if find_spec("cv2"):
        import cv2

        for name, filter in (
            ("resize(..., interpolation=INTER_AREA)", cv2.INTER_AREA),
            ("resize(...)", cv2.INTER_LINEAR),
        ):
            yield (
                f"OpenCV, `{name}`",
                lambda _, pixels, height, width, filter=filter: cv2.resize(
                    pixels, (width, height), interpolation=filter
                ),
            )


def main() -> None:
    """Print a table of mean and largest differences, in levels of 0 to 255."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", nargs="?", type=Path, help="by default matplotlib's portrait")
    parser.add_argument("--sizes", default="96x96,224x224,1024x1024")
    given = parser.parse_args()
    photo = given.photo
    if photo is None:
        from matplotlib import cbook

        photo = Path(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    with Image.open(photo) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    sizes = [tuple(map(int, size.split("x"))) for size in given.sizes.split(",")]
    print(f"{photo.name}, {pixels.shape[0]}x{pixels.shape[1]} pixels\n")
    print(f"| resized by | {' | '.join(given.sizes.split(','))} |")
    print(f"|---|{'--:|' * len(sizes)}")
    for name, resize in _others():
        cells = []
        for height, width in sizes:
            ours = _edgeq(photo, pixels, height, width)
            apart = np.abs(ours - resize(photo, pixels, height, width).astype(np.float32))
            cells.append(f"{apart.mean():.2f}, {apart.max():.0f}")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
