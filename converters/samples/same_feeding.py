"""Whether two declarations of preprocessing feed a model the same numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgeq.converters.samples.preprocessing import find_preprocessing
from edgeq.values import Preprocessing, TensorSpec

_RELATIVE = 1e-5  # of a factor: 0.0039216 is 1/255 as people type it


def are_same(
    ours: Sequence[Preprocessing], theirs: Sequence[Preprocessing], specs: Sequence[TensorSpec]
) -> bool:
    """Whether a model is fed the same numbers, in whatever way they are written.

    Resizing and making gray are left out: they change nothing in samples that already fit.

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


def _does_same(one: Preprocessing, other: Preprocessing) -> bool:
    if (one.channels == "bgr") != (other.channels == "bgr") or one.sound != other.sound:
        return False
    (factor, shift), (other_factor, other_shift) = _affine(one), _affine(other)
    return np.allclose(factor, other_factor, rtol=_RELATIVE, atol=0) and np.allclose(
        shift, other_shift, rtol=_RELATIVE, atol=_RELATIVE
    )


def _affine(item: Preprocessing) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`x * factor + shift`, which `(x * scale + offset - mean) / std` is."""
    std = np.array(item.std or (1.0,))
    return item.scale / std, (item.offset - np.array(item.mean or (0.0,))) / std
