"""Golden vectors as files of a package, and how outputs are compared with them.

In a package they are `golden/golden.json` and one little-endian file for each array, so that a
test in any language reads them without a library.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from edgeq.converters.samples.input_shapes import show_shape
from edgeq.converters.samples.open_samples import open_samples
from edgeq.errors import DamagedPackageError, DataError
from edgeq.escaping import json_text
from edgeq.packaging.container.manifest import Sha256, read_json
from edgeq.packaging.contract.results import derive, place_picture
from edgeq.packaging.contract.values import Arrays, Contract, Files, Golden, Vector
from edgeq.tflite import quantmath
from edgeq.tflite.quantmath import difference
from edgeq.values import Count, TensorSpec

SCHEMA = "edgeq.golden/1"
FOLDER = "golden"
INDEX = f"{FOLDER}/golden.json"
_PARTS = ("raw", "inputs", "outputs", "real", "results", "picture", "sounds")
# More vectors would be a dataset.
MOST = 64
# Share of an output's range: kernels of a recurrent network were seen 59 steps of 256 apart.
_MOST_SHARE = 0.25


def real_values(contract: Contract, outputs: Arrays) -> dict[str, NDArray[Any]]:
    """Outputs in real units, float32."""
    return {
        item.spec.name: np.asarray(
            quantmath.dequantize(outputs[item.spec.name], item.spec), np.float32
        )
        for item in contract.outputs
    }


# ---------------------------------------------------------------- as files


def golden_files(golden: Golden) -> dict[str, bytes]:
    """The index and the arrays."""
    files: dict[str, bytes] = {}
    vectors = []
    for number, vector in enumerate(golden.vectors):
        entry: dict[str, Any] = {"index": vector.index, "label": vector.label}
        for part in _PARTS:
            arrays: Arrays = getattr(vector, part)
            entry[part] = {}
            for place, (name, array) in enumerate(arrays.items()):
                path = f"{number:02d}-{part}-{place}.bin"
                little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"))
                files[f"{FOLDER}/{path}"] = little.tobytes()
                shape = list(array.shape)
                entry[part][name] = {"file": path, "dtype": array.dtype.name, "shape": shape}
        vectors.append(entry)
    index = {
        "schema": SCHEMA,
        "data": golden.data,
        "data_sha256": golden.data_sha256,
        "tolerances": dict(golden.tolerances),
        "feature_tolerances": {
            name: dict(given) for name, given in golden.feature_tolerances.items()
        },
        "vectors": vectors,
    }
    return {INDEX: (json_text(index, indent=1) + "\n").encode(), **files}


_Dtype = Annotated[str, Meta(pattern=r"^(bool|u?int(8|16|32|64)|float(16|32|64))\Z")]
_Length = Annotated[int, Meta(ge=0, lt=1 << 31)]
_Precision = Annotated[str, Meta(pattern=r"^float(32|64)\Z")]
_FeatureTolerances = Mapping[_Precision, Annotated[float, Meta(ge=0)]]


@dataclass(frozen=True)
class _ArrayEntry:
    file: str
    dtype: _Dtype
    shape: Annotated[tuple[_Length, ...], Meta(max_length=32)]


@dataclass(frozen=True)
class _VectorEntry:
    index: Count
    label: int | None
    raw: Mapping[str, _ArrayEntry]
    inputs: Mapping[str, _ArrayEntry]
    outputs: Mapping[str, _ArrayEntry]
    real: Mapping[str, _ArrayEntry]
    results: Mapping[str, _ArrayEntry] = field(default_factory=dict)
    picture: Mapping[str, _ArrayEntry] = field(default_factory=dict)
    sounds: Mapping[str, _ArrayEntry] = field(default_factory=dict)


@dataclass(frozen=True)
class _Index:
    schema: Annotated[str, Meta(pattern=rf"^{SCHEMA}\Z")]
    data: str
    data_sha256: Sha256
    tolerances: Mapping[str, Annotated[float, Meta(ge=0)]]
    vectors: Annotated[tuple[_VectorEntry, ...], Meta(min_length=1, max_length=MOST)]
    feature_tolerances: Mapping[str, _FeatureTolerances] = field(default_factory=dict)


def read_golden(files: Files) -> Golden:
    """The vectors of a package; `find_faults` tells whether they fit its model.

    Raises:
        DamagedPackageError: they are missing, or differ from what the index states.
    """
    if INDEX not in files:
        raise DamagedPackageError(f"{INDEX} is missing.")
    index = read_json(files[INDEX], _Index, INDEX)
    vectors = []
    for entry in index.vectors:
        arrays = (_read_arrays(getattr(entry, part), files) for part in _PARTS)
        vectors.append(Vector(entry.index, entry.label, *arrays))
    return Golden(
        index.data, index.data_sha256, tuple(vectors), index.tolerances,
        feature_tolerances=index.feature_tolerances,
    )  # fmt: skip


def _read_arrays(entries: Mapping[str, _ArrayEntry], files: Files) -> dict[str, NDArray[Any]]:
    arrays = {}
    for name, entry in entries.items():
        path = f"{FOLDER}/{entry.file}"
        dtype = np.dtype(entry.dtype)
        size = math.prod(entry.shape) * dtype.itemsize
        if path not in files or len(files[path]) != size:
            raise DamagedPackageError(
                f"{path} does not have the {size:,} bytes that {INDEX} states for {name!r}."
            )
        little = np.frombuffer(files[path], dtype.newbyteorder("<"))
        arrays[name] = little.astype(dtype).reshape(entry.shape)
    return arrays


def find_faults(golden: Golden, contract: Contract) -> list[str]:
    """Why vectors prove nothing about a model, a sentence each; empty when they do."""
    inputs = {item.spec.name: item.spec for item in contract.inputs}
    outputs = {item.spec.name: item.spec for item in contract.outputs}
    wanted: dict[str, Mapping[str, TensorSpec | None]] = {
        "raw": dict.fromkeys(inputs),
        "inputs": inputs,
        "outputs": outputs,
        "real": {name: replace(spec, dtype="float32") for name, spec in outputs.items()},
    }
    problems = []
    for vector in golden.vectors:
        found = [
            fault
            for part, specs in wanted.items()
            for fault in _compare_with_specs(getattr(vector, part), specs, part)
        ]
        found = found or [
            f"{name!r} in real units differs from the dequantized output"
            for name, array in real_values(contract, vector.outputs).items()
            if not np.allclose(vector.real[name], array, rtol=1e-6, atol=0)
        ]
        found = found or _compare_results(contract, vector)
        problems += [f"sample {vector.index}: {fault}" for fault in found]
    return problems or find_wide_tolerances(golden, contract)


def _compare_results(contract: Contract, vector: Vector) -> list[str]:
    results = derive(contract, vector.real)
    try:
        picture = place_picture(contract, vector.raw, results)
    except DataError as error:
        return [error.message]
    found = []
    for what, own, wanted in (
        ("results", vector.results, results),
        ("values of the picture", vector.picture, picture),
    ):
        if set(own) != set(wanted):
            found.append(f"{what} are {_names(own)}, but the model's are {_names(wanted)}")
            continue
        found += [
            f"{name!r} of the {what} differs from what the outputs give"
            for name, array in wanted.items()
            if array.shape != own[name].shape
            or not np.allclose(own[name], array, rtol=1e-6, atol=1e-9)
        ]
    return found


def _compare_with_specs(
    arrays: Arrays, specs: Mapping[str, TensorSpec | None], part: str
) -> Iterator[str]:
    if set(arrays) != set(specs):
        yield f"{part} are for {_names(arrays)}, but the model has {_names(specs)}"
        return
    for name, spec in specs.items():
        array = arrays[name]
        if spec is not None and (array.dtype.name, array.shape) != (spec.dtype, spec.shape):
            yield (
                f"{name!r} of {part} is {array.dtype} {show_shape(array.shape)}, not {spec.dtype} "
                f"{show_shape(spec.shape)}"
            )
        elif part != "raw" and not np.isfinite(array).all():
            yield f"{name!r} of {part} has values that are not finite"


def _names(items: Iterable[str]) -> str:
    return ", ".join(map(repr, items)) or "nothing"


def find_wide_tolerances(golden: Golden, contract: Contract) -> list[str]:
    """Tolerances that accept almost anything, or belong to other outputs, a sentence each."""
    outputs = {item.spec.name: item.spec for item in contract.outputs}
    if set(golden.tolerances) != set(outputs):
        return [f"tolerances are for {_names(golden.tolerances)}, not for {_names(outputs)}"]
    problems = []
    for name, spec in outputs.items():
        if spec.scales:
            limits = np.iinfo(spec.dtype)
            reach = float(limits.max) - float(limits.min)
        else:
            reach = max(
                float(np.abs(vector.outputs[name].astype(np.float64)).max(initial=0))
                for vector in golden.vectors
            )
        least = 0.0 if spec.dtype == "float32" else 1.0
        most = least + _MOST_SHARE * reach
        if not golden.tolerances[name] <= most:
            problems.append(
                f"the tolerance {golden.tolerances[name]:g} of output {name!r} would accept almost "
                f"anything: at most {most:g} is useful"
            )
    return problems


def check_vector(wanted: Vector, given: Arrays, tolerances: Mapping[str, float]) -> list[str]:
    """Find wrong outputs of a machine, a sentence each; empty when all are within tolerance.

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
    specs = [item.spec for item in contract.inputs]
    raw = {name: array[np.newaxis] for name, array in vector.raw.items()}
    (sample,) = open_samples(raw, specs, contract.preprocessing).iterate()
    return {
        spec.name: quantmath.quantize(sample.inputs[spec.name][np.newaxis], spec) for spec in specs
    }
