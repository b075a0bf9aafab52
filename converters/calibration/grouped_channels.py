"""The groups of channels that have one factor, and the constants that give or take factors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Groups = NDArray[np.intp]

KEPT = 0  # the group of the channels that keep their units

_CHANNELWISE = ("DEPTHWISE_CONV_2D", "MUL")


class Layer(NamedTuple):
    """A layer with float weights that no other layer has.

    Attributes:
        position: of the operator.
        kind: its name.
        source, result: activations.
        weights, bias: numbers of the operator's inputs.
        input_axis, channel_axis: of the weights.
    """

    position: int
    kind: str
    source: int
    result: int
    weights: int
    bias: int
    input_axis: int
    channel_axis: int

    @property
    def is_channelwise(self) -> bool:
        """Whether its output channels are its input channels."""
        return self.kind in _CHANNELWISE


class Addend(NamedTuple):
    """A constant that an operator adds to channels, or a table from which it takes them.

    Attributes:
        position: of the operator.
        slot: number of the constant among its inputs.
        constant: its tensor.
        result: activation.
        is_table: whether its rows are the result.
    """

    position: int
    slot: int
    constant: int
    result: int
    is_table: bool = False


@dataclass(frozen=True)
class ChannelGroups:
    """The groups of a model's channels.

    Attributes:
        groups: activation to the group of each of its channels: [C], or an array that broadcasts
            to its shape, of a tensor whose last axis alone does not count them.
        layers: those that can give and take back factors, in execution order.
        addends: constants that get the factors of a result.
        limited: activations that a RELU6 ends at 6.
        count: number of groups, `KEPT` included.
    """

    groups: Mapping[int, Groups]
    layers: tuple[Layer, ...]
    addends: tuple[Addend, ...]
    limited: frozenset[int]
    count: int

    @property
    def tensors(self) -> frozenset[int]:
        """Activations with a channel that may get a factor."""
        return frozenset(index for index, own in self.groups.items() if (own != KEPT).any())
