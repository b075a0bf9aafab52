from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgeq import flatbuffer
from edgeq.converters.calibration_worker import observable
from edgeq.converters.range_sharing import SHARED, share_ranges
from edgeq.values import FloatModel, Ranges, TensorRange


def test_only_operands_of_in_place_operators_are_widened(float_mobilenet: FloatModel) -> None:
    content = Path(float_mobilenet.file.path).read_bytes()
    tree = flatbuffer.parse(content, "m")
    graph = tree.subgraphs[0]
    sums = {
        flatbuffer.indices(op.outputs)[0]: flatbuffer.indices(op.inputs)
        for op in graph.operators
        if flatbuffer.operator_name(tree, op) == "ADD"
    }
    # Every tensor 0..1, the results of ADDs 0..5
    tensors = tuple(
        TensorRange(index, str(index), 0.0, 5.0 if index in sums else 1.0)
        for index in observable(tree)
    )
    shared = share_ranges(content, Ranges("edgeq", "minmax", 1, tensors, ""))
    assert shared is not None
    assert shared.statistic == SHARED
    changed = {
        after.index for before, after in zip(tensors, shared.tensors, strict=True)
        if before != after
    }  # fmt: skip
    assert changed
    for index in changed:
        assert any(index in operands for operands in sums.values())
    assert all(item.maximum == 5.0 for item in shared.tensors if item.index in changed)


def test_a_model_without_such_operators_has_one_set_of_ranges(float_cnn: FloatModel) -> None:
    content = Path(float_cnn.file.path).read_bytes()
    indices = observable(flatbuffer.parse(content, "m"))
    tensors = tuple(TensorRange(index, "", 0.0, 1.0) for index in indices)
    assert share_ranges(content, Ranges("edgeq", "minmax", 1, tensors, "")) is None


def test_an_operand_that_others_read_too_keeps_its_range(float_mobilenet: FloatModel) -> None:
    """A residual connection's input feeds the block and the ADD: its memory cannot be taken."""
    content = Path(float_mobilenet.file.path).read_bytes()
    tree = flatbuffer.parse(content, "m")
    graph = tree.subgraphs[0]
    reads = [i for op in graph.operators for i in flatbuffer.indices(op.inputs)]
    tensors = tuple(
        TensorRange(index, "", 0.0, float(position))
        for position, index in enumerate(observable(tree))
    )
    ranges = Ranges("edgeq", "minmax", 1, tensors, "")
    shared = share_ranges(content, ranges)
    assert shared is not None
    for before, after in zip(tensors, shared.tensors, strict=True):
        if reads.count(before.index) > 1:
            assert after == replace(before)
