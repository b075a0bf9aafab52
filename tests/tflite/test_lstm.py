from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgeq.converters.writer.precisions import choose_precisions, refuse_islands
from edgeq.errors import QuantizationError
from edgeq.tflite import flatbuffer, lstm
from tests.tiny_models import add_one, fused_lstm


def parsed(**options: Any) -> tuple[Any, Any]:
    tree = flatbuffer.parse(fused_lstm(**options), "the model")
    (operator,) = tree.subgraphs[0].operators
    operator.inputs = np.array(operator.inputs)
    return tree, operator


@pytest.mark.parametrize("options", [{}, {"coupled": True}, {"projected": 3, "normalized": True}])
def test_variants_that_the_kernel_takes_have_an_integer_form(options: dict[str, Any]) -> None:
    tree, operator = parsed(**options)
    assert lstm.why_float(tree, operator) is None
    assert lstm.count(tree) == 1 and lstm.count(flatbuffer.parse(add_one(), "it")) == 0


def test_a_file_of_20_inputs_lacks_layer_normalization_only() -> None:
    tree, operator = parsed()
    operator.inputs = operator.inputs[:20]
    own = lstm.read(tree, operator)
    assert own is not None and not own.has_norms
    assert lstm.why_float(tree, operator) is None


def _relu(tree: Any, operator: Any) -> None:
    operator.builtinOptions.fusedActivationFunction = 1


def _diagonal(tree: Any, operator: Any) -> None:
    tree.subgraphs[0].tensors[operator.inputs[6]].shape = [4]


def _feed(tree: Any, index: int) -> None:
    """Make a tensor an input of the model."""
    graph = tree.subgraphs[0]
    graph.tensors[index].buffer, graph.tensors[index].isVariable = 0, False
    graph.inputs = np.array([*graph.inputs, index], np.int32)


def _computed(tree: Any, operator: Any) -> None:
    _feed(tree, operator.inputs[2])


def _half(tree: Any, operator: Any) -> None:
    tensor = tree.subgraphs[0].tensors[operator.inputs[2]]
    values = flatbuffer.constant(tree, tensor).astype(np.float16)
    tensor.type = flatbuffer.dtype_code("float16")
    tensor.buffer = flatbuffer.add_buffer(tree, values)


def _no_bias(tree: Any, operator: Any) -> None:
    operator.inputs[13] = -1


def _given_state(tree: Any, operator: Any) -> None:
    _feed(tree, operator.inputs[19])


def _constant_input(tree: Any, operator: Any) -> None:
    operator.inputs[0] = operator.inputs[1]


def _few_inputs(tree: Any, operator: Any) -> None:
    operator.inputs = operator.inputs[:5]


def _foreign_options(tree: Any, operator: Any) -> None:
    operator.builtinOptions = flatbuffer.schema().AddOptionsT()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_relu, "its activation is not tanh"),
        (_diagonal, "its recurrent weights are diagonal"),
        (_computed, "its weights are not stored as float32"),
        (_half, "its weights are not stored as float32"),
        (_no_bias, "it lacks weights, biases or a state"),
        (_given_state, "its input or its state is shared or constant"),
        (_constant_input, "its input or its state is shared or constant"),
        (_few_inputs, "it has neither 20 nor 24 inputs, or no options"),
        (_foreign_options, "it has neither 20 nor 24 inputs, or no options"),
    ],
)
def test_others_stay_float_and_are_refused_with_the_reason(
    change: Callable[[Any, Any], None], reason: str
) -> None:
    tree, operator = parsed()
    change(tree, operator)
    assert lstm.why_float(tree, operator) == reason
    precisions = choose_precisions(tree, "int8")
    assert precisions == ["float32"]
    with pytest.raises(QuantizationError, match=f"UNIDIRECTIONAL_SEQUENCE_LSTM .*: {reason}."):
        refuse_islands(tree, precisions, (), "int8")
