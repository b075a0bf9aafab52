"""Cross-layer equalization: every channel of an activation uses the whole 8-bit range.

All channels of an activation share one scale, so a channel that only reaches a hundredth of the
widest one keeps two bits or so. A channel can be multiplied on the way out of a layer with weights
and divided on the way into the next ones, and the model computes the same. `channel_groups` finds
which channels can have a factor, through residual connections, too. After M. Nagel et al.,
"Data-Free Quantization Through Weight Equalization and Bias Correction" (ICCV 2019), section 4.1;
the factors here come from the calibrated activations, because weights have a scale per channel in
any case.

A ReLU6 stays one: a channel is scaled up to 6 at most. INT8 clips where it would have clipped.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.converters.calibration.channel_groups import KEPT, ChannelGroups, find_groups
from edgeq.converters.calibration.statistics import Statistics
from edgeq.tflite import flatbuffer
from edgeq.tflite.flatbuffer import indices

Factors = NDArray[np.float64]

_CEILING = 6.0  # of a ReLU6
_MARGIN = 1.1  # other samples may reach a little farther than those of calibration
_MOST = 64.0
_STRENGTH = 0.5


def equalize(
    content: bytes,
    channels: Mapping[int, NDArray[np.float32]],
    strength: float = _STRENGTH,
) -> tuple[bytes, dict[int, Factors]]:
    """The float model with its channels scaled to their activation's range.

    Args:
        content: the float flatbuffer.
        channels: tensor index to [2, C], calibrated minimum and maximum of each channel.
        strength: exponent of the factor where the reader's weights share scales over input
            channels; at 1 all of the unevenness moves into those weights. A depthwise reader
            has a scale per channel, so it is always 1 there.

    Returns:
        A float flatbuffer that computes the same on calibrated values, and the activations that
        were changed, by tensor index, with the factors [C] of their channels.
    """
    tree = flatbuffer.parse(content, "the float model")
    found = find_groups(tree)
    graph, factors = tree.subgraphs[0], choose_factors(tree, found, channels, strength)
    if (factors == 1.0).all():
        return content, {}
    of = {index: factors[groups] for index, groups in found.groups.items()}
    for layer in found.layers:
        operator = graph.operators[layer.position]
        if (given := of.get(layer.source)) is not None:
            _scale(tree, operator, layer.weights, layer.input_axis, 1.0 / given)
        if (made := of.get(layer.result)) is not None:
            _scale(tree, operator, layer.weights, layer.channel_axis, made)
            _scale(tree, operator, layer.bias, 0, made)
    changed = {index: own for index, own in of.items() if (own != 1.0).any()}
    return flatbuffer.serialize(tree), changed


def scale_statistics(seen: Statistics, changed: Mapping[int, Factors]) -> Statistics:
    """The statistics of the equalized model, from those of the plain one.

    Extremes are exact. Of the tensors whose channels were scaled there is no histogram, so every
    statistic that needs one gives their extremes.

    Args:
        changed: what `equalize` returned.
    """
    low, high = seen.minimum.copy(), seen.maximum.copy()
    histogram = None if seen.histogram is None else seen.histogram.copy()
    place = {index: number for number, index in enumerate(seen.indices)}
    for index, factors in changed.items():
        scaled = seen.channels[index].astype(np.float64) * factors
        low[place[index]], high[place[index]] = scaled[0].min(), scaled[1].max()
        if histogram is not None:
            histogram[place[index]] = 0
    return replace(seen, minimum=low, maximum=high, histogram=histogram)


def choose_factors(
    tree: Any,
    found: ChannelGroups,
    channels: Mapping[int, NDArray[np.float32]],
    strength: float,
) -> Factors:
    """Factor of each group, at least 1, with which no activation gets a wider range."""
    graph = tree.subgraphs[0]
    most, is_alive = np.full(found.count, np.inf), np.zeros(found.count, bool)
    for index, groups in found.groups.items():
        if index not in channels:
            most[groups] = 1.0
            continue
        peak = np.abs(channels[index].astype(np.float64)).max(axis=0) * _MARGIN
        widest = float(peak.max(initial=0.0))
        if index in found.limited:
            widest = min(widest, _CEILING)
        alive = peak > 1e-6 * widest
        is_alive[groups[alive]] = True
        np.minimum.at(most, groups[alive], widest / peak[alive])
    most[~is_alive | (np.arange(found.count) == KEPT)] = 1.0
    most = np.maximum(most, 1.0)
    factors = most**strength
    is_depthwise = np.ones(found.count, bool)
    for layer in found.layers:
        if layer.is_depthwise or layer.source not in found.groups:
            continue
        groups = found.groups[layer.source]
        is_depthwise[groups] = False
        weights = graph.tensors[graph.operators[layer.position].inputs[layer.weights]]
        share = _shares(flatbuffer.constant(tree, weights), len(groups))
        even = np.sqrt(share / most[groups])
        np.maximum.at(factors, groups, most[groups] * even / max(even.max(), 1e-30))
    factors = np.where(is_depthwise, most, np.minimum(factors, most))
    return np.asarray(np.clip(factors, 1.0, _MOST), np.float64)


def _shares(weights: NDArray[Any], channels: int) -> Factors:
    """The largest weight of each channel, relative to the largest of all, [C].

    The weights of an output share a scale, so a large weight for a small channel makes the steps
    of all others larger: both get the same share of their ranges then, as in section 4.1 of the
    paper.

    Args:
        weights: [outputs, ..., inputs].
    """
    largest = np.abs(weights).reshape(-1, channels).max(axis=0, initial=0.0)
    return np.asarray(largest / max(float(largest.max(initial=0.0)), 1e-30), np.float64)


def _scale(tree: Any, operator: Any, slot: int, axis: int, factors: Factors) -> None:
    """Multiply a constant along an axis, whose length is a multiple of the factors'.

    A bias of zeros may be shared: then it stays, and the operator gets another one.
    """
    inputs, graph = list(indices(operator.inputs)), tree.subgraphs[0]
    if len(inputs) <= slot or inputs[slot] < 0 or (factors == 1.0).all():
        return
    tensor = graph.tensors[inputs[slot]]
    values = flatbuffer.constant(tree, tensor).astype(np.float64)
    shape = [1] * values.ndim
    shape[axis] = -1
    repeated = np.tile(factors, values.shape[axis] // len(factors)).reshape(shape)
    scaled = (values * repeated).astype(np.float32)
    if _readers(tree, tensor.buffer) == 1:
        tree.buffers[tensor.buffer].data = np.frombuffer(scaled.tobytes(), np.uint8)
        return
    other = copy.copy(tensor)
    other.buffer = flatbuffer.add_buffer(tree, scaled)
    graph.tensors.append(other)
    inputs[slot] = len(graph.tensors) - 1
    operator.inputs = np.array(inputs, np.int32)


def _readers(tree: Any, buffer: int) -> int:
    """How often operators read the tensors of a buffer."""
    return sum(
        graph.tensors[index].buffer == buffer
        for graph in tree.subgraphs
        for operator in graph.operators
        for index in indices(operator.inputs)
        if index >= 0
    )
