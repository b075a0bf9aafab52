"""The arithmetic with constants at the beginning of a float model: how it rescales its input.

A SavedModel, a `.pt2` or an `.onnx` file does not name a Rescaling layer; its graph shows it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.tflite import flatbuffer
from edgeq.tflite.operators import having

_PASSING = having("layout") | having("converts")
_NEAR = 2.0  # the mean of constants within this factor is close to all of them
_NAMES = ("ADD", "SUB", "MUL", "DIV")


def find_rescaling(tree: Any) -> tuple[float, float] | None:
    """Scale and offset of a model with one input that begins with `x * scale + offset`.

    Args:
        tree: a float model.

    Returns:
        None if it does not. Constants of channels or features give their mean if they are within a
        factor of 2, as those of an image's colours are; otherwise None.
    """
    graph = tree.subgraphs[0]
    if len(flatbuffer.indices(graph.inputs)) != 1:
        return None
    (index,) = flatbuffer.indices(graph.inputs)
    scale, offset, is_found = 1.0, 0.0, False
    while True:
        readers = [one for one in graph.operators if index in flatbuffer.indices(one.inputs)]
        if len(readers) != 1:
            break
        name = flatbuffer.operator_name(tree, readers[0])
        if name in _NAMES:
            inputs = flatbuffer.indices(readers[0].inputs)
            other = graph.tensors[inputs[1] if inputs[0] == index else inputs[0]]
            is_first = inputs[0] == index
            if not flatbuffer.is_constant(tree, other) or not (is_first or name in ("ADD", "MUL")):
                break
            values = np.asarray(flatbuffer.constant(tree, other), np.float64)
            if not _are_near(values):
                return None
            value = float(values.mean())
            if name in ("MUL", "DIV"):
                factor = value if name == "MUL" else 1.0 / (value or 1.0)
                scale, offset = scale * factor, offset * factor
            else:
                offset += value if name == "ADD" else -value
            is_found = True
        elif name not in _PASSING:
            break
        (index,) = flatbuffer.indices(readers[0].outputs)[:1]
    return (scale, offset) if is_found else None


def _are_near(values: NDArray[np.float64]) -> bool:
    sizes = np.abs(values)
    return len(set(np.sign(values.flat))) == 1 and float(sizes.max()) <= _NEAR * float(sizes.min())
