"""Leftovers of other converters in a file, which the quantizer does not understand."""

from __future__ import annotations

import numpy as np

from edgeq.converters.graph.rewriting import drop_stored_results
from edgeq.tflite import flatbuffer
from tests.converters.rewrites.tiny_graphs import Builder, kinds, run


def test_an_operator_whose_result_is_stored_is_removed() -> None:
    build = Builder()
    x = build.input([1, 3])
    shape = build.constant([3, 1], "int32")
    build.graph.operators.append(
        flatbuffer.make_operator(build.tree, "CAST", [build.constant([3.0, 1.0])], [shape])
    )
    made = build.add("RESHAPE", [x, shape], [3, 1])
    tree = flatbuffer.parse(build.content(made), "")
    assert drop_stored_results(tree) == 1
    content = flatbuffer.serialize(tree)
    assert kinds(content) == ["RESHAPE"]
    assert run(content, np.array([[1, 2, 3]], np.float32))[0].tolist() == [[1], [2], [3]]
    assert drop_stored_results(tree) == 0
