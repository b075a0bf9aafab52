"""Cross-layer equalization: every channel of an activation uses the whole 8-bit range.

All channels of an activation share one scale, so a channel that only reaches a hundredth of the
widest one keeps two bits or so. Between two layers with weights, a channel can be multiplied on
the way out of the first and divided on the way into the second, and the model computes the same:
ReLU, pooling and zero padding commute with positive factors. After M. Nagel et al., "Data-Free
Quantization Through Weight Equalization and Bias Correction" (ICCV 2019), section 4.1; the factors
here come from the calibrated activations, because weights have a scale per channel in any case.

A ReLU6 stays one: a channel is scaled up to 6 at most. INT8 clips where it would have clipped.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.converters.calibration.statistics import Statistics
from edgeq.tflite import flatbuffer
from edgeq.tflite.operators import CHANNEL_AXIS, INPUT_AXIS, having

_COMMUTES = having("commutes")

# Codes of ActivationFunctionType.
_NONE, _RELU, _RELU6 = 0, 1, 3

_MARGIN = 1.1  # other samples may reach a little farther than those of calibration
_MOST = 64.0


@dataclass(frozen=True)
class Pair:
    """Two layers between which channels can be scaled.

    Attributes:
        first, second: positions of the operators.
        others: further layers that read what `second` reads.
        tensors: indices of the activations between them; the first layer writes the first one.
        ceiling: 6 behind a ReLU6, infinity otherwise.
    """

    first: int
    second: int
    tensors: tuple[int, ...]
    ceiling: float
    others: tuple[int, ...] = ()


Scaled = tuple[Pair, NDArray[np.float64]]


def find_pairs(tree: Any) -> tuple[Pair, ...]:
    """Pairs of layers in the main subgraph with only commuting operators between them."""
    graph = tree.subgraphs[0]
    readers: dict[int, list[int]] = defaultdict(list)
    for position, operator in enumerate(graph.operators):
        for index in flatbuffer.indices(operator.inputs):
            readers[index].append(position)
    uses = Counter(
        graph.tensors[index].buffer
        for operator in graph.operators
        for index in flatbuffer.indices(operator.inputs)[1:]
        if index >= 0
    )
    ends = set(flatbuffer.indices(graph.outputs))
    found = []
    for position, operator in enumerate(graph.operators):
        if not _is_layer(tree, graph, operator, uses):
            continue
        code = operator.builtinOptions.fusedActivationFunction
        behind, tensors = _follow(tree, graph, operator, readers, ends)
        if not behind or code not in (_NONE, _RELU, _RELU6):
            continue
        count = _width(tree, graph, operator, CHANNEL_AXIS)
        if all(
            _is_layer(tree, graph, graph.operators[place], uses)
            and _counts(tree, graph, graph.operators[place], count)
            for place in behind
        ):
            ceiling = 6.0 if code == _RELU6 else np.inf
            found.append(Pair(position, behind[0], tensors, ceiling, behind[1:]))
    return tuple(found)


def _is_layer(tree: Any, graph: Any, operator: Any, uses: Counter[int]) -> bool:
    """Whether an operator has float weights that no other operator uses."""
    inputs = flatbuffer.indices(operator.inputs)
    if flatbuffer.operator_name(tree, operator) not in CHANNEL_AXIS or len(inputs) < 2:
        return False
    own = [graph.tensors[index] for index in inputs[1:] if index >= 0]
    return all(
        flatbuffer.is_constant(tree, tensor)
        and flatbuffer.dtype(tensor) == "float32"
        and uses[tensor.buffer] == 1
        for tensor in own
    )


def _width(tree: Any, graph: Any, operator: Any, axes: Mapping[str, int]) -> int:
    """Length of one axis of a layer's weights."""
    shape = flatbuffer.indices(graph.tensors[operator.inputs[1]].shape)
    return shape[axes[flatbuffer.operator_name(tree, operator)]]


def _counts(tree: Any, graph: Any, layer: Any, channels: int) -> bool:
    """Whether a layer's inputs are these channels; a dense one may count them per position."""
    width = _width(tree, graph, layer, INPUT_AXIS)
    is_dense = flatbuffer.operator_name(tree, layer) == "FULLY_CONNECTED"
    return width == channels or (is_dense and width % channels == 0)


def _follow(
    tree: Any, graph: Any, operator: Any, readers: Mapping[int, Sequence[int]], ends: set[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The layers that alone read an operator's result, through commuting operators, or ()."""
    current = flatbuffer.indices(operator.outputs)[0]
    passed = [current]
    while current not in ends and readers.get(current):
        behind = [graph.operators[position] for position in readers[current]]
        names = [flatbuffer.operator_name(tree, reader) for reader in behind]
        if any(flatbuffer.indices(reader.inputs)[0] != current for reader in behind):
            break
        if all(name in CHANNEL_AXIS for name in names):
            return tuple(readers[current]), tuple(passed)
        if len(behind) > 1 or names[0] not in _COMMUTES:
            break
        (reader,) = behind
        fused = getattr(reader.builtinOptions, "fusedActivationFunction", _NONE)
        result = flatbuffer.indices(reader.outputs)[0]
        before, after = (flatbuffer.indices(graph.tensors[i].shape) for i in (current, result))
        # The last axis has to count the channels, behind a RESHAPE perhaps once per position.
        keeps = before[-1] == after[-1]
        if names[0] == "RESHAPE":
            keeps = after[-1] % before[-1] == 0 and len(after) == 2
        if fused not in (_NONE, _RELU) or not keeps:
            break
        current = result
        passed.append(current)
    return (), ()


def equalize(
    content: bytes, channels: Mapping[int, NDArray[np.float32]], strength: float = 0.5
) -> tuple[bytes, tuple[Scaled, ...]]:
    """The float model with its channels scaled to their activation's range.

    Args:
        content: the float flatbuffer.
        channels: tensor index to [2, C], calibrated minimum and maximum of each channel.
        strength: exponent of the factor where the consumer's weights share scales over input
            channels; at 1 all of the unevenness moves into those weights. A depthwise consumer
            has a scale per channel, so it is always 1 there.

    Returns:
        A float flatbuffer that computes the same on calibrated values, and the pairs that were
        changed with the factors [C] of their channels.
    """
    tree = flatbuffer.parse(content, "the float model")
    graph = tree.subgraphs[0]
    changed: list[Scaled] = []
    for pair in find_pairs(tree):
        if pair.tensors[0] in channels:
            first = graph.operators[pair.first]
            behind = [graph.operators[place] for place in (pair.second, *pair.others)]
            names = [flatbuffer.operator_name(tree, layer) for layer in behind]
            exponent = 1.0 if set(names) == {"DEPTHWISE_CONV_2D"} else strength
            dense = [
                flatbuffer.constant(tree, graph.tensors[layer.inputs[1]])
                for layer, name in zip(behind, names, strict=True)
                if name == "FULLY_CONNECTED"
            ]
            factors = _factors(channels[pair.tensors[0]], pair.ceiling, exponent, dense)
            if factors.max(initial=1.0) > 1.0:
                own = CHANNEL_AXIS[flatbuffer.operator_name(tree, first)]
                for tensor, axis in zip(first.inputs[1:], (own, 0), strict=False):
                    _scale(tree, graph, tensor, axis, factors)
                for layer, name in zip(behind, names, strict=True):
                    _scale(tree, graph, layer.inputs[1], INPUT_AXIS[name], 1.0 / factors)
                changed.append((pair, factors))
    return (flatbuffer.serialize(tree) if changed else content), tuple(changed)


def scale_statistics(seen: Statistics, changed: Sequence[Scaled]) -> Statistics:
    """The statistics of the equalized model, from those of the plain one.

    Extremes are exact. Of the tensors whose channels were scaled there is no histogram, so every
    statistic that needs one gives their extremes.

    Args:
        changed: what `equalize` returned.
    """
    low, high = seen.minimum.copy(), seen.maximum.copy()
    histogram = None if seen.histogram is None else seen.histogram.copy()
    place = {index: number for number, index in enumerate(seen.indices)}
    for pair, factors in changed:
        for index in pair.tensors:
            extremes = seen.channels[index].astype(np.float64)
            scaled = extremes * np.tile(factors, extremes.shape[1] // len(factors))
            low[place[index]] = scaled[0].min()
            high[place[index]] = min(scaled[1].max(), pair.ceiling)
            if histogram is not None:
                histogram[place[index]] = 0
    return replace(seen, minimum=low, maximum=high, histogram=histogram)


def _factors(
    channels: NDArray[np.float32],
    ceiling: float,
    exponent: float,
    dense: Sequence[NDArray[Any]] = (),
) -> NDArray[np.float64]:
    """Factor of each channel, [C], at least 1.

    Args:
        dense: weights [outputs, inputs] of the dense layers behind. All of them share a scale, so a
            large weight for a small channel makes the steps of all others larger: both get the
            same share of their ranges then, as in section 4.1 of the paper.
    """
    peak = np.abs(channels.astype(np.float64)).max(axis=0) * _MARGIN
    widest = min(float(peak.max(initial=0.0)), ceiling)
    is_alive = peak > 1e-6 * widest
    most = np.where(is_alive, widest / np.where(is_alive, peak, 1.0), 1.0)
    factors = most**exponent
    shares = [_shares(weights, len(peak)) for weights in dense]
    if shares:
        even = np.sqrt(np.max(shares, axis=0) * peak)
        factors = np.maximum(factors, np.minimum(most, most * even / max(even.max(), 1e-30)))
    return np.clip(factors, 1.0, _MOST)


def _shares(weights: NDArray[np.float32], channels: int) -> NDArray[np.float64]:
    """The largest weight of each channel, relative to the largest of all, [C]."""
    largest = np.abs(weights).max(axis=0, initial=0.0).reshape(-1, channels).max(axis=0)
    return np.asarray(largest / max(float(largest.max(initial=0.0)), 1e-30), np.float64)


def _scale(tree: Any, graph: Any, index: int, axis: int, factors: NDArray[np.float64]) -> None:
    """Multiply a constant along an axis, whose length is a multiple of the factors'.

    Its buffer is replaced, because no other operator uses it: see `_is_layer`.
    """
    if index < 0:
        return
    tensor = graph.tensors[index]
    values = flatbuffer.constant(tree, tensor).astype(np.float64)
    shape = [1] * values.ndim
    shape[axis] = -1
    repeated = np.tile(factors, values.shape[axis] // len(factors)).reshape(shape)
    scaled = (values * repeated).astype(np.float32)
    tree.buffers[tensor.buffer].data = np.frombuffer(scaled.tobytes(), np.uint8)
