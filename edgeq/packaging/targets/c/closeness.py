"""Whether tflite-micro computes what TensorFlow Lite does, for models that carry rounding along.

Two right kernels may round one value differently. In a recurrent model such a step comes back in
every time step, and decides a gate now and then: TensorFlow Lite's own kernels give most samples
the same outputs there, and differ by a hundred steps in a few. What they differ by on four samples
says nothing then. It is measured on more: on the golden vectors' neighbours, which are one step of
the input away, in every kind of kernel there is here and in tflite-micro, and compared as a whole.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.device_runners import measure
from edgeq.device_runners.device import resolve_device
from edgeq.errors import PackageError
from edgeq.packaging import micro
from edgeq.packaging.values import Golden, Ingredients, InputContract, OutputContract
from edgeq.parity import KERNELS, difference

Array = NDArray[Any]
Arrays = Mapping[str, Array]

_SAMPLES = 128
_SEED = 0
# Twice is what it came to at most, of 500 draws of 1 to 16 samples of a keyword-spotting GRU.
_FACTOR = 3.0
_STEP = 1 / 255  # of the range of a float input: what a step of 8 bits is
_FLOAT_SHARE = 1e-5  # as for golden vectors


def widen(ingredients: Ingredients) -> Golden:
    """The golden vectors with tolerances that hold for neighbours as well.

    Raises:
        PackageError: tflite-micro is further from XNNPACK than TensorFlow Lite's own kernels are.
    """
    contract = ingredients.contract
    inputs = _neighbours(ingredients)
    found = _run_desktop(ingredients.model, inputs)
    samples = [
        [inputs[item.spec.name][place : place + 1] for item in contract.inputs]
        for place in range(_count(inputs))
    ]
    measured = micro.run(
        ingredients.model, samples, len(contract.outputs), shown_as=contract.model.path
    )
    tolerances = dict(ingredients.golden.tolerances)
    for place, item in enumerate(contract.outputs):
        name = item.spec.name
        own = np.concatenate([outputs[place] for outputs in measured.outputs])
        wanted = found["xnnpack"][name]
        theirs = [difference(wanted, found[kernels][name]) for kernels in KERNELS]
        apart = difference(wanted, own.reshape(wanted.shape))
        least = _least(wanted)
        _require_close(ingredients, item, apart, theirs, least)
        largest = max(float(values.max(initial=0)) for values in (apart, *theirs))
        tolerances[name] = max(tolerances[name], largest + least)
    return replace(ingredients.golden, tolerances=tolerances)


def _require_close(
    ingredients: Ingredients,
    item: OutputContract,
    apart: Array,
    theirs: list[NDArray[np.float64]],
    least: float,
) -> None:
    own, accepted = _rms(apart), _FACTOR * max(map(_rms, theirs)) + least
    if own <= accepted:
        return
    path, unit = ingredients.contract.model.path, " steps" if item.spec.scales else ""
    raise PackageError(
        f"tflite-micro computes something else from {path} than TensorFlow Lite: its "
        f"{item.spec.name!r} is {own:.3g}{unit} away (root mean square of {len(apart)} samples; "
        f"{accepted:.3g} are accepted, by what TensorFlow Lite's own kernels differ).",
        hint="Convert the model again with --scheme fp32: where that is accepted, one of the "
        "integer kernels there is the reason, and --keep-float finds out which.",
    )


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def _least(wanted: Array) -> float:
    """What is always accepted, as for golden vectors: a step, or another order of sums."""
    is_float = wanted.dtype.kind == "f"
    return _FLOAT_SHARE * float(np.abs(wanted).max(initial=0)) if is_float else 1.0


def _count(arrays: Arrays) -> int:
    return len(next(iter(arrays.values())))


def _neighbours(ingredients: Ingredients) -> dict[str, Array]:
    """The vectors, and copies of them with each value one step up, one down, or as it was."""
    vectors, random = ingredients.golden.vectors, np.random.default_rng(_SEED)
    places = np.arange(max(_SAMPLES, len(vectors))) % len(vectors)
    found = {}
    for item in ingredients.contract.inputs:
        own = np.concatenate([vector.inputs[item.spec.name] for vector in vectors])
        moves = random.integers(-1, 2, (len(places), *own.shape[1:]))
        moves[: len(vectors)] = 0
        found[item.spec.name] = _move(item, own[places], moves)
    return found


def _move(item: InputContract, values: Array, moves: NDArray[np.int64]) -> Array:
    if values.dtype.kind == "f":
        step = _STEP * float(np.ptp(values))
        return np.asarray(values + moves * step, values.dtype)
    if not item.spec.scales:  # the number of a word or the like has no neighbour
        return values
    limits = np.iinfo(values.dtype)
    moved = np.clip(values.astype(np.int64) + moves, limits.min, limits.max)
    return np.asarray(moved, values.dtype)


def _run_desktop(model: bytes, inputs: Arrays) -> dict[str, Arrays]:
    device = resolve_device("local")
    with tempfile.TemporaryDirectory(prefix="edgeq-") as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(model)
        return {
            kernels: next(measure.infer([path], iter([[inputs]]), device, kernels=kernels))[0]
            for kernels in KERNELS
        }
