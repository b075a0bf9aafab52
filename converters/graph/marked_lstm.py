"""Turns the markers of `converters.lowering.lstm_layers` into fused LSTMs."""

from __future__ import annotations

from typing import Any

from edgeq.errors import LoweringError
from edgeq.tflite import flatbuffer, lstm
from edgeq.tflite.compacting import drop_unused

MARKER = "BlockLSTMV2"
MARK = -20141216  # its first operand; an operator of the user's model has another one
_LENGTH, _DATA, _WEIGHTS, _BIAS = 0, 1, 4, 8  # operands of BlockLSTMV2
_RESULT = 6


def replace_markers(content: bytes) -> bytes:
    """A lowered model with UNIDIRECTIONAL_SEQUENCE_LSTM in place of the markers.

    Args:
        content: from a conversion that allowed custom operators.

    Raises:
        LoweringError: other custom operators are left.
    """
    tree = flatbuffer.parse(content, "the lowered model")
    custom = set()
    for graph in tree.subgraphs:
        for place, operator in enumerate(graph.operators):
            if tree.operatorCodes[operator.opcodeIndex].customCode is None:
                continue
            if _is_marker(tree, graph, operator):
                graph.operators[place] = _fused(tree, graph, operator)
            else:
                custom.add(flatbuffer.operator_name(tree, operator))
    if custom:
        raise LoweringError(f"TensorFlow Lite has no operator for: {', '.join(sorted(custom))}.")
    drop_unused(tree)
    return flatbuffer.serialize(tree)


def _is_marker(tree: Any, graph: Any, operator: Any) -> bool:
    if flatbuffer.operator_name(tree, operator) != MARKER:
        return False
    length = graph.tensors[flatbuffer.indices(operator.inputs)[_LENGTH]]
    return flatbuffer.is_constant(tree, length) and flatbuffer.constant(tree, length) == MARK


def _fused(tree: Any, graph: Any, marker: Any) -> Any:
    """The fused LSTM; the columns of Keras' weights are in the order of `lstm.GATES`."""
    inputs, result = flatbuffer.indices(marker.inputs), flatbuffer.indices(marker.outputs)[_RESULT]
    matrix, bias = (
        flatbuffer.constant(tree, graph.tensors[inputs[place]]) for place in (_WEIGHTS, _BIAS)
    )
    batch, _, features = flatbuffer.indices(graph.tensors[inputs[_DATA]].shape)
    cells = len(bias) // len(lstm.GATES)
    layer = flatbuffer.tensor_name(graph, flatbuffer.indices(marker.outputs)[0])
    layer = layer.rpartition("/")[0] or layer
    graph.tensors[result].name = layer

    def constants(what: str, values: Any) -> list[int]:
        return [
            flatbuffer.add_constant(
                tree, graph, f"{layer}/{gate}_{what}", values.T[n * cells : (n + 1) * cells]
            )
            for n, gate in enumerate(lstm.GATES)
        ]

    weights = constants("weights", matrix[:features])
    recurrent = constants("recurrent_weights", matrix[features:])
    biases = constants("bias", bias)
    states = []
    for what in ("hidden_state", "cell_state"):
        name = f"{layer}/{what}{lstm.PER_SAMPLE}"
        states.append(flatbuffer.add_tensor(graph, name, [batch, cells], "float32"))
        graph.tensors[states[-1]].isVariable = True
    options = flatbuffer.schema().UnidirectionalSequenceLSTMOptionsT()
    options.fusedActivationFunction = lstm.TANH
    absent = [-1]
    given = [inputs[_DATA], *weights, *recurrent, *absent * 3, *biases, *absent * 2, *states]
    given += absent * 4
    return flatbuffer.make_operator(tree, lstm.NAME, given, [result], options=options)
