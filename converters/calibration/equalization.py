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
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.converters.calibration.channel_groups import find_groups
from edgeq.converters.calibration.grouped_channels import KEPT, ChannelGroups
from edgeq.converters.calibration.norm_scales import open_norms
from edgeq.converters.calibration.statistics import Statistics
from edgeq.tflite import flatbuffer
from edgeq.tflite.flatbuffer import indices

Factors = NDArray[np.float64]

_CEILING = 6.0  # of a ReLU6
_MARGIN = 1.1  # other samples may reach a little farther than those of calibration
_MOST = 64.0
_MOST_OPEN = 256.0  # INT16 leaves the constant of the inserted MUL 7 bits then
# An inserted MUL costs time: it has a use if the geometric mean of its factors is at least this.
_LEAST_USE = 1.5


@dataclass(frozen=True)
class Way:
    """How channels are equalized.

    Attributes:
        strength: exponent of the factor where the reader's weights share scales over input
            channels; at 1 all of the unevenness moves into those weights. A depthwise reader has a
            scale per channel, so it is always 1 there.
        is_open: whether operators are inserted around normalizations, see `norm_scales`. The
            channels that a residual connection joins then count by the largest of their values in
            any of its tensors: what is added to a large value need not be finer than that value.
    """

    strength: float = 0.5
    is_open: bool = False


PLAIN = Way()


@dataclass(frozen=True)
class Equalized:
    """A float model that computes the same on calibrated values.

    Attributes:
        content: the flatbuffer.
        factors: activation to the factors [C] of its channels, of those that were changed.
        copies: tensor that an inserted MUL makes to the tensor that it reads; others keep
            their index.
    """

    content: bytes
    factors: Mapping[int, Factors]
    copies: Mapping[int, int]


def equalize(
    content: bytes, channels: Mapping[int, NDArray[np.float32]], way: Way = PLAIN
) -> Equalized:
    """The float model with its channels scaled to their activation's range.

    Args:
        content: the float flatbuffer.
        channels: tensor index to [2, C], calibrated minimum and maximum of each channel.
    """
    tree = flatbuffer.parse(content, "the float model")
    copies = open_norms(tree) if way.is_open else {}
    while True:
        seen = {**channels, **{own: channels[i] for own, i in copies.items() if i in channels}}
        found = find_groups(tree)
        factors = choose_factors(tree, found, seen, way)
        of = {index: factors[groups] for index, groups in found.groups.items()}
        useful = {
            own for own, index in copies.items() if _is_useful(of[index]) or _is_useful(of[own])
        }
        if len(useful) == len(copies):
            break
        names = {flatbuffer.tensor_name(tree.subgraphs[0], index) for index in useful}
        tree = flatbuffer.parse(content, "the float model")
        copies = open_norms(tree, names)
    if (factors == 1.0).all():
        return Equalized(content, {}, {})
    graph = tree.subgraphs[0]
    for layer in found.layers:
        operator = graph.operators[layer.position]
        if (given := of.get(layer.source)) is not None:
            _scale(tree, operator, layer.weights, layer.input_axis, 1.0 / given)
        if (made := of.get(layer.result)) is not None:
            _scale(tree, operator, layer.weights, layer.channel_axis, made)
            _scale(tree, operator, layer.bias, 0, made)
    for addend in found.addends:
        _scale(tree, graph.operators[addend.position], addend.slot, -1, of[addend.result])
    changed = {index: own for index, own in of.items() if (own != 1.0).any()}
    return Equalized(flatbuffer.serialize(tree), changed, copies)


def _is_useful(*sides: Factors) -> bool:
    return max(float(np.exp(np.mean(np.log(side)))) for side in sides) >= _LEAST_USE


def scale_statistics(seen: Statistics, made: Equalized) -> Statistics:
    """The statistics of the equalized model, from those of the plain one.

    Extremes are exact. Of the tensors whose channels were scaled there is no histogram, so every
    statistic that needs one gives their extremes.
    """
    places = {index: number for number, index in enumerate(seen.indices)}
    copied = [places[index] for index in made.copies.values()]
    rows = np.array([*range(len(seen.indices)), *copied], np.intp)
    tree = flatbuffer.parse(made.content, "the float model")
    watched = (*seen.indices, *made.copies)
    low, high = seen.minimum[rows], seen.maximum[rows]
    histogram = None if seen.histogram is None else seen.histogram[rows]
    for number, index in enumerate(watched):
        if index not in made.factors:
            continue
        extremes = seen.channels[made.copies.get(index, index)].astype(np.float64)
        scaled = extremes * made.factors[index]
        low[number], high[number] = scaled[0].min(), scaled[1].max()
        if histogram is not None:
            histogram[number] = 0
    return replace(
        seen,
        indices=watched,
        names=tuple(flatbuffer.tensor_name(tree.subgraphs[0], index) for index in watched),
        minimum=low,
        maximum=high,
        mean_minimum=seen.mean_minimum[rows],
        mean_maximum=seen.mean_maximum[rows],
        histogram=histogram,
    )


def choose_factors(
    tree: Any, found: ChannelGroups, channels: Mapping[int, NDArray[np.float32]], way: Way
) -> Factors:
    """Factor of each group, at least 1, with which no activation gets a wider range."""
    graph, most = tree.subgraphs[0], _room(tree, found, channels, way)
    factors = most**way.strength
    is_channelwise = np.ones(found.count, bool)
    for layer in found.layers:
        if layer.is_channelwise or layer.source not in found.groups:
            continue
        groups = found.groups[layer.source]
        is_channelwise[groups] = False
        weights = graph.tensors[graph.operators[layer.position].inputs[layer.weights]]
        share = _shares(flatbuffer.constant(tree, weights), len(groups))
        even = np.sqrt(share / most[groups])
        np.maximum.at(factors, groups, most[groups] * even / max(even.max(), 1e-30))
    factors = np.where(is_channelwise, most, np.minimum(factors, most))
    return np.asarray(np.clip(factors, 1.0, _MOST_OPEN if way.is_open else _MOST), np.float64)


def _room(
    tree: Any, found: ChannelGroups, channels: Mapping[int, NDArray[np.float32]], way: Way
) -> Factors:
    """The largest factor of each group, at least 1."""
    peaks = {
        index: np.abs(channels[index].astype(np.float64)).max(axis=0) * _MARGIN
        for index in found.groups
        if index in channels
    }
    members = [(found.groups[index], index, peaks.get(index)) for index in found.groups]
    for addend in found.addends:
        values = flatbuffer.constant(tree, tree.subgraphs[0].tensors[addend.constant])
        peak = np.abs(values.astype(np.float64)).reshape(-1, values.shape[-1]).max(axis=0)
        members.append((found.groups[addend.result], addend.constant, peak))
    highest = np.zeros(found.count)
    for groups, _, peak in members:
        if peak is not None:
            np.maximum.at(highest, groups, peak)
    most, is_alive = np.full(found.count, np.inf), np.zeros(found.count, bool)
    for groups, index, peak in members:
        if peak is None:
            most[groups] = 1.0
            continue
        is_limited = index in found.limited
        is_joined = way.is_open and not is_limited
        largest: Factors = np.where(groups == KEPT, peak, highest[groups]) if is_joined else peak
        widest = min(float(largest.max(initial=0.0)), _CEILING if is_limited else np.inf)
        alive = np.greater(largest, 1e-6 * widest)
        is_alive[groups[alive]] = True
        np.minimum.at(most, groups[alive], widest / largest[alive])
    most[~is_alive | (np.arange(found.count) == KEPT)] = 1.0
    return np.asarray(np.maximum(most, 1.0), np.float64)


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
