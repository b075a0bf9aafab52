from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeq.converters.graph.folding import find_unfolded
from edgeq.tflite import flatbuffer
from edgeq.values import FloatModel
from tests import tiny_models
from tests.tiny_models import Operator, schema


def dense_and(kind: int, options: object, constant: np.ndarray, activation: int = 0) -> bytes:
    """A dense layer of 3 channels, and an operator with a constant behind it."""
    dense = schema.FullyConnectedOptionsT()
    dense.fusedActivationFunction = activation
    tensors = [
        tiny_models.tensor("x", [1, 2]),
        tiny_models.tensor("w", [3, 2], buffer=1),
        tiny_models.tensor("dense", [1, 3]),
        tiny_models.tensor("factor", constant.shape, buffer=2),
        tiny_models.tensor("y", [1, 3]),
    ]
    operators = [
        tiny_models.operator(0, [0, 1, -1], [2], dense),
        tiny_models.operator(1, [2, 3], [4], options),
    ]
    graph = tiny_models.graph(tensors, [0], [4], operators)
    codes = [(Operator.FULLY_CONNECTED, 1), (kind, 1)]
    return tiny_models.model([graph], codes, [np.ones((3, 2), np.float32), constant])


@pytest.mark.parametrize("size", [(1,), (3,)])
@pytest.mark.parametrize(
    ("kind", "options"),
    [(Operator.MUL, schema.MulOptionsT()), (Operator.ADD, schema.AddOptionsT())],
)
def test_constants_behind_a_layer_are_found(
    kind: int, options: object, size: tuple[int, ...]
) -> None:
    assert find_unfolded(dense_and(kind, options, np.ones(size, np.float32))) == ("dense",)


def test_behind_an_activation_nothing_can_be_folded() -> None:
    content = dense_and(Operator.MUL, schema.MulOptionsT(), np.ones(3, np.float32), activation=1)
    assert find_unfolded(content) == ()


def test_lowering_folds_every_batch_normalization(float_mobilenet: FloatModel) -> None:
    content = Path(float_mobilenet.file.path).read_bytes()
    assert find_unfolded(content) == ()
    tree = flatbuffer.parse(content, "it")
    names = {flatbuffer.operator_name(tree, op) for op in tree.subgraphs[0].operators}
    assert "MUL" not in names  # though it has a batch normalization behind each convolution
