from __future__ import annotations

from typing import Any

import pytest

from edgeq.converters.writer.precisions import choose_precisions, choose_tables, refuse_islands
from edgeq.errors import QuantizationError
from edgeq.tflite import flatbuffer
from tests import tiny_models
from tests.tiny_models import Operator

_POOL, _NORM = Operator.L2_POOL_2D, Operator.LOCAL_RESPONSE_NORMALIZATION


def chain(*kinds: int) -> Any:
    """A model whose operators, of these kinds, read one another's results."""
    tensors = [tiny_models.tensor(f"t{number}", (1, 4)) for number in range(len(kinds) + 1)]
    operators = [tiny_models.operator(n, [n], [n + 1]) for n in range(len(kinds))]
    graph = tiny_models.graph(tensors, [0], [len(kinds)], operators)
    return flatbuffer.parse(tiny_models.model([graph], [(kind, 1) for kind in kinds]), "it")


def test_only_operators_with_a_kernel_become_integers() -> None:
    tree = chain(Operator.LOGISTIC, Operator.L2_POOL_2D, Operator.TANH)
    assert choose_precisions(tree, "int8") == ["int8", "float32", "int8"]
    assert choose_precisions(tree, "int8", ("t1",), ("t3",)) == ["float32", "float32", "int16"]


def test_islands_are_refused_by_kind_with_the_ways_that_work() -> None:
    tree = chain(*(_POOL, Operator.LOGISTIC, _NORM, _POOL))
    with pytest.raises(QuantizationError) as caught:
        refuse_islands(tree, choose_precisions(tree, "int8"), (), "int8")
    assert caught.value.message == (
        "TensorFlow Lite has no INT8 kernel for 2 L2_POOL_2D, LOCAL_RESPONSE_NORMALIZATION "
        "(first: 't1')."
    )
    assert caught.value.hint == (
        "--allow-float leaves them in float; --keep-float type:L2_POOL_2D "
        "--keep-float type:LOCAL_RESPONSE_NORMALIZATION does, too, and names them; "
        "--scheme dynamic and fp16 keep all activations in float."
    )


def test_16x8_is_a_way_out_where_it_has_the_kernels() -> None:
    hints = []
    for tree in (chain(Operator.LOGISTIC), chain(_POOL)):
        with pytest.raises(QuantizationError) as caught:
            refuse_islands(tree, ["float32"], (), "int8")
        hints.append("--scheme int16x8 has kernels for all of them" in str(caught.value.hint))
    assert hints == [True, False]


def test_a_function_of_one_tensor_becomes_a_table_unless_it_is_named() -> None:
    tree = chain(Operator.SIN)
    assert choose_precisions(tree, "int8") == ["int8"]
    assert len(choose_tables(tree, "int8")) == 1
    assert choose_tables(tree, "int8", ("t1",)) == choose_tables(tree, "int16") == ()
    assert choose_precisions(tree, "int16") == ["float32"]


def test_what_the_user_named_is_not_refused() -> None:
    tree = chain(Operator.SIN)
    refuse_islands(tree, choose_precisions(tree, "int8", ("t1",)), ("t1",), "int8")


def test_operators_on_integers_have_no_precision() -> None:
    tree = chain(Operator.SIN)
    tree.subgraphs[0].tensors[0].type = tree.subgraphs[0].tensors[1].type = flatbuffer.dtype_code(
        "int32"
    )
    assert choose_precisions(tree, "int8") == [None]
