"""Sounds of golden vectors, and how far the features of generated code may differ.

The reference are the features that `eval` computes, in float64. Another correct implementation adds
in another order, or in float32: the features of quiet bands then differ most. How far is measured
on the vectors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.converters.samples.input_shapes import show_shape
from edgeq.converters.samples.sounds.features import fit_length
from edgeq.converters.samples.sounds.front_end import read_wave, transform
from edgeq.errors import PackageError
from edgeq.packaging.contract.front_end import compute
from edgeq.packaging.contract.values import Arrays, Contract, Golden, InputContract, Vector
from edgeq.values import FrontEnd

PRECISIONS: Mapping[str, type[np.floating[Any]]] = {"float64": np.float64, "float32": np.float32}
_SHARE = 1e-6  # of the largest feature: it is rounded to float32
_MARGIN = 8.0  # times the measured difference: the vectors are few
_MOST_SHARE = 0.02  # of the features' range; a wrong window or logarithm is further away


def take_sounds(contract: Contract, raw: Arrays, where: str) -> tuple[Arrays, Arrays]:
    """Split a sample of a data set into what `Vector.raw` and `Vector.sounds` hold.

    Args:
        raw: input name to the sample as it is in the data set.
        where: names the sample in messages.

    Raises:
        DataError: it is not a sound, or shorter than a frame.
    """
    features, sounds = dict(raw), {}
    for item in contract.inputs:
        if item.front_end is not None:
            name = item.spec.name
            features[name] = transform(item.front_end, raw[name], where)
            wave = read_wave(raw[name], where).astype(np.float32)
            sounds[name] = fit_length(wave, item.sound_length)
    return features, sounds


def measure_tolerances(
    contract: Contract, vectors: Sequence[Vector]
) -> dict[str, dict[str, float]]:
    """How far the features of another implementation may differ, see `Golden`.

    A precision that cannot compute them is left out.

    Raises:
        PackageError: float64 cannot compute them.
    """
    found = {}
    for item in contract.inputs:
        if item.front_end is not None:
            found[item.spec.name] = _measure(item, item.front_end, vectors)
    return found


def _measure(item: InputContract, sound: FrontEnd, vectors: Sequence[Vector]) -> dict[str, float]:
    name = item.spec.name
    most = _most([vector.raw[name] for vector in vectors])
    least = _SHARE * max(float(np.abs(vector.raw[name]).max()) for vector in vectors)
    found = {}
    for precision, dtype in PRECISIONS.items():
        apart = max(
            _furthest(compute(sound, vector.sounds[name], dtype), vector.raw[name])
            for vector in vectors
        )
        if least + _MARGIN * apart <= most:
            found[precision] = least + _MARGIN * apart
    if "float64" not in found:
        raise PackageError(
            f"Rounding errors decide about the features of input {name!r}: floor={sound.floor:g} "
            "is too small for these samples.",
            hint="Train and convert with a larger floor=, or give other samples (--data).",
        )
    return found


def _most(features: Sequence[NDArray[Any]]) -> float:
    return _MOST_SHARE * max(float(np.ptp(values)) for values in features)


def find_sound_faults(golden: Golden, contract: Contract) -> list[str]:
    """Why the sounds prove nothing about the front ends, a sentence each; empty when they do."""
    items = {item.spec.name: item for item in contract.inputs if item.front_end is not None}
    given = golden.feature_tolerances
    if set(given) != set(items) or any("float64" not in own for own in given.values()):
        return ["tolerances of features are not for the inputs that are sounds"]
    problems = []
    for name in items:
        most = _most([vector.raw[name] for vector in golden.vectors])
        problems += [
            f"the {precision} tolerance {tolerance:g} of the features of {name!r} would accept "
            f"another front end: at most {most:g} is useful"
            for precision, tolerance in given[name].items()
            if not tolerance <= most
        ]
    for vector in golden.vectors:
        if set(vector.sounds) != set(items):
            problems.append(f"sample {vector.index}: sounds are not for the inputs that are sounds")
            continue
        problems += [
            f"sample {vector.index}: {fault}"
            for name, item in items.items()
            for fault in _compare(item, vector.sounds[name], vector.raw[name], golden)
        ]
    return problems


def _compare(
    item: InputContract, wave: NDArray[Any], raw: NDArray[Any], golden: Golden
) -> list[str]:
    """Compare the features of a sound with those beside it."""
    name = item.spec.name
    if wave.shape != (item.sound_length,) or wave.dtype != np.float32:
        wanted = f"float32 {item.sound_length}"
        return [f"the sound of {name!r} is {wave.dtype} {show_shape(wave.shape)}, not {wanted}"]
    if not np.isfinite(wave).all():
        return [f"the sound of {name!r} has values that are not finite"]
    assert item.front_end is not None
    tolerance = golden.feature_tolerances[name]["float64"]
    apart = _furthest(transform(item.front_end, wave, "the sound"), raw)
    if apart <= tolerance:
        return []
    return [
        f"the front end computes other features of {name!r}: they differ by up to {apart:g} "
        f"({tolerance:g} are accepted)"
    ]


def _furthest(found: NDArray[Any], wanted: NDArray[Any]) -> float:
    if found.shape != wanted.shape:
        return float("inf")
    return float(np.abs(found.astype(np.float64) - wanted.astype(np.float64)).max(initial=0))
