from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq.converters.calibration.equalization import equalize, find_pairs
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
    tree, rng = flatbuffer.parse(source, "it"), np.random.default_rng(3)
    found = {}
    for pair in find_pairs(tree):
        shape = flatbuffer.indices(tree.subgraphs[0].tensors[pair.tensors[0]].shape)
        found[pair.tensors[0]] = np.stack([np.zeros(shape[-1]), rng.uniform(0.1, 2, shape[-1])])
    return found


def stretches(source: bytes, made: Any) -> dict[int, np.ndarray]:
    real = flatbuffer.parse(source, "it")
    return find_equalized(real, made, match_operators(real, made))


def halve(tree: Any, position: int) -> None:
    """The filter of one operator at half its size."""
    graph = tree.subgraphs[0]
    weights = graph.tensors[graph.operators[position].inputs[1]]
    weights.buffer = flatbuffer.add_buffer(tree, flatbuffer.constant(tree, weights) / np.float32(2))


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_every_stretch_is_found(source: bytes, channels: Any, strength: float) -> None:
    made, made_pairs = equalize(source, channels, strength)
    found = stretches(source, flatbuffer.parse(made, "it"))
    pairs = find_pairs(flatbuffer.parse(source, "it"))
    assert len(made_pairs) == len(pairs)
    assert set(found) == {tensor for pair in pairs for tensor in pair.tensors}
    for pair in pairs:
        peaks = channels[pair.tensors[0]][1]
        stretched = peaks * found[pair.tensors[0]]
        assert stretched.std() / stretched.mean() < peaks.std() / peaks.mean()


def test_an_untouched_model_has_none(source: bytes) -> None:
    assert stretches(source, flatbuffer.parse(source, "it")) == {}


def test_an_error_of_a_layer_is_no_stretch(source: bytes, channels: Any) -> None:
    """Its reader does not undo it; the stretches elsewhere are found anyway."""
    pairs = find_pairs(flatbuffer.parse(source, "it"))
    tree = flatbuffer.parse(source, "it")
    for pair in pairs:
        halve(tree, pair.first)
    assert stretches(source, tree) == {}

    last = pairs[-1]
    only = {last.tensors[0]: channels[last.tensors[0]]}
    tree = flatbuffer.parse(equalize(source, only)[0], "it")
    halve(tree, pairs[0].first)
    assert set(stretches(source, tree)) == set(last.tensors)
