from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq.converters.calibration.channel_groups import find_groups
from edgeq.converters.calibration.equalization import Way, equalize
from edgeq.converters.graph.matching import match_operators
from edgeq.converters.proof.equalized_channels import find_equalized
from edgeq.tflite import flatbuffer
from edgeq.values import FloatModel


@pytest.fixture
def source(float_mobilenet: FloatModel) -> bytes:
    return Path(float_mobilenet.file.path).read_bytes()


@pytest.fixture
def channels(source: bytes) -> dict[int, np.ndarray]:
    """Made-up ranges of every equalizable activation, all channels alive and different."""
    found, rng = find_groups(flatbuffer.parse(source, "it")), np.random.default_rng(3)
    peaks = rng.uniform(0.1, 2, found.count)
    return {
        index: np.stack([np.zeros(len(groups)), peaks[groups]])
        for index, groups in found.groups.items()
    }


def stretches(source: bytes, made: Any) -> dict[int, np.ndarray]:
    real = flatbuffer.parse(source, "it")
    return find_equalized(real, made, match_operators(real, made))


def halve(tree: Any, position: int) -> None:
    """The filter of one operator at half its size."""
    graph = tree.subgraphs[0]
    weights = graph.tensors[graph.operators[position].inputs[1]]
    weights.buffer = flatbuffer.add_buffer(tree, flatbuffer.constant(tree, weights) / np.float32(2))


@pytest.mark.parametrize("strength", [0.05, 0.5, 1.0])
def test_every_stretch_is_found(source: bytes, channels: Any, strength: float) -> None:
    made = equalize(source, channels, Way(strength))
    found = stretches(source, flatbuffer.parse(made.content, "it"))
    assert len(made.factors) > 10
    for index, own in made.factors.items():
        # Factors that hardly change anything may be left out.
        np.testing.assert_allclose(found.get(index, np.ones_like(own)), own, rtol=0.011)
    assert set(found) <= set(made.factors)
    assert len(found) > 10


def test_an_untouched_model_has_none(source: bytes) -> None:
    assert stretches(source, flatbuffer.parse(source, "it")) == {}


def test_an_error_of_a_layer_is_no_stretch(source: bytes, channels: Any) -> None:
    """Its reader does not undo it; the stretches elsewhere are found anyway."""
    tree = flatbuffer.parse(source, "it")
    layers = find_groups(tree).layers
    for layer in layers:
        halve(tree, layer.position)
    assert stretches(source, tree) == {}

    # Only what the last but one layer makes is equalized.
    ends = layers[-1].source
    groups = find_groups(tree).groups
    only = {
        index: own if np.isin(groups[index], groups[ends]).all() else np.ones_like(own)
        for index, own in channels.items()
    }
    tree = flatbuffer.parse(equalize(source, only).content, "it")
    halve(tree, layers[0].position)
    found = stretches(source, tree)
    assert ends in found
    assert all(np.isin(groups[index], groups[ends]).all() for index in found)
