from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edgeq
from edgeq.accuracy.verdict import worst_sqnr_db
from edgeq.tflite import flatbuffer
from tests.converters.rewrites.tiny_graphs import Builder, schema


def attention(tokens: int, gain: float, path: Path) -> Path:
    """Single-head attention of [1, tokens, 8] over all tokens; `gain` makes it peaked."""
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
    mixed = build.add("BATCH_MATMUL", [shares, dense(x)], [1, tokens, 8],
                      options=schema.BatchMatMulOptionsT())  # fmt: skip
    path.write_bytes(build.content(dense(mixed)))
    return path


@pytest.mark.parametrize(
    ("tokens", "gain", "is_fine"), [(300, 0.3, True), (300, 60.0, False), (30, 0.3, False)]
)
def test_only_small_probabilities_need_16_bits(
    tokens: int, gain: float, is_fine: bool, tmp_path: Path
) -> None:
    model, data = attention(tokens, gain, tmp_path / "model.tflite"), tmp_path / "x.npz"
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
