"""Figures of one operator's values and parameters: ranges, channels, outliers, shifts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.converters.proof.layer_errors import Pair, Step, decibel
from edgeq.tflite import flatbuffer
from edgeq.tflite.operators import CHANNEL_AXIS

Array = NDArray[Any]

_TAIL_PERCENT = 99.9


def measure_step(pair: Pair, step: Step) -> dict[str, Any]:
    """Return the fields of a `LayerReport` that depend on one operator only."""
    name, kind = pair.describe(step.position)
    twin = pair.made.subgraphs[0].operators[step.twin]
    result = pair.made.subgraphs[0].tensors[flatbuffer.indices(twin.outputs)[0]]
    wanted = next(iter(step.expected.values()))
    low, high = _limits(result)
    given = _largest(list(step.inputs.values()))
    weights, per_channel = _weights(pair, step, kind)
    return {
        "name": name,
        "quantized_name": flatbuffer.text(result.name),
        "operator": kind,
        "own_sqnr_db": decibel(step.own_error),
        "accumulated_sqnr_db": decibel(step.accumulated_error),
        "range_use": _range_use(wanted, low, high),
        "saturation_share": float(np.mean((wanted < low) | (wanted > high))),
        "weight_spread": weights,
        "is_per_channel": per_channel,
        "input_spread": max((_spread(_by_channel(v)) for v in step.inputs.values()), default=1.0),
        "output_spread": _spread(_by_channel(wanted)),
        "outlier_ratio": 1.0 if given is None else _outliers(given),
        "bias_share": _bias_share(wanted, next(iter(step.alone.values()))),
        "operand_ratio": _operand_ratio(list(step.inputs.values())),
        "is_float": result.quantization is None or not np.isfinite(high),
        "is_narrow": any(
            index >= 0 and flatbuffer.dtype(pair.made.subgraphs[0].tensors[index]) == "int4"
            for index in flatbuffer.indices(twin.inputs)
        ),
        **_neighbours(pair, step),
    }


def _neighbours(pair: Pair, step: Step) -> dict[str, list[str]]:
    """Names of the operators that make its inputs, and of those that read its results."""
    operators = pair.tree.subgraphs[0].operators
    makers, readers = [], []
    for position, operator in enumerate(operators):
        if set(flatbuffer.indices(operator.outputs)) & set(step.inputs):
            makers.append(pair.describe(position)[0])
        if set(flatbuffer.indices(operator.inputs)) & set(step.expected):
            readers.append(pair.describe(position)[0])
    return {"makers": makers, "readers": readers}


def _limits(tensor: Any) -> tuple[float, float]:
    """Return the range of a quantized tensor, widened by half a step; of float, everything."""
    spec = flatbuffer.tensor_spec(tensor, "")
    if not spec.scales:
        return -np.inf, np.inf
    limits = np.iinfo(spec.dtype)
    scale, zero = spec.scales[0], spec.zero_points[0]
    return (limits.min - zero - 0.5) * scale, (limits.max - zero + 0.5) * scale


def _range_use(values: Array, low: float, high: float) -> float:
    if not np.isfinite(high - low):
        return 1.0
    seen = np.clip([values.min(), values.max()], low, high)
    return float((seen[1] - seen[0]) / (high - low))


def _by_channel(values: Array) -> Array:
    """[..., channels] -> the largest magnitude of each channel; of vectors, the whole."""
    if values.ndim < 3:
        return np.array([np.max(np.abs(values), initial=0.0)])
    ranges: Array = np.abs(values).reshape(-1, values.shape[-1]).max(axis=0)
    return ranges


def _spread(ranges: Array) -> float:
    """The widest channel's range over the median channel's; dead channels do not count."""
    alive = ranges[ranges > 0]
    return float(alive.max() / np.median(alive)) if alive.size else 1.0


def _weights(pair: Pair, step: Step, kind: str) -> tuple[float | None, bool | None]:
    operator = pair.tree.subgraphs[0].operators[step.position]
    twin = pair.made.subgraphs[0].operators[step.twin]
    tensors = pair.tree.subgraphs[0].tensors, pair.made.subgraphs[0].tensors
    if kind not in CHANNEL_AXIS:
        return None, None
    own, other = (
        part[flatbuffer.indices(op.inputs)[1]]
        for part, op in zip(tensors, (operator, twin), strict=True)
    )
    if not flatbuffer.is_constant(pair.tree, own):
        return None, None
    axis = CHANNEL_AXIS[kind]
    values = np.moveaxis(np.abs(flatbuffer.constant(pair.tree, own)), axis, -1)
    ranges = values.reshape(-1, values.shape[-1]).max(axis=0)
    scales = flatbuffer.tensor_spec(other, "").scales
    return _spread(ranges), len(scales) > 1 if scales else None


def _largest(arrays: list[Array]) -> Array | None:
    floats = [array for array in arrays if array.dtype.kind == "f" and array.size]
    return max(floats, key=lambda array: array.size, default=None)


def _outliers(values: Array) -> float:
    magnitude = np.abs(values[values != 0])
    if magnitude.size == 0:
        return 1.0
    return float(magnitude.max() / max(np.percentile(magnitude, _TAIL_PERCENT), 1e-30))


def _bias_share(wanted: Array, given: Array) -> float:
    """Share of the squared error that the mean error of each channel explains."""
    error = (given - wanted).astype(np.float64).reshape(-1, wanted.shape[-1])
    total = float(np.mean(error**2))
    return float(np.mean(error.mean(axis=0) ** 2) / total) if total > 0 else 0.0


def _operand_ratio(arrays: list[Array]) -> float:
    """Range of the widest computed operand over the narrowest one's."""
    ranges = [float(np.max(np.abs(item), initial=0.0)) for item in arrays if item.dtype.kind == "f"]
    alive = [value for value in ranges if value > 0]
    return max(alive) / min(alive) if len(alive) > 1 else 1.0
