"""Choose real samples as golden vectors, and how far the outputs of another machine may differ.

Two correct kernels may round one value differently. In a recurrent model such a difference returns
in every time step and sometimes flips a gate: the outputs of most samples are the same on all
kernels, and those of a few are a hundred steps apart. On which samples another machine does that
cannot be known. A good golden vector is therefore stable: the kernels here agree on its outputs and
on those of its neighbours, which differ by one step of the input. A machine that is far from them
is then wrong.
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
from edgeq.packaging.contract.results import derive, place_picture
from edgeq.packaging.contract.values import Arrays, Contract, Golden, Vector
from edgeq.packaging.golden.sample_doubts import find_doubts
from edgeq.packaging.golden.sounds import measure_tolerances, take_sounds
from edgeq.packaging.golden.vectors import find_wide_tolerances, real_values
from edgeq.tflite import quantmath
from edgeq.tflite.model_file import ModelFile
from edgeq.tflite.quantmath import difference
from edgeq.values import TensorSpec

Array = NDArray[Any]

_LOOKED_AT = (8, 32)  # candidates per golden vector, and in all at least: few may be stable
_MOST_KEY_VALUES = 64  # values of a label that is compared as it is; a larger one by digest
_GROUP = 4  # candidates run together, at least
_NEIGHBOURS = 16  # copies of a sample, itself among them
_FAST = ("xnnpack", "builtin")  # the reference kernels take seconds for a large image
_FLOAT_SHARE = 1e-5  # of the largest value: another order of sums
_STABLE_SHARE = 0.02  # of an output's range: five steps of 8 bits
_STEP = 1 / 255  # of the range of a float input: as large as a step of 8 bits


@dataclass(frozen=True)
class _Candidate:
    """A sample with what the kernels compute from it.

    Attributes:
        inputs: as the model takes them, each with a batch of 1.
        apart: output name to the largest difference of two kernels on it and its neighbours; in
            steps of an integer, or in the unit of a float output.
        instability: the largest of them as a share of the output's range.
    """

    sample: Sample
    inputs: Arrays
    apart: Mapping[str, float]
    instability: float


def make_golden(
    model: ModelFile,
    contract: Contract,
    data: Any,
    device: Device,
    *,
    count: int = 4,
    seed: int = 0,
) -> Golden:
    """Run a few real samples through the model, on every kind of kernel that is here.

    Args:
        data: a dataset as for `convert`, raw as preprocessing takes it.
        device: this machine.
        count: number of vectors, spread over the classes where there are labels.
        seed: seed for choosing samples.

    Raises:
        DataError: the data cannot be read, do not fit, or test nothing.
        DeviceError: no runtime here runs the model.
        PackageError: an output is NaN or infinite, or kernels differ so much on all samples that
            they would not distinguish a correct machine from a broken one.
    """
    specs = [item.spec for item in contract.inputs]
    opened = open_samples(data, specs, contract.declared)
    chosen = _choose(_look_at(opened, specs, model, device, count, seed), count)
    samples = [candidate.sample for candidate in chosen]
    doubts = find_doubts(samples, specs)
    inputs = {
        spec.name: np.concatenate([candidate.inputs[spec.name] for candidate in chosen])
        for spec in specs
    }
    found = {kernels: _run(model, inputs, device, kernels) for kernels in KERNELS}
    _require_finite(model, samples, found)
    vectors = []
    raws = opened.iterate_raw([sample.index for sample in samples])
    for place, (candidate, sample) in enumerate(zip(chosen, raws, strict=True)):
        label = candidate.sample.label
        raw, sounds = take_sounds(contract, sample, f"sample {candidate.sample.index}")
        outputs = {name: array[place : place + 1] for name, array in found["xnnpack"].items()}
        vectors.append(
            Vector(
                candidate.sample.index,
                int(label) if label is not None and np.ndim(label) == 0 else None,
                raw,
                candidate.inputs,
                outputs,
                real := real_values(contract, outputs),
                results := derive(contract, real),
                place_picture(contract, raw, results),
                sounds,
            )
        )
    golden = Golden(
        printable(Path(opened.ref.source).name),
        opened.ref.sha256,
        tuple(vectors),
        _tolerances(found, chosen),
        doubts,
        opened.ref.class_names,
        measure_tolerances(contract, vectors),
    )
    _require_useful(model, golden, contract)
    return golden


# ---------------------------------------------------------------- choosing


def _choose(groups: Iterator[list[_Candidate]], count: int) -> list[_Candidate]:
    """The first stable ones in the groups' order, and the most stable of the rest if too few."""
    stable: list[_Candidate] = []
    unstable: list[_Candidate] = []
    for group in groups:
        for candidate in group:
            is_stable = candidate.instability <= _STABLE_SHARE
            (stable if is_stable else unstable).append(candidate)
        if len(stable) >= count:
            break
    unstable.sort(key=lambda candidate: (candidate.instability, candidate.sample.index))
    return sorted((stable + unstable)[:count], key=lambda candidate: candidate.sample.index)


def _look_at(
    opened: Samples,
    specs: Sequence[TensorSpec],
    model: ModelFile,
    device: Device,
    count: int,
    seed: int,
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
    """A deterministic order: one of each class before a second of any, among those looked at."""
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
    """Each sample, and copies of it with each value one step up, one step down, or unchanged.

    Returns:
        [samples * _NEIGHBOURS, ...]: each sample followed by its copies.
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
    if not spec.scales:  # the index of a word has no neighbour
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
    instability = max(apart[name] / _reach(values) for name, values in ours.items())
    own_inputs = {name: values[place : place + 1] for name, values in inputs.items()}
    return _Candidate(sample, own_inputs, apart, instability)


def _reach(values: Array) -> float:
    """The range of an integer output; the largest magnitude among a float one's values."""
    if values.dtype.kind in "iu":
        limits = np.iinfo(values.dtype)
        return float(limits.max) - float(limits.min)
    largest = float(np.abs(values.astype(np.float64)).max(initial=0))
    return largest or 1.0


def _run(model: ModelFile, inputs: Arrays, device: Device, kernels: str) -> dict[str, Array]:
    (found,) = run_job.infer([model], iter([[inputs]]), device, kernels=kernels)
    return dict(found[0])


# ---------------------------------------------------------------- tolerances


def _tolerances(found: Mapping[str, Arrays], chosen: Sequence[_Candidate]) -> dict[str, float]:
    """How far kernels here differ on the vectors and their neighbours, plus one step."""
    tolerances = {}
    for name, wanted in found["xnnpack"].items():
        apart = [
            float(difference(wanted, found[kernels][name]).max(initial=0)) for kernels in KERNELS
        ]
        is_float = wanted.dtype.kind == "f"
        least = _FLOAT_SHARE * float(np.abs(wanted).max(initial=0)) if is_float else 1.0
        tolerances[name] = max(*apart, *(item.apart[name] for item in chosen)) + least
    return tolerances


def _require_finite(
    model: ModelFile, samples: Sequence[Sample], found: Mapping[str, Arrays]
) -> None:
    """Refuse outputs that cannot be compared: NaN differs from everything, itself included."""
    for outputs in found.values():
        for name, array in outputs.items():
            for place, sample in enumerate(samples):
                if not np.isfinite(array[place : place + 1]).all():
                    raise PackageError(
                        f"{model.path} computes NaN or infinity in output {name!r} of sample "
                        f"{sample.index}, so no device could be compared with it.",
                        hint="Fix the model, or give samples that it can compute (--data).",
                    )


def _require_useful(model: ModelFile, golden: Golden, contract: Contract) -> None:
    problems = find_wide_tolerances(golden, contract)
    if problems:
        raise PackageError(
            f"Correct kernels differ so much on the samples of {golden.data} that golden vectors "
            f"of {model.path} would prove nothing: {problems[0]}.",
            hint="Give more samples (--data), or convert with --scheme int16x8, which accumulates "
            "less rounding.",
        )
