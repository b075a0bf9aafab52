"""The kind of a candidate, which `compare` reads from its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeq
from edgeq.comparison import compare
from edgeq.comparison.compare import computes_int8
from edgeq.tflite import flatbuffer
from tests.converters.rewrites.tiny_graphs import Builder
from tests.tiny_models import dense


def test_a_candidate_computes_in_int8_if_an_operator_does(int8_mobilenet: Path) -> None:
    assert computes_int8(flatbuffer.read(int8_mobilenet))
    assert not computes_int8(flatbuffer.parse(dense("float16"), "it"))
    net = Builder()
    stored = net.add("QUANTIZE", [net.input([1, 4])], [1, 4], "int8")
    real = net.add("NEG", [net.add("DEQUANTIZE", [stored], [1, 4])], [1, 4])
    assert not computes_int8(flatbuffer.parse(net.content(real), "it"))


def test_a_float_candidate_is_not_judged_as_int8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = Builder()
    path = tmp_path / "m.tflite"
    path.write_bytes(net.content(net.add("RELU", [net.input([1, 4])], [1, 4])))
    given: list[Any] = []
    judge = compare.judge_comparison

    def note(*arguments: Any) -> Any:
        given.append(arguments[-1])
        return judge(*arguments)

    monkeypatch.setattr(compare, "judge_comparison", note)
    edgeq.compare(path, path, {"x": np.ones((8, 4), np.float32)}, latency=False)
    assert given == [False]
