"""Channels that may be multiplied by a factor without changing what a model computes.

Layers with weights can give any factor to a channel of their result, and take it back from a
channel of their input. Operators in between pass it on if they commute with positive factors. So
the channels of all tensors fall into groups with one factor each: a residual ADD joins the channels
of both operands and of its result, DEPTH_TO_SPACE joins those that become one channel. Where an
operator does not pass factors on, channels keep their units.

A constant that is added to channels gets their factors; a table of embeddings, too. Inside a
normalization, a MUL by a constant for each channel (gamma) is a layer with one weight for each
channel: INT16 has room for unlike constants, which 8 bits of one scale do not have.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.converters.calibration import moved_channels
from edgeq.converters.calibration.grouped_channels import (
    KEPT,
    Addend,
    ChannelGroups,
    Groups,
    Layer,
)
from edgeq.converters.rewrites.editor import Editor
from edgeq.converters.rewrites.folding import strided_slices
from edgeq.converters.rewrites.normalization import find_written
from edgeq.tflite import flatbuffer
from edgeq.tflite.flatbuffer import indices
from edgeq.tflite.operators import CHANNEL_AXIS, INPUT_AXIS, having

_COMMUTES = having("commutes")
_GATES = having("fixed_range")
# Codes of ActivationFunctionType.
_NONE, _RELU, _RELU6 = 0, 1, 3


# Numbers of the inputs of a layer: data, weights and bias.
_SLOTS, _TURNED_SLOTS = (0, 1, 2), (2, 1, 3)
_TURNED = "TRANSPOSE_CONV"
# Axes of weights that count the input and the output channels.
_AXES = {name: (INPUT_AXIS[name], axis) for name, axis in CHANNEL_AXIS.items()}
_AXES[_TURNED] = 3, 0
_GAMMA = "MUL"
_AXES[_GAMMA] = -1, -1


def find_groups(tree: Any) -> ChannelGroups:
    """Return the groups of the channels of the main subgraph."""
    return _Finder(tree).find()


class _Finder:
    """Collects which channels have the same factor; numbers of channels start at 1."""

    def __init__(self, tree: Any):
        self._tree, self._graph = tree, tree.subgraphs[0]
        self._inner = find_written(Editor(tree)).operators
        self._uses = Counter(
            self._graph.tensors[index].buffer
            for operator in self._graph.operators
            for index in indices(operator.inputs)[1:2]
            if index >= 0
        )
        self._numbers: dict[int, Groups] = {}
        self._count = 1
        for index, tensor in enumerate(self._graph.tensors):
            shape = indices(tensor.shape)
            is_activation = not flatbuffer.is_constant(tree, tensor) and len(shape) > 0
            if is_activation and flatbuffer.dtype(tensor) == "float32" and min(shape) > 0:
                self._numbers[index] = np.arange(shape[-1]) + self._count
                self._count += shape[-1]
        self._pairs: list[tuple[Groups, Groups]] = []
        self._limited: set[int] = set()
        self._addends: list[Addend] = []

    def find(self) -> ChannelGroups:
        layers = []
        for index in (*indices(self._graph.inputs), *indices(self._graph.outputs)):
            self._keep(index)
        for position, operator in enumerate(self._graph.operators):
            if (layer := self._layer(position, operator)) is not None:
                layers.append(layer)
                self._end_at_layer(operator, layer)
            elif not self._pass_on(position, operator):
                for index in (*indices(operator.inputs), *indices(operator.outputs)):
                    self._keep(index)
        joined = np.unique(self._join(), return_inverse=True)[1]
        groups = {index: joined[own] for index, own in self._numbers.items()}
        count = int(joined.max(initial=0)) + 1
        addends = tuple(self._addends)
        return ChannelGroups(groups, tuple(layers), addends, frozenset(self._limited), count)

    def _join(self) -> Groups:
        """Return the lowest channel number of each channel's group."""
        own = np.arange(self._count)
        pairs = [np.broadcast_arrays(*pair) for pair in ((own[:1], own[:1]), *self._pairs)]
        ones, others = (
            np.concatenate([item.ravel() for item in side]) for side in zip(*pairs, strict=True)
        )
        while True:
            lowest = own.copy()
            np.minimum.at(lowest, ones, own[others])
            np.minimum.at(lowest, others, own[ones])
            lowest = lowest[lowest]
            if np.array_equal(lowest, own):
                return own
            own = lowest

    # ------------------------------------------------------------ what operators do

    def _keep(self, index: int) -> None:
        if index in self._numbers:
            self._pairs.append((self._numbers[index], np.array(KEPT)))

    def _same(self, one: Groups, other: Groups) -> bool:
        self._pairs.append((one, other))
        return True

    def _layer(self, position: int, operator: Any) -> Layer | None:
        """Return the layer that an operator is; None without separate float weights."""
        kind, inputs = self._kind(operator), indices(operator.inputs)
        data, weights, bias = _TURNED_SLOTS if kind == _TURNED else _SLOTS
        if kind not in _AXES or len(inputs) <= max(data, weights):
            return None
        if kind == _GAMMA and not self._is_gamma(position, inputs):
            return None
        own = [self._graph.tensors[inputs[slot]] for slot in (weights, bias) if inputs[slot:]]
        if len(inputs) > bias and inputs[bias] < 0:
            own.pop()
        if self._uses[own[0].buffer] != 1 or not all(
            flatbuffer.is_constant(self._tree, tensor) and flatbuffer.dtype(tensor) == "float32"
            for tensor in own
        ):
            return None
        result = indices(operator.outputs)[0]
        return Layer(position, kind, inputs[data], result, weights, bias, *_AXES[kind])

    def _is_gamma(self, position: int, inputs: tuple[int, ...]) -> bool:
        """Whether a MUL gives each channel in a normalization one factor."""
        constant = self._constant(inputs[1])
        channels = len(self._last(inputs[0]))
        return (
            position in self._inner
            and constant is not None
            and constant.shape[-1:] == (constant.size,) == (channels,)
        )

    def _end_at_layer(self, operator: Any, layer: Layer) -> None:
        """Keep the units of what a layer cannot take a factor from, or give one to."""
        shape = indices(self._graph.tensors[operator.inputs[layer.weights]].shape)
        width, channels = shape[layer.input_axis], len(self._last(layer.source))
        # A dense layer may count the channels once for each position.
        is_dense = layer.kind == "FULLY_CONNECTED" and channels and width % channels == 0
        if width != channels and not is_dense:
            self._keep(layer.source)
        made = len(self._last(layer.result))
        if not self._is_bounded_well(operator) or shape[layer.channel_axis] != made:
            self._keep(layer.result)

    def _last(self, index: int) -> Groups:
        """Numbers of the channels of a tensor whose last axis alone counts them; or none."""
        numbers = self._numbers.get(index)
        return np.array([], np.intp) if numbers is None or numbers.ndim > 1 else numbers

    def _is_bounded_well(self, operator: Any) -> bool:
        """Whether the fused activation commutes with factors, up to its ceiling."""
        fused = getattr(operator.builtinOptions, "fusedActivationFunction", _NONE)
        if fused == _RELU6:
            self._limited |= set(indices(operator.outputs))
        return fused in (_NONE, _RELU, _RELU6)

    def _pass_on(self, position: int, operator: Any) -> bool:
        """Join the channels that an operator passes on; False if it does not commute."""
        kind, inputs, outputs = self._kind(operator), indices(operator.inputs), operator.outputs
        read = [self._numbers[index] for index in inputs if index in self._numbers]
        is_known = len(outputs) == 1 and int(outputs[0]) in self._numbers and bool(read)
        if not is_known or not self._is_bounded_well(operator):
            return kind == "GATHER" and self._look_up(position, operator)
        result = self._numbers[int(outputs[0])]
        if kind == "BATCH_MATMUL" or any(own.ndim > 1 for own in read):
            return self._move(kind, operator)
        if kind in ("ADD", "SUB"):
            return self._pass_sum(position, operator, read, result)
        if kind == "MUL":
            return self._pass_product(inputs, read, result)
        if kind == "CONCATENATION":
            return self._pass_joined(operator, read, result)
        is_single = len(read) == 1 and inputs[0] in self._numbers
        passes = is_single and self._pass_one(kind, operator, read[0], result)
        return passes or self._move(kind, operator)

    def _move(self, kind: str, operator: Any) -> bool:
        """Follow channels that are elsewhere in the result."""
        if kind == "BATCH_MATMUL":
            return self._pass_matrices(operator)
        (read, *rest), made = indices(operator.inputs), int(operator.outputs[0])
        given = self._numbers.get(read)
        source, shape = (indices(self._graph.tensors[index].shape) for index in (read, made))
        moved, axes = None, self._constant(rest[0]) if rest else None
        if given is not None and kind == "RESHAPE":
            moved = moved_channels.reshape(given, source, shape)
        elif given is not None and kind == "TRANSPOSE" and axes is not None:
            moved = moved_channels.transpose(given, axes.tolist())
        return self._put(made, moved)

    def _pass_matrices(self, operator: Any) -> bool:
        """Pass on the channels of one operand of a product that does not add them up."""
        inputs, options = indices(operator.inputs), operator.builtinOptions
        sides = ((1, options.adjY), (0, options.adjX))
        for place, is_adjoint in sides:
            own, other = inputs[place], inputs[1 - place]
            if own not in self._numbers or own == other:
                continue
            moved = moved_channels.multiply(
                self._numbers[own], len(self._graph.tensors[own].shape),
                is_second=place == 1, is_adjoint=is_adjoint,
            )  # fmt: skip
            if self._put(int(operator.outputs[0]), moved):
                self._keep(other)
                return True
        return False

    def _put(self, index: int, numbers: Groups | None) -> bool:
        """Set the numbers of a result, unless the model's user reads it."""
        if numbers is None or index in indices(self._graph.outputs):
            return False
        self._numbers[index] = numbers
        return True

    def _look_up(self, position: int, operator: Any) -> bool:
        """A table of embeddings that nothing else reads gets the factors of its rows' channels."""
        (index, *_), made = indices(operator.inputs), int(operator.outputs[0])
        table, buffer = self._constant(index), self._graph.tensors[index].buffer
        readers = [
            other
            for other in self._graph.operators
            if any(self._graph.tensors[i].buffer == buffer for i in indices(other.inputs) if i >= 0)
        ]
        if (
            table is None
            or table.dtype != np.float32
            or table.ndim < 2
            or operator.builtinOptions.axis % table.ndim == table.ndim - 1
            or table.shape[-1] != len(self._last(made))
            or len(readers) > 1
        ):
            return False
        self._addends.append(Addend(position, 0, index, made, is_table=True))
        return True

    def _pass_sum(self, position: int, operator: Any, read: list[Groups], result: Groups) -> bool:
        """Both operands have the factors of the result, a constant if it has all channels."""
        found = {
            slot: constant.shape[-1:]
            for slot, index in enumerate(indices(operator.inputs))
            if (constant := self._constant(index)) is not None
        }
        if [*(own.shape for own in read), *found.values()] != [result.shape] * 2:
            return False
        inputs, made = indices(operator.inputs), int(operator.outputs[0])
        self._addends += [Addend(position, slot, inputs[slot], made) for slot in found]
        return all(self._same(own, result) for own in read)

    def _pass_product(self, inputs: tuple[int, ...], read: list[Groups], result: Groups) -> bool:
        """A product has the factor of one operand; the other one keeps its units."""
        if len({*inputs}) < 2 or len(read[0]) != len(result):
            return False
        if len(read) == 2:
            gates = [place for place, index in enumerate(inputs) if self._is_gate(index)]
            if len(gates) != 1:
                return False
            self._keep(inputs[gates[0]])
            read = [read[1 - gates[0]]]
        return len(read[0]) == len(result) and self._same(read[0], result)

    def _is_gate(self, index: int) -> bool:
        """Whether an operator with a fixed range made a tensor, as in squeeze-and-excitation."""
        return any(
            index in indices(operator.outputs) and self._kind(operator) in _GATES
            for operator in self._graph.operators
        )

    def _pass_joined(self, operator: Any, read: list[Groups], result: Groups) -> bool:
        if len(read) != len(operator.inputs):
            return False
        rank = len(indices(self._graph.tensors[operator.outputs[0]].shape))
        if operator.builtinOptions.axis % rank == rank - 1:
            return self._same(np.concatenate(read), result)
        return all(self._same(own, result) for own in read)

    def _pass_one(self, kind: str, operator: Any, given: Groups, result: Groups) -> bool:
        """An operator with one activation, whose last axis has to count the channels."""
        source, made = (
            indices(self._graph.tensors[index].shape)
            for index in (operator.inputs[0], operator.outputs[0])
        )
        if kind == "DEPTH_TO_SPACE":
            return self._same(given, np.tile(result, len(given) // len(result)))
        if kind == "RESHAPE" and len(made) == 2 and math.prod(source[1:]) == made[-1]:
            return self._same(np.tile(given, len(result) // len(given)), result)
        if kind == "PAD" and (widths := self._constant(operator.inputs[1])) is not None:
            before = widths.reshape(-1, 2)[-1, 0]  # further channels are zero in any unit
            return self._same(given, result[before : before + len(given)])
        if kind == "STRIDED_SLICE":
            return self._pass_slice(operator, given, result)
        if kind == "MEAN":
            axes = self._constant(operator.inputs[1])
            if axes is None or (axes % len(source) == len(source) - 1).any():
                return False
        is_alike = kind in _COMMUTES and kind != "PAD" and len(given) == len(result)
        return is_alike and self._same(given, result)

    def _pass_slice(self, operator: Any, given: Groups, result: Groups) -> bool:
        values = [self._constant(index) for index in indices(operator.inputs)[1:]]
        known = [item for item in values if item is not None]
        rank = len(indices(self._graph.tensors[operator.inputs[0]].shape))
        if len(known) != 3:
            return False
        try:
            taken = strided_slices(operator.builtinOptions, known, rank)
        except ValueError:
            return False
        if len(taken) != rank or not isinstance(taken[-1], slice):
            return False
        kept = given[taken[-1]]
        return len(kept) == len(result) and self._same(kept, result)

    def _constant(self, index: int) -> NDArray[Any] | None:
        tensor = self._graph.tensors[index]
        if index < 0 or not flatbuffer.is_constant(self._tree, tensor):
            return None
        return flatbuffer.constant(self._tree, tensor)

    def _kind(self, operator: Any) -> str:
        return flatbuffer.operator_name(self._tree, operator)
