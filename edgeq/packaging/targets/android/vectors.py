"""Golden vectors as assets of an instrumentation test, and what the test says about each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.packaging.values import Golden, Vector

Names = dict[str, Any]


def golden_assets(golden: Golden, names: Names) -> tuple[list[Names], dict[str, bytes]]:
    """The vectors for the template, and the files that they name, little-endian.

    Raw samples are stored as generated code takes them: 8-bit pixels, or float32, or int64.

    Args:
        names: as `describe` makes them.
    """
    assets: dict[str, bytes] = {}

    def store(name: str, array: NDArray[Any], dtype: str) -> str:
        path = f"{name}.bin"
        assets[f"{names['golden']}/{path}"] = array.astype(dtype).tobytes()
        return path

    def describe_input(item: Names, vector: Vector, name: str) -> Names:
        raw, tensor = vector.raw[item["key"]], vector.inputs[item["key"]]
        if _is_pixels(raw, item):
            path = store(f"{name}-raw", raw, "u1")
            height, width, channels = (*raw.shape, 1)[:3]
            arguments = f'bytes("{path}"), {height}, {width}, {channels}'
        elif item["is_real"]:
            arguments = f'floats("{store(f"{name}-raw", raw, "<f4")}")'
        else:
            arguments = f'longs("{store(f"{name}-raw", raw, "<i8")}")'
        file = store(f"{name}-input", tensor, tensor.dtype.newbyteorder("<").str)
        return {**item, "call": f"{item['prepare']}({arguments})", "file": file}

    def describe_output(item: Names, vector: Vector, name: str) -> Names:
        tensor, real = vector.outputs[item["key"]], vector.real[item["key"]]
        is_float = tensor.dtype.kind == "f"
        layout = "" if is_float else f", {item['width']}, {item['signed']}"
        return {
            **item,
            "file": store(f"{name}-output", tensor, tensor.dtype.newbyteorder("<").str),
            "real": store(f"{name}-real", *((real, "<f4") if item["is_real"] else (tensor, "<i8"))),
            "read_real": "floats" if item["is_real"] else "longs",
            "numbers": "Tensors.getFloats" if is_float else "Tensors.getIntegers",
            "layout": layout,
            "tolerance": repr(float(golden.tolerances[item["key"]])),
        }

    vectors = [
        {
            "index": vector.index,
            "inputs": [
                describe_input(item, vector, f"{number:02d}-{place}")
                for place, item in enumerate(names["inputs"])
            ],
            "outputs": [
                describe_output(item, vector, f"{number:02d}-{place}")
                for place, item in enumerate(names["outputs"])
            ],
        }
        for number, vector in enumerate(golden.vectors)
    ]
    return vectors, assets


def _is_pixels(raw: NDArray[Any], item: Names) -> bool:
    """Whether a sample is an image as the generated code takes one."""
    if item["image"] is None or raw.dtype != np.uint8:
        return False
    has_channels = raw.ndim == 2 or (raw.ndim == 3 and raw.shape[2] in (1, 3))
    return has_channels and (item["resize"] is not None or raw.shape[:2] == item["image"][:2])
