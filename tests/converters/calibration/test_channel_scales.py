from __future__ import annotations

import numpy as np
import pytest

from edgeq.converters.calibration.channel_scales import Units, can_split, find_units, split_units
from edgeq.converters.graph.matching import match_operators
from edgeq.converters.rewrites.editor import Editor
from edgeq.tflite import flatbuffer
from tests.converters.rewrites.tiny_graphs import Builder, kinds, run, schema

RNG = np.random.default_rng(0)
NORMAL = RNG.normal(size=(400, 3))


def test_channels_that_one_range_fits_stay() -> None:
    assert find_units(NORMAL * [1, 0.5, 2], 20) is None
    assert find_units(np.zeros((4, 3)), 20) is None
    assert find_units(NORMAL[:, :1] + 5, 20) is None


def test_an_offset_alone_is_enough_for_alike_channels() -> None:
    units = find_units(np.add(NORMAL, [1000, 0, -500]), 20)
    assert units is not None
    assert (units.scale == 1).all() and units.offset[1] == 0
    assert units.offset[[0, 2]] == pytest.approx([1000, -500], abs=1)


def test_unlike_channels_get_the_same_range() -> None:
    values = NORMAL * [1000, 1, 0.001] + [0, 0, 7]
    units = find_units(values, 20)
    assert units is not None
    scaled = (values - units.offset) / units.scale
    assert np.abs(scaled).max(axis=0) == pytest.approx([1, 1, 1])


def test_a_channel_that_does_not_vary_asks_for_nothing() -> None:
    units = find_units(np.concatenate([NORMAL + 1000, np.zeros((400, 1))], 1), 20)
    assert units is not None and (units.scale == 1).all() and units.offset[3] == 0


def test_an_image_has_its_channels_last() -> None:
    values = NORMAL.reshape(4, 10, 10, 3) * [100, 1, 0.01]
    units = find_units(values, 20)
    assert units is not None and units.scale.shape == (3,)


@pytest.mark.parametrize("kind", ["FULLY_CONNECTED", "CONV_2D"])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize(
    ("scale", "offset", "behind"),
    [((1, 1), (50, 0), ["ADD"]), ((9, 0.5), (0, 0), ["MUL"]), ((9, 0.5), (3, 1), ["MUL", "ADD"])],
)
def test_a_split_layer_computes_the_same(
    kind: str, scale: tuple[float, ...], offset: tuple[float, ...], behind: list[str], *,
    relu: bool, has_bias: bool,
) -> None:  # fmt: skip
    net, is_dense = Builder(), kind == "FULLY_CONNECTED"
    options = schema.FullyConnectedOptionsT() if is_dense else schema.Conv2DOptionsT()
    options.fusedActivationFunction = schema.ActivationFunctionType.RELU if relu else 0
    if not is_dense:
        options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
    weights = net.constant(RNG.normal(size=(2, 3) if is_dense else (2, 1, 1, 3)))
    rest = [net.constant(RNG.normal(size=2))] if has_bias or not is_dense else []
    given, made = ([1, 3], [1, 2]) if is_dense else ([1, 4, 4, 3], [1, 4, 4, 2])
    result = net.add(kind, [net.input(given), weights, *rest], made, options=options)
    content = net.content(result)
    editor = Editor(flatbuffer.parse(content, "m"))
    assert can_split(editor, result) and not can_split(editor, 1)
    changed = split_units(content, {result: Units(np.array(scale), np.array(offset, np.float64))})
    assert kinds(changed) == [kind, *behind]
    values = RNG.normal(size=given)
    (before,), (after,) = run(content, values), run(changed, values)
    assert after == pytest.approx(before, abs=1e-4)
    names = [
        flatbuffer.interface(flatbuffer.parse(one, "m"))[1][0].name for one in (content, changed)
    ]
    assert names[0] == names[1]
    before_tree, after_tree = (flatbuffer.parse(one, "m") for one in (content, changed))
    assert match_operators(before_tree, after_tree) == {}  # its results have other units
    assert match_operators(after_tree, after_tree).keys() == set(range(1 + len(behind)))
