"""Layers with weights as linear maps: their rows of inputs, and their weights in groups.

The shapes are those of `rounding`: inputs [G, rows, K], weights [G, O, K].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.tflite import flatbuffer
from edgeq.tflite.operators import CHANNEL_AXIS

# Codes of ActivationFunctionType: RELU, RELU_N1_TO_1, RELU6.
_CLAMPS = {1: (0.0, np.inf), 2: (-1.0, 1.0), 3: (0.0, 6.0)}
_SAME = 0  # code of Padding


@dataclass(frozen=True)
class Layer:
    """An operator with weights.

    Attributes:
        position: in execution order.
        name: of the operator, e.g. "CONV_2D".
        filter_shape: as stored.
        input_shape: of one inference.
        output: name of the result.
    """

    position: int
    name: str
    filter_shape: tuple[int, ...]
    input_shape: tuple[int, ...]
    output: str

    @property
    def groups(self) -> int:
        """How many independent linear maps it consists of."""
        if self.name == "DEPTHWISE_CONV_2D":
            return self.input_shape[-1]
        if self.name == "CONV_2D":
            return self.input_shape[-1] // self.filter_shape[-1]
        return 1


def find_layers(tree: Any, *, even_unpacked: bool = False) -> tuple[Layer, ...]:
    """Convolutions and dense layers of the main subgraph with stored weights.

    Args:
        even_unpacked: also those whose weights other operators compute from constants.
    """
    graph, found = tree.subgraphs[0], []
    fed = fed_tensors(graph) if even_unpacked else None
    for position, operator in enumerate(graph.operators):
        name, inputs = flatbuffer.operator_name(tree, operator), flatbuffer.indices(operator.inputs)
        if name not in CHANNEL_AXIS:
            continue
        weights = graph.tensors[inputs[1]]
        if flatbuffer.is_constant(tree, weights) if fed is None else inputs[1] not in fed:
            found.append(
                Layer(
                    position,
                    name,
                    flatbuffer.indices(weights.shape),
                    flatbuffer.indices(graph.tensors[inputs[0]].shape),
                    flatbuffer.tensor_name(graph, operator.outputs[0]),
                )
            )
    return tuple(found)


def fed_tensors(graph: Any) -> set[int]:
    """Tensors that depend on the inputs; all others are the same in every inference."""
    found = set(flatbuffer.indices(graph.inputs))
    for operator in graph.operators:
        if not found.isdisjoint(flatbuffer.indices(operator.inputs)):
            found.update(flatbuffer.indices(operator.outputs))
    return found


def clamp(operator: Any) -> tuple[float, float]:
    """Limits of the activation fused into an operator."""
    return _CLAMPS.get(operator.builtinOptions.fusedActivationFunction, (-np.inf, np.inf))


# ---------------------------------------------------------------- inputs


@dataclass(frozen=True)
class Rows:
    """Some output positions of a layer over a group of samples.

    Attributes:
        chosen: ascending numbers of positions, counted over samples, rows and columns.
        sample: number of the sample of each.
    """

    chosen: NDArray[np.int64]
    sample: NDArray[np.int64]


def choose_rows(layer: Layer, operator: Any, count: int, most: int) -> Rows:
    """Up to `most` positions of `count` samples, the same ones in every run."""
    each = _positions(layer, operator)
    total = count * each
    chosen = np.arange(total)
    if total > most:
        random = np.random.default_rng(layer.position)
        chosen = np.sort(random.choice(total, most, replace=False))
    return Rows(chosen, chosen // each)


def _positions(layer: Layer, operator: Any) -> int:
    """Output positions of one inference."""
    if layer.name == "FULLY_CONNECTED":
        return max(1, int(np.prod(layer.input_shape)) // layer.filter_shape[1])
    height, width, _ = _geometry(layer, operator)
    return layer.input_shape[0] * height * width


def _geometry(layer: Layer, operator: Any) -> tuple[int, int, tuple[tuple[int, int], ...]]:
    """Output height and width, and the padding before and after rows and columns."""
    options, sizes, pads = operator.builtinOptions, [], []
    for axis, stride, dilation in (
        (1, options.strideH, options.dilationHFactor),
        (2, options.strideW, options.dilationWFactor),
    ):
        size, reach = layer.input_shape[axis], (layer.filter_shape[axis] - 1) * dilation + 1
        if options.padding == _SAME:
            sizes.append(-(-size // stride))
            padded = max((sizes[-1] - 1) * stride + reach - size, 0)
        else:
            sizes.append((size - reach) // stride + 1)
            padded = 0
        pads.append((padded // 2, padded - padded // 2))
    return sizes[0], sizes[1], tuple(pads)


def gather(
    layer: Layer, operator: Any, values: NDArray[Any], rows: NDArray[np.int64], padding: int
) -> NDArray[Any]:
    """The inputs that some positions see.

    Args:
        values: the layer's input, [samples, ...] with the tensor's own shape and dtype.
        rows: numbers of positions, see `Rows.chosen`.
        padding: value of the border: the zero point.

    Returns:
        [G, rows, K] of the same dtype.
    """
    if layer.name == "FULLY_CONNECTED":
        return values.reshape(-1, layer.filter_shape[1])[rows][np.newaxis]
    images = values.reshape(-1, *layer.input_shape[1:])
    places, is_outside = _taps(layer, operator, rows)
    pixels = images.reshape(-1, images.shape[-1])
    if layer.name == "DEPTHWISE_CONV_2D" and places.size > len(pixels):
        turned = np.take(np.ascontiguousarray(pixels.T), places, axis=1)
        turned[:, is_outside] = padding
        return turned
    picked = np.take(pixels, places, axis=0)  # [rows, taps, C]
    picked[is_outside] = padding
    grouped = picked.reshape(*picked.shape[:2], layer.groups, -1)
    return np.ascontiguousarray(grouped.transpose(2, 0, 1, 3)).reshape(layer.groups, len(rows), -1)


def _taps(
    layer: Layer, operator: Any, rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The pixel under each tap of the filter, and whether it is outside of the image.

    Returns:
        Both [rows, taps]; pixels are counted over samples, rows and columns.
    """
    options = operator.builtinOptions
    high, wide, pads = _geometry(layer, operator)
    image, place = np.divmod(rows[:, np.newaxis], high * wide)
    down = np.arange(layer.filter_shape[1]) * options.dilationHFactor - pads[0][0]
    right = np.arange(layer.filter_shape[2]) * options.dilationWFactor - pads[1][0]
    row, column = place // wide * options.strideH + down, place % wide * options.strideW + right
    _, height, width, _ = layer.input_shape
    inside = [np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
    is_outside = (row != inside[0])[:, :, np.newaxis] | (column != inside[1])[:, np.newaxis]
    places = ((image * height + inside[0]) * width)[:, :, np.newaxis] + inside[1][:, np.newaxis]
    return places.reshape(len(rows), -1), is_outside.reshape(len(rows), -1)


# ---------------------------------------------------------------- weights


def group_weights(layer: Layer, weights: NDArray[Any]) -> NDArray[np.float64]:
    """A filter as stored -> [G, O, K]."""
    values = weights.astype(np.float64)
    if layer.name == "DEPTHWISE_CONV_2D":
        taps = values.reshape(-1, layer.groups, values.shape[-1] // layer.groups)
        return np.ascontiguousarray(taps.transpose(1, 2, 0))
    return values.reshape(layer.groups, values.shape[0] // layer.groups, -1)


def ungroup_weights(layer: Layer, grouped: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of `group_weights`."""
    if layer.name == "DEPTHWISE_CONV_2D":
        return np.ascontiguousarray(grouped.transpose(2, 0, 1)).reshape(layer.filter_shape)
    return grouped.reshape(layer.filter_shape)


def group_channels(layer: Layer, values: NDArray[Any]) -> NDArray[np.float64]:
    """One value per output channel, or a single one for all -> [G, O]."""
    count = layer.filter_shape[CHANNEL_AXIS[layer.name]]
    full = np.empty(count)
    full[:] = np.asarray(values, np.float64).reshape(-1)
    return full.reshape(layer.groups, -1)
