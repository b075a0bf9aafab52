from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeq.converters.graph import layers, operator_stepper
from edgeq.tflite import flatbuffer
from tests.tiny_models import Operator, graph, model, operator, tensor

SAME, VALID = schema.Padding.SAME, schema.Padding.VALID


def convolution(
    shape: tuple[int, ...],
    filter_shape: tuple[int, ...],
    *,
    depthwise: bool = False,
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    padding: int = SAME,
    activation: int = 0,
) -> tuple[Any, np.ndarray]:
    """A float model of one convolution, and its bias."""
    random = np.random.default_rng(0)
    weights = random.normal(size=filter_shape).astype(np.float32)
    bias = random.normal(size=filter_shape[3 if depthwise else 0]).astype(np.float32)
    options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
    options.padding, options.fusedActivationFunction = padding, activation
    options.strideH, options.strideW = stride
    options.dilationHFactor, options.dilationWFactor = dilation
    if depthwise:
        options.depthMultiplier = filter_shape[3] // shape[3]
    tensors = [tensor("x", shape), tensor("w", filter_shape, buffer=1),
               tensor("b", bias.shape, buffer=2), tensor("y", [1, 1, 1, len(bias)])]  # fmt: skip
    main = graph(tensors, [0], [3], [operator(0, [0, 1, 2], [3], options)])
    code = Operator.DEPTHWISE_CONV_2D if depthwise else Operator.CONV_2D
    return flatbuffer.parse(model([main], [(code, 1)], [weights, bias]), "it"), bias


def assert_linear(tree: Any, bias: np.ndarray, inputs: np.ndarray, most: int) -> None:
    """The interpreter computes the rows times the grouped weights."""
    (layer,) = layers.find_layers(tree)
    step = tree.subgraphs[0].operators[0]
    outputs = operator_stepper.run_operators(tree, [step], [3], {0: inputs}, len(inputs))[3]
    rows = layers.choose_rows(layer, step, len(inputs), most)
    seen = layers.gather(layer, step, inputs, rows.chosen, 0)
    weights = layers.group_weights(layer, flatbuffer.constant(tree, tree.subgraphs[0].tensors[1]))
    found = seen @ weights.transpose(0, 2, 1) + layers.group_channels(layer, bias)[:, None]
    found = found.transpose(1, 0, 2).reshape(len(rows.chosen), -1)
    expected = outputs.reshape(-1, outputs.shape[-1])[rows.chosen]
    np.testing.assert_allclose(np.clip(found, *layers.clamp(step)), expected, atol=1e-4)
    assert len(rows.chosen) == min(most, outputs.size // outputs.shape[-1])
    each = outputs.size // outputs.shape[-1] // len(inputs)
    np.testing.assert_array_equal(rows.sample, rows.chosen // each)


@pytest.mark.parametrize("most", [20, 10_000])
@pytest.mark.parametrize("padding", [SAME, VALID])
@pytest.mark.parametrize(
    ("stride", "dilation"), [((1, 1), (1, 1)), ((2, 3), (1, 1)), ((1, 1), (2, 1))]
)
@pytest.mark.parametrize(
    ("filter_shape", "depthwise"),
    [((5, 3, 3, 4), False), ((5, 1, 2, 4), False), ((6, 3, 3, 2), False),
     ((1, 3, 3, 4), True), ((1, 3, 2, 8), True)],
)  # fmt: skip
def test_a_convolution_is_a_linear_map_of_its_rows(
    filter_shape: tuple[int, ...],
    depthwise: bool,
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: int,
    most: int,
) -> None:
    tree, bias = convolution(
        (1, 9, 8, 4), filter_shape, depthwise=depthwise, stride=stride, dilation=dilation,
        padding=padding, activation=schema.ActivationFunctionType.RELU6,
    )  # fmt: skip
    inputs = np.random.default_rng(1).normal(size=(3, 1, 9, 8, 4)).astype(np.float32)
    assert_linear(tree, bias, inputs, most)


def test_a_dense_layer_is_a_linear_map_of_its_rows() -> None:
    random = np.random.default_rng(0)
    weights = random.normal(size=(3, 5)).astype(np.float32)
    bias = random.normal(size=3).astype(np.float32)
    options = schema.FullyConnectedOptionsT()
    options.fusedActivationFunction = schema.ActivationFunctionType.RELU
    tensors = [tensor("x", [1, 5]), tensor("w", [3, 5], buffer=1),
               tensor("b", [3], buffer=2), tensor("y", [1, 3])]  # fmt: skip
    main = graph(tensors, [0], [3], [operator(0, [0, 1, 2], [3], options)])
    content = model([main], [(Operator.FULLY_CONNECTED, 1)], [weights, bias])
    inputs = random.normal(size=(7, 1, 5)).astype(np.float32)
    assert_linear(flatbuffer.parse(content, "it"), bias, inputs, 10_000)


@pytest.mark.parametrize(
    ("filter_shape", "depthwise"),
    [((6, 3, 3, 4), False), ((6, 3, 3, 2), False), ((1, 3, 2, 8), True)],
)
def test_ungrouping_undoes_grouping(filter_shape: tuple[int, ...], depthwise: bool) -> None:
    tree, _ = convolution((1, 9, 8, 4), filter_shape, depthwise=depthwise)
    (layer,) = layers.find_layers(tree)
    weights = np.arange(np.prod(filter_shape), dtype=np.float64).reshape(filter_shape)
    grouped = layers.group_weights(layer, weights)
    np.testing.assert_array_equal(layers.ungroup_weights(layer, grouped), weights)


def test_quantized_inputs_are_padded_with_the_zero_point() -> None:
    tree, _ = convolution((1, 3, 3, 1), (1, 3, 3, 1))
    (layer,) = layers.find_layers(tree)
    step = tree.subgraphs[0].operators[0]
    rows = layers.choose_rows(layer, step, 1, 100)
    values = np.full((1, 1, 3, 3, 1), 5, np.int8)
    seen = layers.gather(layer, step, values, rows.chosen, -7)
    assert seen.dtype == np.int8
    assert seen[0, 0].tolist() == [-7, -7, -7, -7, 5, 5, -7, 5, 5]
