"""How a model rescales its input is read from its graph, which every source has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeq.converters.graph.rescaling import find_rescaling
from edgeq.tflite import flatbuffer
from tests.converters.rewrites.tiny_graphs import Builder

SHAPE = [1, 4, 4, 3]


def found(*steps: tuple[str, Any], first: str = "input") -> tuple[float, float] | None:
    """The rescaling of these steps with constants, behind a transposition, before a ReLU."""
    net = Builder()
    value = net.add("TRANSPOSE", [net.input(SHAPE), net.constant([0, 2, 1, 3], "int32")], SHAPE)
    for name, number in steps:
        operands = [value, net.constant(np.float32(number))]
        value = net.add(name, operands if first == "input" else operands[::-1], SHAPE)
    value = net.add("RELU", [value], SHAPE)
    return find_rescaling(flatbuffer.parse(net.content(net.add("NEG", [value], SHAPE)), "it"))


@pytest.mark.parametrize(
    ("steps", "wanted"),
    [
        ([("MUL", 1 / 255)], (1 / 255, 0)),
        ([("MUL", 1 / 127.5), ("ADD", -1)], (1 / 127.5, -1)),
        ([("SUB", 127.5), ("DIV", 127.5)], (1 / 127.5, -1)),
        ([("SUB", [110, 120, 130]), ("DIV", [50, 60, 70])], (0.0168, -2.022)),  # ImageNet's way
        ([], None),
    ],
)
def test_arithmetic_with_constants_is_followed(
    steps: list[tuple[str, Any]], wanted: tuple[float, float] | None
) -> None:
    assert found(*steps) == (None if wanted is None else pytest.approx(wanted, rel=0.02))


def test_a_constant_minus_the_input_is_no_offset() -> None:
    assert found(("SUB", 255.0), first="constant") is None
    assert found(("ADD", 255.0), first="constant") == (1.0, 255.0)


@pytest.mark.parametrize(
    ("name", "constants"),
    [("MUL", [0.001, 1, 1000]), ("MUL", [-1, 1, 1]), ("SUB", [0, 5, 5]), ("SUB", [2, 3, 5])],
)
@pytest.mark.parametrize("shape", [SHAPE, [1, 3]])
def test_constants_that_differ_much_have_no_mean(
    name: str, constants: list[float], shape: list[int]
) -> None:
    """The columns of a table have such constants, or the bands of a spectrogram."""
    net = Builder()
    own = net.constant(np.array(constants, np.float32))
    content = net.content(net.add(name, [net.input(shape), own], shape))
    assert find_rescaling(flatbuffer.parse(content, "it")) is None


def test_zeros_of_all_channels_are_an_offset() -> None:
    assert found(("MUL", [0.25, 0.25, 0.25]), ("ADD", [0, 0, 0])) == (0.25, 0)


def test_of_several_inputs_none_is_chosen() -> None:
    net = Builder()
    both = [net.input(SHAPE, name=name) for name in "ab"]
    scaled = net.add("MUL", [both[0], net.constant(np.float32(2))], SHAPE)
    tree = flatbuffer.parse(net.content(net.add("ADD", [scaled, both[1]], SHAPE)), "it")
    assert find_rescaling(tree) is None
