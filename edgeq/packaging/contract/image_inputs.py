"""Find the inputs that are images: a spectrogram may have the shape of a grey picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgeq.converters.samples.input_shapes import image_shape
from edgeq.packaging.contract.values import Contract, Golden, InputContract
from edgeq.values import Preprocessing, TensorSpec


def image_size(spec: TensorSpec, how: Preprocessing | None) -> tuple[int, int, int] | None:
    """(height, width, channels) of an input whose shape is an image's.

    Two dimensions are a series, as recurrent models take it, unless a preprocessing step is one of
    images.
    """
    is_image = len(spec.shape) == 4 or _has_image_steps(how)
    return image_shape(spec) if is_image else None


def confirm_images(contract: Contract, golden: Golden) -> Contract:
    """The contract with only those images whose samples are images, too.

    Their samples are whole numbers from 0 to 255. Those of a spectrogram are not, and a reader that
    passes the bytes of a picture would be wrong for values that were scaled before.
    """
    inputs = (
        replace(item, image=item.image if _is_confirmed(item, golden) else None)
        for item in contract.inputs
    )
    return replace(contract, inputs=tuple(inputs))


def has_images(contract: Contract, golden: Golden) -> bool:
    """Whether an input is an image, so that a caller has to know which way is up."""
    return any(item.image is not None for item in confirm_images(contract, golden).inputs)


def _has_image_steps(how: Preprocessing | None) -> bool:
    return how is not None and (how.resize is not None or how.channels != "rgb")


def _is_confirmed(item: InputContract, golden: Golden) -> bool:
    if item.image is None or _has_image_steps(item.preprocessing):
        return True
    samples = [vector.raw[item.spec.name] for vector in golden.vectors]
    if all(sample.dtype == np.uint8 for sample in samples):
        return True
    are_whole = all(bool(np.all(sample == np.floor(sample))) for sample in samples)
    low, high = min(map(np.min, samples)), max(map(np.max, samples))
    return are_whole and bool(low >= 0 and 1 < high <= 255)  # not the 0 and 1 of a mask
