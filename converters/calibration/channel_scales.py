"""Layers whose channels have unlike ranges: integers of one scale, and real units behind them.

A layer `y = W x + b` becomes `z = (W / s) x + (b - o) / s` with `y = s z + o`, where z has the same
range in each channel. The layer stays in integers, and a MUL and an ADD give z its real units. This
is exact up to the rounding of float32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeq.converters.graph.matching import UNITS
from edgeq.converters.rewrites.editor import Editor
from edgeq.tflite import flatbuffer

Values = NDArray[np.float64]

_KINDS = ("FULLY_CONNECTED", "CONV_2D")
# Steps of 8 bits.
_STEPS = 255
# Kernels differ by a few units in the last place of float32, relative to the largest value.
_CONSTANT = 5e-7


class Units(NamedTuple):
    """Real units of a layer's channels: `y = scale * z + offset`, float64 [channels] each."""

    scale: Values
    offset: Values


def find_units(values: NDArray[Any], least_db: float) -> Units | None:
    """Find the units of channels that one INT8 range does not fit.

    Args:
        values: what a layer computes, [samples, ..., channels].
        least_db: SQNR that rounding to INT8 steps leaves each channel that varies.

    Returns:
        Offsets alone where these are enough; None if one range fits all channels.
    """
    rows = values.reshape(-1, values.shape[-1] if values.ndim > 1 else 1).astype(np.float64)
    low, high, spread = rows.min(axis=0), rows.max(axis=0), rows.std(axis=0)
    varies = spread > _CONSTANT * np.maximum(np.abs(low), np.abs(high))

    def is_fit(width: float) -> bool:
        noise = (width / _STEPS) ** 2 / 12
        return bool((spread[varies] ** 2 >= 10 ** (least_db / 10) * noise).all())

    if is_fit(max(float(high.max()), 0.0) - min(float(low.min()), 0.0)):
        return None
    middle, half = (low + high) / 2, (high - low) / 2
    offset = np.where(np.abs(middle) > half, middle, 0.0)
    left = np.maximum(np.abs(low - offset), np.abs(high - offset))
    if is_fit(2 * float(left.max())):
        return Units(np.ones_like(offset), offset)
    return Units(np.where(varies, left, max(float(left.max()), math.ulp(1.0))), offset)


def can_split(editor: Editor, index: int) -> bool:
    """Whether a tensor is made by a layer whose stored weights no other operator reads."""
    operator = editor.producer(index)
    if editor.kind(operator) not in _KINDS:
        return False
    return all(
        number < 0 or (editor.value(number) is not None and len(editor.readers(number)) == 1)
        for number in editor.inputs(operator)[1:]
    )


def split_units(content: bytes, layers: Mapping[int, Units]) -> bytes:
    """The float model with real units behind the layers.

    Args:
        content: the float flatbuffer.
        layers: tensor that a layer makes to its units; `can_split` is true for each.
    """
    tree = flatbuffer.parse(content, "the float model")
    editor = Editor(tree)
    for index, units in layers.items():
        _split(editor, index, units)
    return flatbuffer.serialize(tree)


def _split(editor: Editor, index: int, units: Units) -> None:
    layer = editor.producer(index)
    assert layer is not None
    name = editor.tensor_name(index)
    data, number, *rest = editor.inputs(layer)
    weights = editor.value(number)
    bias = editor.value(rest[0]) if rest and rest[0] >= 0 else None
    assert weights is not None
    behind = units.scale.reshape(-1, *[1] * (weights.ndim - 1))
    scaled = (weights / behind).astype(np.float32)
    moved = ((0.0 if bias is None else bias.astype(np.float64)) - units.offset) / units.scale
    stored = editor.new_constant(f"{editor.tensor_name(number)}/scaled", scaled)
    shift = editor.new_constant(f"{name}/bias", moved.astype(np.float32))
    editor.set_inputs(layer, [data, stored, shift])
    activation = editor.activation(layer)
    layer.builtinOptions.fusedActivationFunction = 0
    steps = [("MUL", units.scale)] if (units.scale != 1).any() else []
    steps += [("ADD", units.offset)] if units.offset.any() or not steps else []
    current = editor.new_like(index, f"{name}{UNITS}")
    editor.move_output(layer, index, current)
    after = editor.operators[editor.operators.index(layer) + 1 :][:1]
    for place, (kind, constant) in enumerate(steps):
        is_last = place == len(steps) - 1
        options = getattr(flatbuffer.schema(), f"{kind.capitalize()}OptionsT")()
        options.fusedActivationFunction = activation if is_last else 0
        made = index if is_last else editor.new_like(index, f"{name}/product")
        own = editor.new_constant(f"{name}/{kind.lower()}", constant.astype(np.float32))
        editor.insert(after[0] if after else None, kind, [current, own], [made], options=options)
        current = made
