from __future__ import annotations

from pathlib import Path

import numpy as np

import edgeq
from edgeq.converters.rewrites.apply import rewrite
from edgeq.converters.writer.write import Target, Writer
from edgeq.tflite import flatbuffer
from edgeq.values import Ranges, TensorRange
from tests.converters.rewrites.tiny_graphs import Builder, kinds


def test_a_float_model_is_rewritten_like_its_quantized_file(tmp_path: Path) -> None:
    build, random = Builder(), np.random.default_rng(0)
    x = build.add("NEG", [build.input([1, 8])], [1, 8])
    weights = build.constant(random.normal(size=(4, 8)))
    dense = build.add("FULLY_CONNECTED", [x, weights, -1], [1, 4])
    mask = build.constant([0.0, -1e9, 0.0, 0.0])
    masked = build.add("ADD", [dense, mask], [1, 4])
    content = build.content(build.add("SOFTMAX", [masked], [1, 4]))
    made = rewrite(content).content
    assert kinds(made) == ["MUL", "FULLY_CONNECTED", "ADD", "SOFTMAX"]
    graph = flatbuffer.parse(made, "m").subgraphs[0]
    spans = [
        TensorRange(index, flatbuffer.tensor_name(graph, index), -20.0, 20.0)
        for index, tensor in enumerate(graph.tensors)
        if flatbuffer.dtype(tensor) == "float32" and tensor.buffer == 0
    ]
    ranges = Ranges("edgeq", "minmax", 9, tuple(spans), "digest")
    (tmp_path / "float.tflite").write_bytes(content)
    (tmp_path / "int8.tflite").write_bytes(Writer(made, Target("int8", "int8")).write(ranges))
    np.save(tmp_path / "x.npy", random.normal(size=(16, 8)).astype(np.float32))
    report = edgeq.debug(
        tmp_path / "float.tflite", tmp_path / "int8.tflite", tmp_path / "x.npy", try_remedies=False
    )
    assert report.unmatched == ()
    assert {layer.operator for layer in report.layers} == {"MUL", "FULLY_CONNECTED", "ADD"}
