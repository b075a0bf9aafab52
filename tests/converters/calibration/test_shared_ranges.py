from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeq.converters.calibration.shared_ranges import share_ranges
from edgeq.converters.calibration.worker import observable
from edgeq.tflite import flatbuffer
from edgeq.values import FloatModel, Ranges, TensorRange
from tests.tiny_models import Operator, graph, model, operator, tensor


def addition(*, constant: bool = False) -> bytes:
    """`c = a + b`, then `d = c - c`; b may be a constant."""
    tensors = [tensor(name, [1, 2], buffer=int(constant and name == "b")) for name in "abcd"]
    steps = [operator(0, [0, 1], [2], schema.AddOptionsT()),
             operator(1, [2, 2], [3], schema.SubOptionsT())]  # fmt: skip
    main = graph(tensors, [0] if constant else [0, 1], [3], steps)
    values = [np.ones(2, np.float32)] if constant else []
    return model([main], [(Operator.ADD, 1), (Operator.SUB, 1)], values)


def ranges(*edges: tuple[float, float]) -> Ranges:
    tensors = tuple(TensorRange(i, "abcd"[i], *edge) for i, edge in enumerate(edges))
    return Ranges("edgeq", "mse", 3, tensors, "")


def shared(content: bytes, *edges: tuple[float, float]) -> list[tuple[float, float]] | None:
    found = share_ranges(content, ranges(*edges))
    return None if found is None else [(item.minimum, item.maximum) for item in found.tensors]


def test_operands_and_result_that_are_alike_get_their_union() -> None:
    assert shared(addition(), (-1.0, 1.0), (-0.9, 0.8), (-1.1, 1.2), (-9.0, 9.0)) == [
        (-1.1, 1.2), (-1.1, 1.2), (-1.1, 1.2), (-9.0, 9.0)
    ]  # fmt: skip
    found = share_ranges(addition(), ranges((-1.0, 1.0), (-0.9, 0.8), (-1.1, 1.2), (-9.0, 9.0)))
    assert found is not None
    assert found.statistic == "mse-shared"


def test_ranges_that_differ_much_keep_their_resolution() -> None:
    assert shared(addition(), (-1.0, 1.0), (-0.1, 0.1), (-1.1, 1.2), (-9.0, 9.0)) is None


def test_zero_belongs_to_every_range() -> None:
    """A range of 5..6 has the scale of 0..6."""
    assert shared(addition(), (5.0, 6.0), (0.0, 5.0), (0.0, 7.0), (-70.0, 70.0)) == [
        (0.0, 7.0), (0.0, 7.0), (0.0, 7.0), (-70.0, 70.0)
    ]  # fmt: skip


def test_a_constant_operand_takes_no_part() -> None:
    content = addition(constant=True)
    given = Ranges("edgeq", "mse", 3, (TensorRange(0, "a", -1.0, 1.0),
                                       TensorRange(2, "c", -1.0, 1.1)), "")  # fmt: skip
    found = share_ranges(content, given)
    assert found is not None
    assert {(item.minimum, item.maximum) for item in found.tensors} == {(-1.0, 1.1)}


def test_a_model_without_additions_has_one_set_of_ranges(float_cnn: FloatModel) -> None:
    content = Path(float_cnn.file.path).read_bytes()
    indices = observable(flatbuffer.parse(content, "m"))
    tensors = tuple(TensorRange(index, "", 0.0, 1.0) for index in indices)
    assert share_ranges(content, Ranges("edgeq", "minmax", 1, tensors, "")) is None


@pytest.mark.parametrize("factor", [1.4, 1.6])
def test_residual_additions_are_found(float_mobilenet: FloatModel, factor: float) -> None:
    content = Path(float_mobilenet.file.path).read_bytes()
    tree = flatbuffer.parse(content, "m")
    sums = [
        flatbuffer.indices(op.outputs)[0]
        for op in tree.subgraphs[0].operators
        if flatbuffer.operator_name(tree, op) == "ADD"
    ]
    tensors = tuple(
        TensorRange(index, "", 0.0, factor if index in sums else 1.0) for index in observable(tree)
    )
    found = share_ranges(content, Ranges("edgeq", "minmax", 1, tensors, ""))
    assert (found is not None) == (factor < 1.5)
