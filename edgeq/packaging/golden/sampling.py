"""Which real samples become golden vectors, and how far another machine may be from their outputs.

Two right kernels may round one value differently. In a recurrent model such a step comes back in
every time step and decides a gate now and then: there, the outputs of most samples are the same on
all kernels, and a hundred steps apart on a few. Whether that happens to a sample is luck, and of
another machine it cannot be known. A good golden vector is a sturdy one: not only its own outputs
agree on the kernels there are here, but those of its neighbours too, which are a step of the input
away. Then whoever is far from them computes something else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.comparison.parity import KERNELS
from edgeq.converters.samples.open_samples import Sample, Samples, choose, open_samples
from edgeq.device_runners.devices.device import Device
from edgeq.device_runners.measuring import run_job
from edgeq.errors import PackageError
from edgeq.escaping import printable
from edgeq.packaging.contract.values import Contract, Golden, Vector
from edgeq.packaging.golden.sample_doubts import find_doubts
from edgeq.packaging.golden.vectors import find_wide_tolerances, real_values
from edgeq.tflite import quantmath
from edgeq.tflite.quantmath import difference
from edgeq.values import TensorSpec

Array = NDArray[Any]
Arrays = Mapping[str, Array]

_LOOKED_AT = (8, 32)  # samples for each that is wanted, and in all: where few are sturdy
_MOST_KEY_VALUES = 64  # of a label that is told from others as it is
_GROUP = 4  # samples looked at together, at least
_NEIGHBOURS = 16  # of a sample, itself among them
_FAST = ("xnnpack", "builtin")  # the reference kernels take seconds for a large image
_FLOAT_SHARE = 1e-5  # of the largest value: another order of sums
_STURDY_SHARE = 0.02  # of what an output can be: five steps of 8 bits
_STEP = 1 / 255  # of the range of a float input: what a step of 8 bits is


@dataclass(frozen=True)
class _Candidate:
    """A sample with what the kernels make of it.

    Attributes:
        inputs: as the model takes them, each with a batch of 1.
        apart: largest difference of two kernels on it and its neighbours, by output; in steps of
            an integer, else in the output's unit.
        shakiness: the largest of them as a share of what the output can be.
    """

    sample: Sample
    inputs: Arrays
    apart: Mapping[str, float]
    shakiness: float


def make_golden(
    model: Path, contract: Contract, data: Any, device: Device, *, count: int = 4, seed: int = 0
) -> Golden:
    """Run a few real samples through the model, on every kind of kernel there is here.

    Args:
        data: a data set as for `convert`, raw as preprocessing wants it.
        device: this machine.
        count: samples, spread over the classes where there are labels.

    Raises:
        DataError: the data cannot be read, do not fit, or test nothing.
        DeviceError: no runtime here runs the model.
        PackageError: an output is NaN or infinite, or kernels differ so much on all samples that
            no machine could be told from a broken one.
    """
    specs = [item.spec for item in contract.inputs]
    declared = tuple(
        item.preprocessing for item in contract.inputs if item.preprocessing is not None
    )
    opened = open_samples(data, specs, declared)
    chosen = _choose(_look_at(opened, specs, model, device, count, seed), count)
    samples = [candidate.sample for candidate in chosen]
    doubts = find_doubts(samples, specs)
    inputs = {
        spec.name: np.concatenate([candidate.inputs[spec.name] for candidate in chosen])
        for spec in specs
    }
    found = {kernels: _run(model, inputs, device, kernels) for kernels in KERNELS}
    _require_finite(model, samples, found)
    raws = opened.iterate_raw([sample.index for sample in samples])
    golden = Golden(
        printable(Path(opened.ref.source).name),
        opened.ref.sha256,
        tuple(
            _vector(contract, place, candidate, raw, found["xnnpack"])
            for place, (candidate, raw) in enumerate(zip(chosen, raws, strict=True))
        ),
        _tolerances(found, chosen),
        doubts,
        opened.ref.class_names,
    )
    _require_telling(model, golden, contract)
    return golden


def _vector(
    contract: Contract, place: int, candidate: _Candidate, raw: Arrays, outputs: Arrays
) -> Vector:
    label = candidate.sample.label
    own = {name: array[place : place + 1] for name, array in outputs.items()}
    return Vector(
        candidate.sample.index,
        int(label) if label is not None and np.ndim(label) == 0 else None,
        raw,
        candidate.inputs,
        own,
        real_values(contract, own),
    )


# ---------------------------------------------------------------- choosing


def _choose(groups: Iterator[list[_Candidate]], count: int) -> list[_Candidate]:
    """The first sturdy ones in the groups' order, and the least shaky where they are too few."""
    sturdy: list[_Candidate] = []
    shaky: list[_Candidate] = []
    for group in groups:
        for candidate in group:
            is_sturdy = candidate.shakiness <= _STURDY_SHARE
            (sturdy if is_sturdy else shaky).append(candidate)
        if len(sturdy) >= count:
            break
    shaky.sort(key=lambda candidate: (candidate.shakiness, candidate.sample.index))
    return sorted((sturdy + shaky)[:count], key=lambda candidate: candidate.sample.index)


def _look_at(
    opened: Samples, specs: Sequence[TensorSpec], model: Path, device: Device, count: int, seed: int
) -> Iterator[list[_Candidate]]:
    ranked, size = _rank(opened, count, seed), max(count, _GROUP)
    for start in range(0, len(ranked), size):
        samples = list(opened.iterate(sorted(ranked[start : start + size])))
        inputs = {
            spec.name: quantmath.quantize(
                np.stack([item.inputs[spec.name] for item in samples]), spec
            )
            for spec in specs
        }
        around = _neighbours(inputs, specs)
        found = [_run(model, around, device, kernels) for kernels in _FAST]
        yield [_judge(sample, place, inputs, *found) for place, sample in enumerate(samples)]


def _rank(samples: Samples, count: int, seed: int) -> tuple[int, ...]:
    """A deterministic order; one of each class before a second of any, as far as it looks."""
    for_each, in_all = _LOOKED_AT
    looked_at = choose(samples, max(for_each * count, in_all), seed)
    if not samples.has_labels:
        return looked_at
    first: dict[object, list[int]] = {}
    for sample in samples.iterate(looked_at):
        label = np.asarray(sample.label)
        is_large = label.size > _MOST_KEY_VALUES
        key = sha256(label.tobytes()).hexdigest() if is_large else str(label.tolist())
        first.setdefault(key, []).append(sample.index)
    ranked = sorted(
        (rank, key, index) for key, found in first.items() for rank, index in enumerate(found)
    )
    return tuple(index for _, _, index in ranked)


def _neighbours(inputs: Arrays, specs: Sequence[TensorSpec]) -> dict[str, Array]:
    """Each sample, and copies of it with each value one step up, one down, or as it was.

    Returns:
        [samples * _NEIGHBOURS, ...], those of one sample together and itself first.
    """
    random = np.random.default_rng(0)
    found = {}
    for spec in specs:
        own = inputs[spec.name]
        moves = random.integers(-1, 2, (len(own), _NEIGHBOURS, *own.shape[1:]), np.int8)
        moves[:, 0] = 0
        moved = _move(spec, own[:, np.newaxis], moves)
        found[spec.name] = moved.reshape(-1, *own.shape[1:])
    return found


def _move(spec: TensorSpec, values: Array, moves: NDArray[np.int8]) -> Array:
    if values.dtype.kind == "f":
        step = _STEP * float(np.ptp(values))
        return np.asarray(values + moves * step, values.dtype)
    if not spec.scales:  # the number of a word or the like has no neighbour
        return np.broadcast_to(values, moves.shape)
    limits = np.iinfo(values.dtype)
    moved = np.clip(values.astype(np.int64) + moves, limits.min, limits.max)
    return np.asarray(moved, values.dtype)


def _judge(sample: Sample, place: int, inputs: Arrays, ours: Arrays, theirs: Arrays) -> _Candidate:
    own = slice(place * _NEIGHBOURS, (place + 1) * _NEIGHBOURS)
    apart = {
        name: float(difference(values[own], theirs[name][own]).max(initial=0))
        for name, values in ours.items()
    }
    shakiness = max(apart[name] / _reach(values) for name, values in ours.items())
    return _Candidate(
        sample,
        {name: values[place : place + 1] for name, values in inputs.items()},
        apart,
        shakiness,
    )


def _reach(values: Array) -> float:
    """What an output can be, or was: its integers' range, or the largest of its real values."""
    if values.dtype.kind in "iu":
        limits = np.iinfo(values.dtype)
        return float(limits.max) - float(limits.min)
    largest = float(np.abs(values.astype(np.float64)).max(initial=0))
    return largest or 1.0


def _run(model: Path, inputs: Arrays, device: Device, kernels: str) -> dict[str, Array]:
    (found,) = run_job.infer([model], iter([[inputs]]), device, kernels=kernels)
    return dict(found[0])


# ---------------------------------------------------------------- tolerances


def _tolerances(found: Mapping[str, Arrays], chosen: Sequence[_Candidate]) -> dict[str, float]:
    """What kernels here differ by on the vectors and their neighbours, and a step more."""
    tolerances = {}
    for name, wanted in found["xnnpack"].items():
        apart = [
            float(difference(wanted, found[kernels][name]).max(initial=0)) for kernels in KERNELS
        ]
        is_float = wanted.dtype.kind == "f"
        least = _FLOAT_SHARE * float(np.abs(wanted).max(initial=0)) if is_float else 1.0
        tolerances[name] = max(*apart, *(item.apart[name] for item in chosen)) + least
    return tolerances


def _require_finite(model: Path, samples: Sequence[Sample], found: Mapping[str, Arrays]) -> None:
    """Refuse outputs that nothing can be compared with: NaN is unlike everything, itself too."""
    for outputs in found.values():
        for name, array in outputs.items():
            for place, sample in enumerate(samples):
                if not np.isfinite(array[place : place + 1]).all():
                    raise PackageError(
                        f"{model} makes NaN or infinity in output {name!r} of sample "
                        f"{sample.index}, so no device could be held against it.",
                        hint="Mend the model, or give samples that it can compute (--data).",
                    )


def _require_telling(model: Path, golden: Golden, contract: Contract) -> None:
    problems = find_wide_tolerances(golden, contract)
    if problems:
        raise PackageError(
            f"Right kernels differ so much on the samples of {golden.data} that golden vectors of "
            f"{model} would prove nothing: {problems[0]}.",
            hint="Give more samples (--data), or convert with --scheme int16x8, which carries "
            "less rounding along.",
        )
