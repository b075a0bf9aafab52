"""Inputs and outputs as the templates need them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.converters.samples import preprocessing
from edgeq.packaging.contract import naming
from edgeq.packaging.contract.values import Golden, InputContract, OutputContract, Vector
from edgeq.packaging.targets.c import literals
from edgeq.packaging.targets.c.boxes import field
from edgeq.values import Preprocessing, TensorSpec

Described = dict[str, Any]

_NOTHING = Preprocessing()
# enum TfLiteType
_TYPE_NUMBERS = {"float32": 1, "int32": 2, "uint8": 3, "int64": 4, "bool": 6, "int16": 7, "int8": 9}


def describe_input(place: int, item: InputContract, vectors: Sequence[Vector]) -> Described:
    """One input: its struct, how a raw value is prepared, and its golden arrays."""
    spec = item.spec
    declared = item.preprocessing or _NOTHING
    raw = np.stack([_pixels(declared, vector.raw[spec.name]).ravel() for vector in vectors])
    channels = spec.shape[-1] if spec.shape else 1
    steps = ["swaps red and blue"] if declared.channels == "bgr" else []
    numeric = replace(declared, input=None, preset=None, resize=None, channels="rgb", pad=None)
    if numeric != _NOTHING:
        steps.append("applies the numeric part of the preprocessing")
    steps += ["quantizes"] if spec.scales else []
    return {
        **_describe(place, spec, naming.pascal(item.identifier) + "Input"),
        "channels": channels,
        "is_image": item.image is not None and bool(declared.resize),
        "is_letterboxed": declared.pad is not None,
        "pad": declared.pad,
        "is_gray": declared.channels == "gray",
        "is_reversed": declared.channels == "bgr",
        "scale_raw": None if declared.scale == 1.0 else literals.number32(declared.scale),
        "offset_raw": None if declared.offset == 0.0 else literals.number32(declared.offset),
        "mean": [literals.number32(value) for value in declared.mean],
        "std": [literals.number32(value) for value in declared.std],
        "is_per_channel": len(declared.mean) > 1 or len(declared.std) > 1,
        "is_real": bool(spec.scales) or spec.dtype == "float32",
        "filling": f"{' and '.join(steps) or 'copies the values'}.",
        "raw_type": literals.TYPES[raw.dtype.name],
        "raw": _rows(raw),
        "golden": _golden(vectors, lambda vector: vector.inputs[spec.name]),
    }


def describe_output(place: int, item: OutputContract, golden: Golden) -> Described:
    """One output: its struct, its labels and its golden arrays."""
    name = item.spec.name
    return {
        **_describe(place, item.spec, naming.pascal(item.identifier) + "Output"),
        "field": field(item.identifier),
        "labels": [literals.string(label) for label in item.labels],
        "tolerance": literals.number(np.float64(golden.tolerances[name])),
        "golden": _golden(golden.vectors, lambda vector: vector.outputs[name]),
        "real": _golden(golden.vectors, lambda vector: vector.real[name]),
    }


def _describe(place: int, spec: TensorSpec, struct: str) -> Described:
    return {
        "place": place,
        "struct": struct,
        "name": literals.string(spec.name),
        "type": literals.TYPES[spec.dtype],
        "type_number": _TYPE_NUMBERS[spec.dtype],
        "dtype": spec.dtype,
        "rank": len(spec.shape),
        "shape": ", ".join(map(str, spec.shape)) or "1",
        "shown_shape": "x".join(map(str, spec.shape)) or "a single number",
        "size": math.prod(spec.shape),
        "scale": literals.number32(spec.scales[0]) if spec.scales else None,
        "zero_point": int(spec.zero_points[0]) if spec.scales else None,
    }


def _pixels(declared: Preprocessing, raw: NDArray[Any]) -> NDArray[Any]:
    """A raw sample after resizing and making grey, which the application does on the board."""
    channels = "gray" if declared.channels == "gray" else "rgb"
    if declared.resize is None and channels == "rgb":
        return raw.astype(np.float32) if raw.dtype == np.float16 else raw
    how = Preprocessing(resize=declared.resize, channels=channels, pad=declared.pad)
    pixels = preprocessing.apply(how, raw)
    return pixels.astype(raw.dtype)


def _golden(vectors: Sequence[Vector], pick: Callable[[Vector], NDArray[Any]]) -> list[str]:
    return _rows(np.stack([pick(vector).ravel() for vector in vectors]))


def _rows(arrays: NDArray[Any]) -> list[str]:
    return [literals.values(row) for row in arrays]
