from __future__ import annotations

import numpy as np
import pytest

from edgeq.converters.writer.write import Target, Writer
from edgeq.tflite import flatbuffer
from edgeq.values import Ranges, TensorRange
from tests.converters.rewrites.tiny_graphs import Builder, run, schema


@pytest.mark.parametrize("io", ["int8", "float32"])
def test_inputs_and_outputs_of_integers_stay_as_they_are(io: str) -> None:
    build = Builder()
    index = build.input([1, 3], "int32")
    table = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    rows = build.add("GATHER", [build.constant(table), index], [1, 3, 4])
    options = schema.ArgMaxOptionsT()
    options.outputType = schema.TensorType.INT32
    axis = build.constant(2, "int32")
    largest = build.add("ARG_MAX", [rows, axis], [1, 3], "int32", options=options, version=2)
    content = build.content(rows, largest)
    span = TensorRange(rows, "rows", float(table.min()), float(table.max()))
    ranges = Ranges("edgeq", "minmax", 9, (span,), "digest")
    made = Writer(content, Target("int8", io)).write(ranges)
    graph = flatbuffer.parse(made, "m").subgraphs[0]
    ends = (*flatbuffer.indices(graph.inputs), *flatbuffer.indices(graph.outputs))
    assert [flatbuffer.dtype(graph.tensors[i]) for i in ends] == ["int32", io, "int32"]
    np.testing.assert_array_equal(run(made, [[4, 0, 2]])[1], table[[4, 0, 2]].argmax(1)[None])
