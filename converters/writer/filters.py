"""Stores the weights and biases of operators with a filter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.converters.writer import integers
from edgeq.converters.writer.integers import Stored
from edgeq.converters.writer.layers import Filter
from edgeq.converters.writer.narrow import store_weights
from edgeq.converters.writer.parameters import Affine
from edgeq.converters.writer.rebuilding import Rebuilding
from edgeq.errors import QuantizationError
from edgeq.tflite import flatbuffer

_PEAKS = {"int8": 127, "int4": 7}


class FilterStore:
    """The filters of one float model; their weights are rounded once for all ranges.

    Args:
        tree: the float model.
        per_channel: one scale per output channel.
    """

    def __init__(self, tree: Any, *, per_channel: bool):
        self._tree, self._graph, self._per_channel = tree, tree.subgraphs[0], per_channel
        self._rounded: dict[tuple[object, ...], Stored] = {}

    def store(self, new: Rebuilding, filter_: Filter, kind: str, given: Affine) -> dict[int, int]:
        """Add the weights and the bias to a file in the making.

        Args:
            kind: dtype of the weights, "int8" or "int4".
            given: the parameters of the input.

        Returns:
            Tensor of the float model to the new one.

        Raises:
            QuantizationError: the bias does not fit the weights.
        """
        bias = None
        if filter_.bias >= 0:
            bias = flatbuffer.constant(self._tree, self._graph.tensors[filter_.bias])
            self._require_channels(filter_, bias.size)
        if given.dtype == "int16":
            stored = self._round_for_int16(filter_, bias, given.scale)
        else:
            stored = self._round(filter_, kind)
        steps = integers.bias_scales(given, stored.scales)
        if bias is not None and given.dtype == "int8":
            fitting, steps = integers.fit_bias(bias, given, stored.scales)
            stored = self._round_again(filter_, stored, fitting)
        key = (kind, filter_.axis, stored.scales.tobytes())
        found = {filter_.weights: new.constant(filter_.weights, stored, key)}
        if bias is not None:
            wide = "int64" if given.dtype == "int16" else "int32"
            found[filter_.bias] = new.constant(
                filter_.bias, integers.store_bias(bias, steps, wide), (wide, steps.tobytes())
            )
        return found

    def _require_channels(self, filter_: Filter, count: int) -> None:
        shape = flatbuffer.indices(self._graph.tensors[filter_.weights].shape)
        if filter_.axis >= len(shape) or shape[filter_.axis] != count:
            name = flatbuffer.tensor_name(self._graph, filter_.bias)
            raise QuantizationError(
                f"The bias {name!r} has {count} values, which do not fit a filter of {shape}."
            )

    def _weights(self, filter_: Filter) -> NDArray[np.float32]:
        tensor = self._graph.tensors[filter_.weights]
        return flatbuffer.constant(self._tree, tensor).astype(np.float32)

    def _axis(self, filter_: Filter) -> int | None:
        return filter_.axis if self._per_channel else None

    def _round(self, filter_: Filter, kind: str) -> Stored:
        axis, peak = self._axis(filter_), _PEAKS[kind]
        key = (filter_.weights, kind, axis)
        if key not in self._rounded:
            weights = self._weights(filter_)
            if kind == "int4":
                limits, is_own = (-peak, peak), self._per_channel
                made = store_weights(weights, kind, limits, filter_.axis, per_channel=is_own)
            else:
                scales = integers.weight_scales(weights, axis, peak)
                values = integers.round_weights(weights, scales, axis, peak)
                made = Stored(values, kind, scales, axis=axis or 0)
            self._rounded[key] = made
        return self._rounded[key]

    def _round_for_int16(self, filter_: Filter, bias: NDArray[Any] | None, scale: float) -> Stored:
        axis, weights = self._axis(filter_), self._weights(filter_)
        peaks = integers.widen_peaks(integers.weight_peaks(weights, axis), bias, scale)
        key = (filter_.weights, axis, peaks.tobytes())
        if key not in self._rounded:
            scales = peaks / np.float32(127)
            values = integers.round_weights(weights, scales, axis, peaks=peaks)
            self._rounded[key] = Stored(values, "int8", scales, axis=axis or 0)
        return self._rounded[key]

    def _round_again(self, filter_: Filter, stored: Stored, scales: NDArray[np.float32]) -> Stored:
        """The weights with scales that were widened for a large bias."""
        if np.array_equal(scales, stored.scales):
            return stored
        peak = _PEAKS[stored.dtype]
        axis = self._axis(filter_)
        values = integers.round_weights(self._weights(filter_), scales, axis, peak)
        return replace(stored, values=values, scales=scales)
