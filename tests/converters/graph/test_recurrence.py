"""Unrolled recurrent layers are found by the weights that their steps share."""

from __future__ import annotations

from edgeq.converters.graph.recurrence import find_passed_states, find_recurrent
from edgeq.tflite import flatbuffer
from tests.recurrent_nets import ARRANGING, one_step, repeated, unrolled


def found(content: bytes) -> tuple[frozenset[int], int]:
    tree = flatbuffer.parse(content, "it")
    return find_recurrent(tree), len(tree.subgraphs[0].operators)


def test_a_layer_is_found_from_the_products_of_its_inputs_to_its_last_state() -> None:
    places, count = found(unrolled())
    assert places == frozenset(range(ARRANGING, count - 1))  # without the last dense layer


def test_the_product_of_all_inputs_at_once_belongs_to_the_layer() -> None:
    """Its INT8 steps would cost 1.4 dB of a GRU from PyTorch, beside the same one from Keras."""
    places, count = found(unrolled(is_at_once=True))
    assert places == frozenset(range(count - 1))


def test_a_layer_used_twice_is_recurrent_on_one_row_of_each_sample_only() -> None:
    assert found(repeated(1))[0] == frozenset(range(5))
    assert found(repeated(6))[0] == frozenset()


def test_a_step_with_its_states_as_inputs_and_outputs_is_recurrent() -> None:
    tree = flatbuffer.parse(one_step(), "it")
    graph = tree.subgraphs[0]
    _, hidden, cell = flatbuffer.indices(graph.inputs)
    _, *states = flatbuffer.indices(graph.outputs)
    assert find_passed_states(tree) == ({hidden, cell}, {*states})
    assert find_recurrent(tree) == frozenset(range(len(graph.operators) - 1))


def test_a_gate_whose_product_reads_other_values_passes_no_state() -> None:
    """Squeeze and excitation, for example: the gate of a picture is computed from its means."""
    tree = flatbuffer.parse(one_step(reads_state=False), "it")
    assert find_passed_states(tree) == (frozenset(), frozenset())
    assert find_recurrent(tree) == frozenset()
