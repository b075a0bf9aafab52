from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import edgeq
from edgeq.accuracy.verdict import worst_sqnr_db
from edgeq.conversion.fine_softmaxes import find_fine_softmaxes
from edgeq.converters.rewrites.outputs.cutting import find_choosing
from edgeq.files import storage
from edgeq.tflite import flatbuffer
from tests.converters.rewrites.tiny_graphs import Builder, schema


def attention(tokens: int, gain: float, path: Path, is_moved: bool) -> Path:
    """Single-head attention of [1, tokens, 8] over all tokens; `gain` makes it peaked.

    Args:
        is_moved: whether the probabilities pass a transposition and a RESHAPE.
    """
    build, random = Builder(), np.random.default_rng(0)

    def dense(source: int, scale: float = 1.0) -> int:
        options = schema.FullyConnectedOptionsT()
        options.keepNumDims = True
        weights = build.constant(random.normal(size=(8, 8)) * scale / np.sqrt(8))
        inputs = [source, weights, build.constant(np.zeros(8))]
        return build.add("FULLY_CONNECTED", inputs, [1, tokens, 8], options=options)

    x = build.input([1, tokens, 8])
    adjoint, softmax = schema.BatchMatMulOptionsT(), schema.SoftmaxOptionsT()
    adjoint.adjY, softmax.beta = True, 1.0
    shape = [1, tokens, tokens]
    scores = build.add("BATCH_MATMUL", [dense(x, gain), dense(x)], shape, options=adjoint)
    shares = build.add("SOFTMAX", [scores], shape, options=softmax)
    if is_moved:
        order = build.constant([0, 2, 1], "int32")
        shares = build.add("TRANSPOSE", [shares, order], shape)
        shares = build.add("RESHAPE", [shares, build.constant(shape, "int32")], shape)
    mixed = build.add("BATCH_MATMUL", [shares, dense(x)], [1, tokens, 8],
                      options=schema.BatchMatMulOptionsT())  # fmt: skip
    path.write_bytes(build.content(dense(mixed)))
    return path


@pytest.mark.parametrize(
    ("tokens", "gain", "is_moved", "is_fine"),
    [(300, 0.3, False, True), (300, 0.3, True, True), (300, 60.0, False, False),
     (30, 0.3, False, False)],
)  # fmt: skip
def test_only_small_probabilities_need_16_bits(
    tokens: int, gain: float, is_moved: bool, is_fine: bool, tmp_path: Path
) -> None:
    model, data = attention(tokens, gain, tmp_path / "model.tflite", is_moved), tmp_path / "x.npz"
    np.savez(data, x=np.float32(np.random.default_rng(1).normal(size=(60, tokens, 8)) + 0.5))
    made = edgeq.convert(model, tmp_path / "made.tflite", data=data, statistic="minmax",
                         corrections="saturate")  # fmt: skip
    tree = flatbuffer.read(tmp_path / "made.tflite")
    (softmax,) = (
        operator
        for operator in tree.subgraphs[0].operators
        if flatbuffer.operator_name(tree, operator) == "SOFTMAX"
    )
    dtype = flatbuffer.dtype(tree.subgraphs[0].tensors[softmax.outputs[0]])
    assert dtype == ("int16" if is_fine else "int8")
    codes = [issue.code for issue in made.issues]
    assert ("convert.fine_softmaxes" in codes) == is_fine
    if is_fine:
        assert made.quality is not None
        assert worst_sqnr_db(made.quality) > 18  # 11 dB with the softmax in INT8


def test_an_operator_without_results_is_passed_over(tmp_path: Path) -> None:
    build = Builder()
    x = build.input([1, 4])
    options = schema.VarHandleOptionsT()
    options.container, options.sharedName = "", "state"
    own = build.add("VAR_HANDLE", [], [], "resource", options=options)
    build.graph.operators.append(
        flatbuffer.make_operator(build.tree, "ASSIGN_VARIABLE", [own, x], [])
    )
    path = tmp_path / "m.tflite"
    path.write_bytes(build.content(build.add("SOFTMAX", [x], [1, 4])))
    model: Any = SimpleNamespace(file=storage.refer(path))
    seen: Any = None  # nothing is multiplied
    assert find_fine_softmaxes(model, seen, (), []) == ()
    assert find_choosing(flatbuffer.read(path), ()) is None
