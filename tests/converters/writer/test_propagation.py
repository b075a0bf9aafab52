from __future__ import annotations

from collections.abc import Callable

import pytest

from edgeq.converters.writer.parameters import Affine
from edgeq.converters.writer.propagation import Forms, Node, propagate, propagate_int16

A, B, C, D = (Affine("int8", scale, 0) for scale in (0.1, 0.2, 0.3, 0.4))
FIXED = Affine("int8", 1 / 256, -128)


def test_an_operator_with_one_operand_passes_its_parameters_on() -> None:
    forms = propagate([Node((0,), (1,), is_same_scale=True)], {0: A, 1: B}, set())
    assert forms.own == {0: A, 1: A}


def test_operands_are_made_with_the_scale_of_their_joined_result() -> None:
    nodes = [
        Node((0,), (1,)),
        Node((0,), (2,)),
        Node((1,), (3,), is_same_scale=True),
        Node((2, 3), (4,), operands=2, is_same_scale=True),
    ]
    forms = propagate(nodes, {0: A, 1: B, 2: C, 3: B, 4: D}, set())
    assert [forms.of_result(index) for index in range(5)] == [A, D, D, D, D]
    assert not forms.wanted


def test_the_16x8_quantizer_puts_a_conversion_before_a_join_instead() -> None:
    nodes = [Node((0,), (1,)), Node((0, 1), (2,), operands=2, is_same_scale=True)]
    forms = propagate_int16(nodes, {0: A, 1: B, 2: B}, set())
    assert [forms.of_result(index) for index in range(3)] == [A, B, B]
    assert forms.wanted == {(1, 0): B}


def test_the_16x8_quantizer_leaves_the_scale_of_what_only_moves_values() -> None:
    nodes = [
        Node((0,), (1,), is_same_scale=True),
        Node((1, 9), (2,), operands=2, is_same_scale=True),
        Node((9, 2), (), operands=2, is_same_scale=True),
    ]
    forms = propagate_int16(nodes, {0: A, 1: C, 2: B}, {9})
    assert [forms.of_result(index) for index in range(3)] == [A, A, B]
    assert forms.wanted == {(1, 1): B, (1, 9): B, (2, 9): B}


def test_a_prescribed_range_is_converted_where_its_reader_wants_another() -> None:
    nodes = [
        Node((0,), (1,), fixed=FIXED),
        Node((1, 2), (3,), operands=2, is_same_scale=True),
    ]
    forms = propagate(nodes, {0: A, 1: B, 2: C, 3: D}, set())
    assert forms.of_result(1) == FIXED
    assert forms.of_operand(1, 1) == forms.of_result(3) == D


def test_constants_of_a_join_take_its_scale_for_each_reader() -> None:
    nodes = [Node((0, 9), (1,), operands=2, is_same_scale=True),
             Node((1, 9), (2,), operands=2, is_same_scale=True)]  # fmt: skip
    forms = propagate(nodes, {0: A, 1: B, 2: C}, {9})
    assert forms.of_operand(0, 9) == forms.of_result(1)
    assert forms.of_operand(1, 9) == forms.of_result(2)


@pytest.mark.parametrize("find", [propagate, propagate_int16])
def test_an_input_that_two_joins_read_has_one_scale_and_one_conversion(
    find: Callable[..., Forms],
) -> None:
    nodes = [
        Node((0, 1), (3,), operands=2, is_same_scale=True),
        Node((0, 2), (4,), operands=2, is_same_scale=True),
    ]
    forms = find(nodes, {0: A, 1: A, 2: A, 3: B, 4: C}, set())
    for place, result in ((0, 3), (1, 4)):
        for index in nodes[place].reads:
            assert forms.of_operand(place, index) == forms.of_result(result)


def test_every_reader_of_a_tensor_gets_the_scale_of_the_join_that_it_feeds() -> None:
    nodes = [
        Node((0,), (1,)),
        Node((1,), (2,), is_same_scale=True),
        Node((1, 0), (3,), operands=2, is_same_scale=True),
    ]
    forms = propagate(nodes, {0: A, 1: A, 2: A, 3: B}, set())
    assert [forms.of_result(index) for index in (1, 2, 3)] == [B, B, B]


@pytest.mark.parametrize("is_output", [True, False])
def test_a_narrower_result_does_not_clip_what_others_read(is_output: bool) -> None:
    # SELECT(x > 0, x, 0), whose result is positive, of an x that is returned or read again.
    positive = Affine("int8", 0.05, -128)
    nodes = [Node((0,), (1,)), Node((1, 9), (2,), operands=3, is_same_scale=True)]
    own, outputs = {0: A, 1: A, 2: positive, 3: C}, {2}
    forms = propagate(nodes, own, {9}, outputs=outputs)
    assert forms.of_result(1) == positive  # nobody else reads it
    if is_output:
        outputs = {1, 2}
    else:
        nodes.append(Node((1,), (3,)))
    forms = propagate(nodes, own, {9}, outputs=outputs)
    assert forms.of_result(1) == A
    assert forms.of_operand(1, 1) == forms.of_result(2) == positive


def test_a_coarser_join_does_not_take_more_than_one_bit_from_other_readers() -> None:
    nodes = [Node((0,), (1,)), Node((1, 0), (2,), operands=2, is_same_scale=True), Node((1,), (3,))]
    for scale, expected in ((0.2, 0.2), (0.21, 0.1)):
        joined = Affine("int8", scale, 0)
        forms = propagate(nodes, {0: joined, 1: A, 2: joined, 3: A}, set())
        assert (forms.of_result(1), forms.of_operand(1, 1)) == (Affine("int8", expected, 0), joined)
