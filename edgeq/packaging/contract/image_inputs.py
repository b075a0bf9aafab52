"""Which inputs are images: shapes alone do not tell a spectrogram from a grey picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.converters.samples.input_shapes import image_shape
from edgeq.packaging.contract.values import Contract, Golden, InputContract
from edgeq.values import Preprocessing, TensorSpec

_MOST = 255


def image_size(spec: TensorSpec, how: Preprocessing | None) -> tuple[int, int, int] | None:
    """(height, width, channels) of an input whose shape is an image's.

    Two dimensions are a series, as recurrent models take it, unless a step says otherwise.
    """
    is_image = len(spec.shape) == 4 or _has_image_steps(how)
    return image_shape(spec) if is_image else None


def see_images(contract: Contract, golden: Golden) -> Contract:
    """The contract without the images that are none, by their samples.

    An image's samples are whole numbers from 0 to 255: those of a spectrogram are not, and a reader
    that hands over a picture's bytes would be wrong for values that were scaled before.
    """
    return replace(contract, inputs=tuple(_see(item, golden) for item in contract.inputs))


def has_images(contract: Contract, golden: Golden) -> bool:
    """Whether an input is one, so that whoever fills it has to know which way is up."""
    return any(item.image is not None for item in see_images(contract, golden).inputs)


def _see(item: InputContract, golden: Golden) -> InputContract:
    if item.image is None or _has_image_steps(item.preprocessing):
        return item
    samples = [vector.raw[item.spec.name] for vector in golden.vectors]
    return item if _are_pixels(samples) else replace(item, image=None)


def _has_image_steps(how: Preprocessing | None) -> bool:
    return how is not None and (how.resize is not None or how.channels != "rgb")


def _are_pixels(samples: Sequence[NDArray[Any]]) -> bool:
    if all(sample.dtype == np.uint8 for sample in samples):
        return True
    whole = all(bool(np.all(sample == np.floor(sample))) for sample in samples)
    low, high = min(map(np.min, samples)), max(map(np.max, samples))
    return whole and bool(low >= 0 and 1 < high <= _MOST)  # not the 0 and 1 of a mask
