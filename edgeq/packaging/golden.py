"""Golden vectors: a few real samples with what the model makes of them, chosen, written, read.

In a package they lie as `golden/golden.json` and one little-endian file for each array, so that a
test in any language reads them without a library.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq import quantmath
from edgeq.converters.samples import Sample, Samples, choose, open_samples
from edgeq.device_runners import measure
from edgeq.device_runners.device import Device
from edgeq.errors import DataError, PackageError
from edgeq.packaging.linting import find_doubts
from edgeq.packaging.values import Contract, Files, Golden, Vector
from edgeq.parity import KERNELS, difference

SCHEMA = "edgeq.golden/1"
FOLDER = "golden"
INDEX = f"{FOLDER}/golden.json"
# More than this is a data set, not a few vectors.
MOST = 64
_FLOAT_SHARE = 1e-5  # of the largest value: another order of sums

Arrays = Mapping[str, NDArray[Any]]


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
        PackageError: an output is NaN or infinite.
    """
    specs = [item.spec for item in contract.inputs]
    declared = tuple(
        item.preprocessing for item in contract.inputs if item.preprocessing is not None
    )
    opened = open_samples(data, specs, declared)
    chosen = _spread(opened, count, seed)
    raws = list(opened.iterate_raw(chosen))
    samples = list(opened.iterate(chosen))
    doubts = find_doubts(samples, specs)
    inputs = {
        spec.name: quantmath.quantize(np.stack([item.inputs[spec.name] for item in samples]), spec)
        for spec in specs
    }
    found = {kernels: _run(model, inputs, device, kernels) for kernels in KERNELS}
    _require_finite(model, samples, found)
    vectors = [
        _vector(contract, place, sample, raw, inputs, found["xnnpack"])
        for place, (sample, raw) in enumerate(zip(samples, raws, strict=True))
    ]
    return Golden(
        Path(opened.ref.source).name,
        opened.ref.sha256,
        tuple(vectors),
        _tolerances(found),
        doubts,
    )


def _vector(
    contract: Contract, place: int, sample: Sample, raw: Arrays, inputs: Arrays, outputs: Arrays
) -> Vector:
    label = sample.label
    own = {name: array[place : place + 1] for name, array in outputs.items()}
    return Vector(
        sample.index,
        int(label) if label is not None and np.ndim(label) == 0 else None,
        raw,
        {name: array[place : place + 1] for name, array in inputs.items()},
        own,
        _real(contract, own),
    )


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


def _spread(samples: Samples, count: int, seed: int) -> tuple[int, ...]:
    """A deterministic choice; one of each class before a second of any, as far as it looks."""
    looked_at = choose(samples, count * 8, seed)
    if not samples.has_labels:
        return looked_at[:count]
    first: dict[object, list[int]] = {}
    for sample in samples.iterate(looked_at):
        key = str(np.asarray(sample.label).tolist())
        first.setdefault(key, []).append(sample.index)
    ranked = sorted(
        (rank, key, index) for key, found in first.items() for rank, index in enumerate(found)
    )
    return tuple(sorted(index for _, _, index in ranked[:count]))


def _run(model: Path, inputs: Arrays, device: Device, kernels: str) -> dict[str, NDArray[Any]]:
    (found,) = measure.infer([model], iter([[inputs]]), device, kernels=kernels)
    return dict(found[0])


def _real(contract: Contract, outputs: Arrays) -> dict[str, NDArray[Any]]:
    return {
        item.spec.name: np.asarray(
            quantmath.dequantize(outputs[item.spec.name], item.spec), np.float32
        )
        for item in contract.outputs
    }


def _tolerances(found: Mapping[str, Arrays]) -> dict[str, float]:
    tolerances = {}
    for name, wanted in found["xnnpack"].items():
        apart = max(
            float(difference(wanted, found[kernels][name]).max(initial=0)) for kernels in KERNELS
        )
        is_float = wanted.dtype.kind == "f"
        least = _FLOAT_SHARE * float(np.abs(wanted).max(initial=0)) if is_float else 1.0
        tolerances[name] = apart + least
    return tolerances


# ---------------------------------------------------------------- as files


def golden_files(golden: Golden) -> dict[str, bytes]:
    """The index and the arrays."""
    files: dict[str, bytes] = {}
    vectors = []
    for number, vector in enumerate(golden.vectors):
        entry: dict[str, Any] = {"index": vector.index, "label": vector.label}
        for part in ("raw", "inputs", "outputs", "real"):
            arrays: Arrays = getattr(vector, part)
            entry[part] = {}
            for place, (name, array) in enumerate(arrays.items()):
                path = f"{number:02d}-{part}-{place}.bin"
                little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"))
                files[f"{FOLDER}/{path}"] = little.tobytes()
                entry[part][name] = {
                    "file": path, "dtype": array.dtype.name, "shape": list(array.shape)
                }  # fmt: skip
        vectors.append(entry)
    index = {
        "schema": SCHEMA,
        "data": golden.data,
        "data_sha256": golden.data_sha256,
        "tolerances": dict(golden.tolerances),
        "vectors": vectors,
    }
    return {
        INDEX: (json.dumps(index, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode(),
        **files,
    }


def read_golden(files: Files) -> Golden:
    """The vectors of a package.

    Raises:
        PackageError: they are missing, or not what they say.
    """
    if INDEX not in files:
        raise PackageError(f"{INDEX} is missing.")
    try:
        index = json.loads(files[INDEX])
        vectors = tuple(_read_vector(entry, files) for entry in index["vectors"])
        tolerances = {str(name): float(value) for name, value in index["tolerances"].items()}
        return Golden(str(index["data"]), str(index["data_sha256"]), vectors, tolerances)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PackageError(f"{INDEX} cannot be read: {error!r}.") from error


def _read_vector(entry: Mapping[str, Any], files: Files) -> Vector:
    def arrays(part: str) -> dict[str, NDArray[Any]]:
        return {
            name: np.frombuffer(
                files[f"{FOLDER}/{item['file']}"], np.dtype(item["dtype"]).newbyteorder("<")
            ).reshape(item["shape"])
            for name, item in entry[part].items()
        }

    parts = (arrays(part) for part in ("raw", "inputs", "outputs", "real"))
    return Vector(entry["index"], entry["label"], *parts)


def check_vector(wanted: Vector, given: Arrays, tolerances: Mapping[str, float]) -> list[str]:
    """What is wrong with a machine's outputs, a sentence each; nothing when all are within.

    Raises:
        DataError: an output is missing, or has another dtype or shape.
    """
    problems = []
    for name, expected in wanted.outputs.items():
        own = given.get(name)
        if own is None or own.shape != expected.shape or own.dtype != expected.dtype:
            raise DataError(f"Output {name!r} is not the {expected.dtype} array that was expected.")
        apart = difference(expected, own)
        largest = float(apart.max(initial=0))
        if not largest <= tolerances[name]:
            steps = "" if expected.dtype.kind == "f" else " steps"
            problems.append(
                f"sample {wanted.index}, output {name!r}: {np.count_nonzero(apart)} of "
                f"{apart.size} values differ, by up to {largest:g}{steps} "
                f"({tolerances[name]:g} are accepted)"
            )
    return problems


def prepare(contract: Contract, vector: Vector) -> dict[str, NDArray[Any]]:
    """The input tensors made again from the raw sample, as generated code makes them.

    Raises:
        DataError: the raw sample does not fit.
    """
    specs: Sequence[Any] = [item.spec for item in contract.inputs]
    declared = tuple(
        item.preprocessing for item in contract.inputs if item.preprocessing is not None
    )
    opened = open_samples(
        {name: array[np.newaxis] for name, array in vector.raw.items()}, specs, declared
    )
    (sample,) = opened.iterate()
    return {
        spec.name: quantmath.quantize(sample.inputs[spec.name][np.newaxis], spec) for spec in specs
    }
