"""Whether kernels add biases in the scale that a quantized file states for them.

Layers that share a bias of zeros compute the same under every scale. So each layer runs alone, on
zeros and with values in its bias, which its file stores in the scale that it states.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from differences import BIAS_INPUT

from edgeq.tflite import flatbuffer

_SHARE = 0.1  # standard deviation of the values, of the largest result


def layers_alone(source: bytes, ours: bytes, theirs: bytes) -> list[tuple[float, float]]:
    """The SQNR against float of each layer whose bias has another scale in another file.

    Args:
        source: the float model.
        ours, theirs: quantized files of it.

    Returns:
        For each layer that of `ours` and that of `theirs`, in dB.
    """
    trees = [flatbuffer.parse(content, "a file to compare") for content in (source, ours, theirs)]
    layers = [_layers(tree) for tree in trees]
    found = []
    for name, own in layers[1].items():
        scales = [_bias(tree, kept[name]).quantization.scale for tree, kept in
                  zip(trees[1:], layers[1:], strict=True)]  # fmt: skip
        if np.array_equal(*scales):
            continue
        result = trees[1].subgraphs[0].tensors[own.outputs[0]]
        widest = result.quantization.scale[0] * np.iinfo(flatbuffer.dtype(result)).max
        values = np.random.default_rng(0).normal(0, _SHARE * widest, len(scales[0]))
        real, *made = (
            _run(tree, kept[name], values) for tree, kept in zip(trees, layers, strict=True)
        )
        found.append((_sqnr_db(real, made[0]), _sqnr_db(real, made[1])))
    return found


def _layers(tree: Any) -> dict[str, Any]:
    """Name of the result to the operator, of operators with a bias."""
    graph, found = tree.subgraphs[0], {}
    for operator in graph.operators:
        place = BIAS_INPUT.get(flatbuffer.operator_name(tree, operator), 99)
        if place < len(operator.inputs) and operator.inputs[place] >= 0:
            found[flatbuffer.tensor_name(graph, operator.outputs[0])] = operator
    return found


def _bias(tree: Any, operator: Any) -> Any:
    place = BIAS_INPUT[flatbuffer.operator_name(tree, operator)]
    return tree.subgraphs[0].tensors[operator.inputs[place]]


def _run(tree: Any, operator: Any, values: np.ndarray) -> np.ndarray:
    """The results of one operator for an input of zeros, with other values in its bias."""
    graph, bias = tree.subgraphs[0], _bias(tree, operator)
    small, alone = copy.copy(tree), copy.copy(graph)
    small.buffers, small.subgraphs = [tree.buffers[0]], [alone]
    small.signatureDefs = small.metadata = None
    own, places = copy.copy(operator), {-1: -1}
    alone.tensors, alone.operators = [], [own]
    for index in (*flatbuffer.indices(operator.inputs), *flatbuffer.indices(operator.outputs)):
        if index in places:
            continue
        tensor = copy.copy(graph.tensors[index])
        tensor.buffer = 0
        if graph.tensors[index] is bias:
            stored = values
            if flatbuffer.dtype(bias) != "float32":
                stored = np.rint(values / bias.quantization.scale)
            tensor.buffer = flatbuffer.add_buffer(small, stored.astype(flatbuffer.dtype(bias)))
        elif flatbuffer.is_constant(tree, graph.tensors[index]):
            small.buffers.append(tree.buffers[graph.tensors[index].buffer])
            tensor.buffer = len(small.buffers) - 1
        places[index] = len(alone.tensors)
        alone.tensors.append(tensor)
    own.inputs, own.outputs = (
        np.array([places[index] for index in flatbuffer.indices(side)], np.int32)
        for side in (operator.inputs, operator.outputs)
    )
    alone.outputs = own.outputs
    alone.inputs = np.array([i for i in own.inputs if i >= 0 and not alone.tensors[i].buffer], "i4")
    interpreter = Interpreter(model_content=flatbuffer.serialize(small), num_threads=1)
    interpreter.allocate_tensors()
    for item in interpreter.get_input_details():
        interpreter.set_tensor(item["index"], np.zeros(item["shape"], item["dtype"]))
    interpreter.invoke()
    (output,) = interpreter.get_output_details()
    made = interpreter.get_tensor(output["index"]).astype(np.float64)
    return made * output["quantization"][0] if output["quantization"][0] else made


def _sqnr_db(real: np.ndarray, made: np.ndarray) -> float:
    return float(10 * np.log10(np.square(real).sum() / np.square(real - made).sum()))
