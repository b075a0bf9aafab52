"""Golden vectors as assets of an instrumentation test, and the code that reads each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.packaging.contract.values import Arrays, Golden, Vector

Names = dict[str, Any]
Tolerances = Mapping[str, Mapping[str, float]]


def golden_assets(golden: Golden, names: Names) -> tuple[list[Names], dict[str, bytes]]:
    """The vectors for the template, and the files that they name, little-endian.

    Raw samples are stored as generated code takes them: 8-bit pixels, or float32, or int64.

    Args:
        names: from `describe`.
    """
    assets: dict[str, bytes] = {}
    vectors = []
    for number, vector in enumerate(golden.vectors):
        shelf = _Shelf(assets, names["golden"], number)
        tolerances = golden.feature_tolerances
        inputs = [_input(item, vector, tolerances, shelf) for item in names["inputs"]]
        outputs = [
            _output(item, vector, golden.tolerances[item["key"]], shelf)
            for item in names["outputs"]
        ]
        joins = [
            {**item, "file": shelf.put("joined", vector.results[item["key"]], "<f4")}
            for item in names["joins"]
        ]
        found = {"index": vector.index, "inputs": inputs, "outputs": outputs, "joins": joins}
        boxes = _boxes(names["boxes"], vector.results, shelf)
        vectors.append(
            {**found, "boxes": boxes, "picture": _picture(names["boxes"], vector, shelf)}
        )
    return vectors, assets


class _Shelf:
    """Stores the arrays of one vector under numbered names."""

    def __init__(self, assets: dict[str, bytes], folder: str, number: int):
        self._assets, self._folder, self._number = assets, folder, number
        self._count = 0

    def put(self, part: str, array: NDArray[Any], dtype: str | None = None) -> str:
        name = f"{self._number:02d}-{self._count:02d}-{part}.bin"
        wanted = np.dtype(dtype) if dtype else array.dtype.newbyteorder("<")
        self._assets[f"{self._folder}/{name}"] = array.astype(wanted).tobytes()
        self._count += 1
        return name


def _input(item: Names, vector: Vector, tolerances: Tolerances, shelf: _Shelf) -> Names:
    raw = vector.raw[item["key"]]
    has_channels = raw.ndim == 2 or (raw.ndim == 3 and raw.shape[2] in (1, 3))
    is_image = item["image"] is not None and raw.dtype == np.uint8 and has_channels
    # An image as the generated code takes one.
    if is_image and (item["resize"] is not None or raw.shape[:2] == item["image"][:2]):
        height, width, channels = (*raw.shape, 1)[:3]
        arguments = f'bytes("{shelf.put("raw", raw)}"), {height}, {width}, {channels}'
    elif item["is_real"]:
        arguments = f'floats("{shelf.put("raw", raw, "<f4")}")'
    else:
        arguments = f'longs("{shelf.put("raw", raw, "<i8")}")'
    file = shelf.put("input", vector.inputs[item["key"]])
    made = {**item, "call": f"{item['prepare']}({arguments})", "file": file}
    if item["sound"] is not None:
        made["sound_files"] = {
            "sound": shelf.put("sound", vector.sounds[item["key"]]),
            "features": shelf.put("features", raw),
            "tolerance": repr(tolerances[item["key"]]["float64"]),
        }
    return made


def _boxes(described: Names | None, results: Arrays, shelf: _Shelf) -> Names | None:
    """The boxes that were found, six numbers each."""
    if described is None:
        return None
    rows = results[described["name"]][0]
    return {**described, "file": shelf.put("boxes", rows[rows[:, 0] >= 0], "<f4")}


def _picture(described: Names | None, vector: Vector, shelf: _Shelf) -> Names | None:
    """The place of the picture in a letterboxed input, and the boxes in it."""
    if not vector.picture:
        return None
    numbers = {name: vector.picture[name].tolist() for name in ("size", "region")}
    rows = {} if described is None else {described["name"]: vector.picture["boxes"]}
    return {**numbers, "boxes": _boxes(described, rows, shelf)}


def _output(item: Names, vector: Vector, tolerance: float, shelf: _Shelf) -> Names:
    tensor = vector.outputs[item["key"]]
    is_float = tensor.dtype.kind == "f"
    real = (vector.real[item["key"]], "<f4") if item["is_real"] else (tensor, "<i8")
    return {
        **item,
        "file": shelf.put("output", tensor),
        "real": shelf.put("real", *real),
        "read_real": "floats" if item["is_real"] else "longs",
        "numbers": "Tensors.getFloats" if is_float else "Tensors.getIntegers",
        "layout": "" if is_float else f", {item['width']}, {item['signed']}",
        "tolerance": repr(float(tolerance)),
    }
