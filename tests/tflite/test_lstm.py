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


def test_the_role_of_each_input_and_intermediate() -> None:
    tree, operator = parsed()
    operator.inputs, operator.intermediates = np.arange(24)[::-1], np.arange(30, 35)
    options = operator.builtinOptions
    options.timeMajor, options.cellClip, options.projClip = True, 2.5, 1.5
    own = lstm.read(tree, operator)
    assert own == lstm.FusedLstm(
        data=23, weights=(22, 21, 20, 19), recurrent=(18, 17, 16, 15), peepholes=(14, 13, -1, 12),
        biases=(11, 10, 9, 8), projection=7, projection_bias=6, hidden=5, cell=4,
        norms=(3, 2, 1, 0), result=int(operator.outputs[0]), sums=(30, 31, 32, 33), unprojected=34,
        is_time_major=True, is_stateless=False, cell_clip=2.5, projection_clip=1.5,
    )  # fmt: skip
    assert sorted(own.constants()) == [*range(4), *range(6, 12), *range(12, 23)]
    assert own.inner() == (4, 30, 31, 32, 33, 34)
    operator.inputs[[7, 20]] = -1  # no projection, and no coefficients of the input gate
    operator.inputs[16] = -1
    assert lstm.read(tree, operator).inner() == (4, 31, 32, 33)


def test_what_older_files_do_not_have_is_absent() -> None:
    tree, operator = parsed()
    operator.inputs, operator.intermediates = np.arange(20), np.arange(0)
    operator.builtinOptions = None
    own = lstm.read(tree, operator)
    assert (own.norms, own.sums, own.unprojected) == ((-1, -1, -1, -1), (), -1)
    assert (own.is_time_major, own.cell_clip, own.projection_clip) == (False, 0.0, 0.0)
    assert own.inner() == (19,)
    operator.intermediates = np.arange(30, 34)
    assert lstm.read(tree, operator).unprojected == -1
    other = flatbuffer.parse(add_one(), "it")
    assert lstm.read(other, other.subgraphs[0].operators[0]) is None


def test_states_that_no_operator_sets_are_kept_from_call_to_call() -> None:
    tree, operator = parsed()
    graph = tree.subgraphs[0]
    name = flatbuffer.tensor_name(graph, operator.outputs[0])
    assert lstm.keeping_state(tree) == (name,)
    other = flatbuffer.parse(add_one(), "it")
    assert lstm.keeping_state(other) == ()
    (setter,) = other.subgraphs[0].operators
    setter.outputs = np.array([operator.inputs[18]])
    graph.operators = [setter, operator]
    tree.operatorCodes += other.operatorCodes
    setter.opcodeIndex = len(tree.operatorCodes) - 1
    assert lstm.keeping_state(tree) == ()
    # A tensor that is computed is not yet this state.
    setter.outputs = np.array([operator.inputs[0]])
    assert lstm.keeping_state(tree) == (name,)


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


def _no_recurrent_weights(tree: Any, operator: Any) -> None:
    operator.inputs[6] = -1


def _no_weights(tree: Any, operator: Any) -> None:
    operator.inputs[2] = -1


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
        (_no_recurrent_weights, "it lacks weights, biases or a state"),
        (_no_weights, "it lacks weights, biases or a state"),
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
