"""Whether a quantized model computes some activations in other units than the float one.

Cross-layer equalization (see `equalization`) scales the channels of an activation and undoes it in
the layer that reads it. Compared with the float model such an activation looks wrong, but is not.
The weights of the two layers decide: a factor that the reader does not undo is an error of the
first layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.converters.calibration.channel_groups import find_groups
from edgeq.converters.calibration.grouped_channels import KEPT, ChannelGroups, Groups, Layer
from edgeq.converters.graph.dequantized import dequantize_constant

Factors = NDArray[np.float64]

# A smaller factor looks like an error of less than -40 dB, which explains nothing.
_LEAST_CHANGE = np.log(1.01)


def find_equalized(
    real: Any, made: Any, matches: Mapping[int, int]
) -> dict[int, NDArray[np.float32]]:
    """Tensor index in the float model to the factors of its channels in the other, [C].

    Args:
        real: the parsed float model.
        made: the parsed quantized one.
        matches: operator positions, of `matching.match_operators`.
    """
    found = find_groups(real)
    layers = [layer for layer in found.layers if layer.position in matches]
    weights = {
        layer.position: (
            _weights(real, layer, layer.position), _weights(made, layer, matches[layer.position])
        )
        for layer in layers
    }  # fmt: skip
    ends = {layer.position: _ends(found, layer, weights[layer.position][0]) for layer in layers}
    factors, is_known = np.ones(found.count), np.zeros(found.count, bool)
    is_known[KEPT] = True
    for addend in found.addends:
        if addend.is_table and addend.position in matches:
            groups = found.groups[addend.result]
            factors[groups] = _ratios(
                *(
                    _constant(tree, place, addend.slot).reshape(-1, len(groups)).T
                    for tree, place in ((real, addend.position), (made, matches[addend.position]))
                )
            )
            is_known[groups] = True
    for layer in layers:
        source, result = ends[layer.position]
        given = _produced(layer, weights[layer.position], factors[source])
        is_new = ~is_known[result]
        factors[result[is_new]] = given[is_new]
        is_known[result] = True
    is_taken = np.zeros(found.count, bool)  # by the first layer that reads a group
    for layer in reversed(layers):
        source, result = ends[layer.position]
        # A channelwise layer may pass factors on to the layer after it.
        passes_on = layer.is_channelwise and _is_equalized(factors[result])
        is_taken[source] = (
            is_taken[result]
            if passes_on
            else _takes_back(layer, weights[layer.position], factors[source])
        )
    taken = np.where(is_taken, factors, 1.0)
    return {
        index: taken[groups].astype(np.float32)
        for index, groups in found.groups.items()
        if _is_equalized(taken[groups])
    }


def _ends(found: ChannelGroups, layer: Layer, weights: Factors) -> tuple[Groups, Groups]:
    """The groups of the channels that a layer reads and makes."""
    kept = np.full(1, KEPT)
    read, made = found.groups.get(layer.source, kept), found.groups.get(layer.result, kept)
    width, channels = weights.shape[layer.input_axis], weights.shape[layer.channel_axis]
    return (
        kept if read.ndim > 1 or width % len(read) else read,
        made if made.shape == (channels,) else np.full(channels, KEPT),
    )


def _produced(layer: Layer, weights: tuple[Factors, Factors], taken: Factors) -> Factors:
    """Factor of each output channel between the weights of two layers, by least squares."""
    own, other = weights[0], _undone(layer, weights[1], taken)
    axis = layer.channel_axis
    return _ratios(
        *(np.moveaxis(item, axis, 0).reshape(item.shape[axis], -1) for item in (own, other))
    )


def _ratios(own: Factors, other: Factors) -> Factors:
    """Factor between the rows of two matrices, by least squares; 1 without a positive one."""
    energy = np.sum(own**2, axis=1)
    factors = np.sum(own * other, axis=1) / np.where(energy > 0, energy, 1.0)
    return np.where((energy > 0) & (factors > 0), factors, 1.0)


def _takes_back(layer: Layer, weights: tuple[Factors, Factors], factors: Factors) -> bool:
    """Whether a layer's weights are nearer to the float ones with the factors undone."""
    own, other = weights
    undone = _undone(layer, other, factors)
    axis = None if layer.is_channelwise else layer.channel_axis
    before, after = (_distance(own, item, axis) for item in (other, undone))
    return after < before / 2


def _distance(own: Factors, other: Factors, axis: int | None) -> float:
    """Squared distance; with an axis, after the best factor of each of its channels."""
    if axis is None:
        return float(np.sum((own - other) ** 2))
    own, other = (np.moveaxis(item, axis, 0).reshape(item.shape[axis], -1) for item in (own, other))
    energy = np.maximum(np.sum(other**2, axis=1, keepdims=True), 1e-30)
    scaled = other * (np.sum(own * other, axis=1, keepdims=True) / energy)
    return float(np.sum((own - scaled) ** 2))


def _undone(layer: Layer, values: Factors, factors: Factors) -> Factors:
    """A layer's weights for an input without the factors; dense ones may count it per position."""
    axis = layer.input_axis
    shape = [1] * values.ndim
    shape[axis] = -1
    return values * np.tile(factors, values.shape[axis] // len(factors)).reshape(shape)


def _is_equalized(factors: Factors) -> bool:
    return bool(np.max(np.abs(np.log(factors)), initial=0.0) > _LEAST_CHANGE)


def _weights(tree: Any, layer: Layer, position: int) -> Factors:
    """The weights of a layer, which may be elsewhere in the other model."""
    return _constant(tree, position, layer.weights)


def _constant(tree: Any, position: int, slot: int) -> Factors:
    """A constant that an operator reads, in real values."""
    graph = tree.subgraphs[0]
    tensor = graph.tensors[graph.operators[position].inputs[slot]]
    return dequantize_constant(tree, graph, tensor).astype(np.float64)
