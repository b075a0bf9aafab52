"""Whether two declarations of preprocessing feed a model the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgeq.converters.samples.preprocessing import find_preprocessing
from edgeq.values import Preprocessing, TensorSpec

_RELATIVE = 1e-5  # of a factor: 0.0039216 is 1/255 as people type it


def are_same(
    ours: Sequence[Preprocessing], theirs: Sequence[Preprocessing], specs: Sequence[TensorSpec]
) -> bool:
    """Whether a model is fed the same numbers, in whatever way they are written.

    What only one of them declares of resizing, making gray or turning (`exif`) is left out: it
    changes nothing in samples that are already prepared. If both resize, they must do so in the
    same way (`pad`), and to the same size where the input takes any. `exif` is left out even then:
    only files with an orientation are turned, and their source reports it if they are not.

    Args:
        ours: at most one entry per input.
        theirs: as ours.
        specs: the model's inputs.
    """
    return all(
        _does_same(
            find_preprocessing(ours, spec.name) or Preprocessing(),
            find_preprocessing(theirs, spec.name) or Preprocessing(),
        )
        for spec in specs
    )


def with_sizes(
    carried: Sequence[Preprocessing], fed: Sequence[Preprocessing], specs: Sequence[TensorSpec]
) -> tuple[Preprocessing, ...]:
    """Return what a file declares, with the size, the turning and the gray that samples need.

    A file that resizes keeps its way of doing so (`pad`).

    Args:
        carried: by the file.
        fed: what was declared for the samples.
        specs: the model's inputs.
    """
    return tuple(
        _with_size(entry, find_preprocessing(fed, entry.input or specs[0].name))
        for entry in carried
    )


def _with_size(carried: Preprocessing, fed: Preprocessing | None) -> Preprocessing:
    if fed is None:
        return carried
    size, pad = fed.resize or carried.resize, carried.pad if carried.resize else fed.pad
    channels = "gray" if fed.channels == "gray" else carried.channels
    exif = "apply" if "apply" in (fed.exif, carried.exif) else "ignore"
    return replace(carried, resize=size, pad=pad, exif=exif, channels=channels)


def _does_same(one: Preprocessing, other: Preprocessing) -> bool:
    if (one.channels == "bgr") != (other.channels == "bgr") or one.sound != other.sound:
        return False
    if one.resize and other.resize and (one.resize, one.pad) != (other.resize, other.pad):
        return False
    (factor, shift), (other_factor, other_shift) = _affine(one), _affine(other)
    return np.allclose(factor, other_factor, rtol=_RELATIVE, atol=0) and np.allclose(
        shift, other_shift, rtol=_RELATIVE, atol=_RELATIVE
    )


def _affine(item: Preprocessing) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`x * factor + shift`, which `(x * scale + offset - mean) / std` is."""
    std = np.array(item.std or (1.0,))
    return item.scale / std, (item.offset - np.array(item.mean or (0.0,))) / std
