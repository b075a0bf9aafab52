"""Turns markers of LSTM layers into fused LSTMs.

`converters.lowering.lstm_layers` sets them in TensorFlow's graphs, `torch_child.py` in PyTorch's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from edgeq.errors import LoweringError
from edgeq.tflite import flatbuffer, lstm
from edgeq.tflite.compacting import drop_unused

MARKER = "BlockLSTMV2"
MARK = -20141216  # its first operand; an operator of the user's model has another one
_LENGTH, _DATA, _WEIGHTS, _BIAS = 0, 1, 4, 8  # operands of BlockLSTMV2
_RESULT = 6
# PyTorch's marker is a composite operator with this name and the layer's.
_COMPOSITE = "edgeq.lstm."


def replace_markers(content: bytes) -> bytes:
    """A lowered model with UNIDIRECTIONAL_SEQUENCE_LSTM in place of the markers.

    Args:
        content: from litert-torch, or a conversion that allowed custom operators.

    Raises:
        LoweringError: other custom operators are left.
    """
    tree = flatbuffer.parse(content, "the lowered model")
    custom = set()
    for graph in tree.subgraphs:
        for place, operator in enumerate(graph.operators):
            name = flatbuffer.operator_name(tree, operator)
            if name == "STABLEHLO_COMPOSITE":
                called = flatbuffer.text(operator.builtinOptions2.name)
                if called.startswith(_COMPOSITE):
                    layer = called.removeprefix(_COMPOSITE)
                    graph.operators[place] = _fuse_torch(tree, graph, operator, layer)
            elif tree.operatorCodes[operator.opcodeIndex].customCode is None:
                continue
            elif _is_marker(tree, graph, operator):
                graph.operators[place] = _fuse_keras(tree, graph, operator)
            else:
                custom.add(name)
    if custom:
        raise LoweringError(f"TensorFlow Lite has no operator for: {', '.join(sorted(custom))}.")
    drop_unused(tree)
    return flatbuffer.serialize(tree)


def _is_marker(tree: Any, graph: Any, operator: Any) -> bool:
    if flatbuffer.operator_name(tree, operator) != MARKER:
        return False
    length = graph.tensors[flatbuffer.indices(operator.inputs)[_LENGTH]]
    return flatbuffer.is_constant(tree, length) and flatbuffer.constant(tree, length) == MARK


def _fuse_keras(tree: Any, graph: Any, marker: Any) -> Any:
    inputs, outputs = flatbuffer.indices(marker.inputs), flatbuffer.indices(marker.outputs)
    matrix, bias = (
        flatbuffer.constant(tree, graph.tensors[inputs[place]]) for place in (_WEIGHTS, _BIAS)
    )
    features = flatbuffer.indices(graph.tensors[inputs[_DATA]].shape)[-1]
    layer = flatbuffer.tensor_name(graph, outputs[0])
    layer = layer.rpartition("/")[0] or layer
    weights, recurrent = matrix[:features].T, matrix[features:].T
    return _fuse(tree, graph, layer, inputs[_DATA], outputs[_RESULT], [weights, recurrent, bias])


def _fuse_torch(tree: Any, graph: Any, marker: Any, layer: str) -> Any:
    """The decomposition of the marker stays as a subgraph that nothing calls."""
    data, *constants = flatbuffer.indices(marker.inputs)
    (result,) = flatbuffer.indices(marker.outputs)
    arrays = [flatbuffer.constant(tree, graph.tensors[index]) for index in constants]
    return _fuse(tree, graph, layer, data, result, arrays)


def _fuse(
    tree: Any, graph: Any, layer: str, data: int, result: int, arrays: Sequence[NDArray[Any]]
) -> Any:
    """The fused LSTM.

    Args:
        layer: for the names of tensors.
        data: tensor [batch, steps, features].
        result: tensor [batch, steps, cells].
        arrays: weights [4 * cells, features], recurrent weights [4 * cells, cells] and biases
            [4 * cells], the gates in the order of `lstm.GATES`, as Keras and PyTorch have them.
    """
    batch = flatbuffer.indices(graph.tensors[data].shape)[0]
    cells = len(arrays[-1]) // len(lstm.GATES)
    graph.tensors[result].name = layer
    weights, recurrent, biases = (
        [
            flatbuffer.add_constant(
                tree, graph, f"{layer}/{gate}_{what}", values[n * cells : (n + 1) * cells]
            )
            for n, gate in enumerate(lstm.GATES)
        ]
        for what, values in zip(("weights", "recurrent_weights", "bias"), arrays, strict=True)
    )
    states = []
    for what in ("hidden_state", "cell_state"):
        name = f"{layer}/{what}{lstm.PER_SAMPLE}"
        states.append(flatbuffer.add_tensor(graph, name, [batch, cells], "float32"))
        graph.tensors[states[-1]].isVariable = True
    options = flatbuffer.schema().UnidirectionalSequenceLSTMOptionsT()
    options.fusedActivationFunction = lstm.TANH
    absent = [-1]
    given = [data, *weights, *recurrent, *absent * 3, *biases, *absent * 2, *states, *absent * 4]
    return flatbuffer.make_operator(tree, lstm.NAME, given, [result], options=options)
