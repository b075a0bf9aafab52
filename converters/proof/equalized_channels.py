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

from edgeq.converters.calibration.equalization import Pair, find_pairs
from edgeq.converters.graph.dequantized import dequantize_constant
from edgeq.tflite import flatbuffer
from edgeq.tflite.operators import CHANNEL_AXIS, INPUT_AXIS

Factors = NDArray[np.float64]

# No quantization error makes a whole channel so much larger or smaller.
_LEAST_CHANGE = np.log(1.25)
_DEPTHWISE = "DEPTHWISE_CONV_2D"


def find_equalized(
    real: Any, made: Any, matches: Mapping[int, int]
) -> dict[int, NDArray[np.float32]]:
    """Tensor index in the float model to the factors of its channels in the other, [C].

    Args:
        real: the parsed float model.
        made: the parsed quantized one.
        matches: operator positions, of `matching.match_operators`.
    """
    pairs = [pair for pair in find_pairs(real) if {pair.first, pair.second} <= matches.keys()]
    weights = {
        position: (_weights(real, position), _weights(made, matches[position]))
        for pair in pairs
        for position in (pair.first, pair.second)
    }
    factors: dict[int, Factors] = {}  # position of the reading layer to those of its input
    for pair in pairs:
        made_factors = _produced(real, weights[pair.first], pair, factors.get(pair.first))
        factors |= dict.fromkeys((pair.second, *pair.others), made_factors)
    behind = {pair.first: factors[pair.second] for pair in pairs}
    is_taken: dict[int, bool] = {}  # position of the first layer of a pair
    for pair in reversed(pairs):  # a depthwise layer may pass factors on to the layer after it
        passes_on = pair.second in is_taken and _name(real, pair.second) == _DEPTHWISE
        is_taken[pair.first] = (
            is_taken[pair.second]
            if passes_on and _is_equalized(behind[pair.second])
            else _takes_back(real, weights[pair.second], pair.second, factors[pair.second])
        )
    return {
        tensor: factors[pair.second].astype(np.float32)
        for pair in pairs
        if is_taken[pair.first] and _is_equalized(factors[pair.second])
        for tensor in pair.tensors
    }


def _produced(
    tree: Any, weights: tuple[Factors, Factors], pair: Pair, taken: Factors | None
) -> Factors:
    """Factor of each output channel between the weights of two layers, by least squares."""
    own, other = weights
    if taken is not None:
        other = _undone(tree, other, pair.first, taken)
    axis = CHANNEL_AXIS[_name(tree, pair.first)]
    own, other = (np.moveaxis(item, axis, 0).reshape(item.shape[axis], -1) for item in (own, other))
    energy = np.sum(own**2, axis=1)
    factors = np.sum(own * other, axis=1) / np.where(energy > 0, energy, 1.0)
    return np.where((energy > 0) & (factors > 0), factors, 1.0)


def _takes_back(
    tree: Any, weights: tuple[Factors, Factors], position: int, factors: Factors
) -> bool:
    """Whether a layer's weights are nearer to the float ones with the factors undone."""
    own, other = weights
    axis = CHANNEL_AXIS[_name(tree, position)]
    is_own = _name(tree, position) == _DEPTHWISE  # its output channels are its input channels
    undone = _undone(tree, other, position, factors)
    before, after = (_distance(own, item, None if is_own else axis) for item in (other, undone))
    return after < before / 2


def _distance(own: Factors, other: Factors, axis: int | None) -> float:
    """Squared distance; with an axis, after the best factor of each of its channels."""
    if axis is None:
        return float(np.sum((own - other) ** 2))
    own, other = (np.moveaxis(item, axis, 0).reshape(item.shape[axis], -1) for item in (own, other))
    energy = np.maximum(np.sum(other**2, axis=1, keepdims=True), 1e-30)
    scaled = other * (np.sum(own * other, axis=1, keepdims=True) / energy)
    return float(np.sum((own - scaled) ** 2))


def _undone(tree: Any, values: Factors, position: int, factors: Factors) -> Factors:
    """A layer's weights for an input without the factors; dense ones may count it per position."""
    axis = INPUT_AXIS[_name(tree, position)]
    shape = [1] * values.ndim
    shape[axis] = -1
    return values * np.tile(factors, values.shape[axis] // len(factors)).reshape(shape)


def _is_equalized(factors: Factors) -> bool:
    return bool(np.max(np.abs(np.log(factors)), initial=0.0) > _LEAST_CHANGE)


def _weights(tree: Any, position: int) -> Factors:
    graph = tree.subgraphs[0]
    tensor = graph.tensors[graph.operators[position].inputs[1]]
    return dequantize_constant(tree, graph, tensor).astype(np.float64)


def _name(tree: Any, position: int) -> str:
    return flatbuffer.operator_name(tree, tree.subgraphs[0].operators[position])
