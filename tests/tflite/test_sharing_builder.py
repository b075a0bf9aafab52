from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edgeq.tflite import flatbuffer


@pytest.fixture(scope="module")
def content(int8_mobilenet: Path) -> bytes:
    return int8_mobilenet.read_bytes()


def written_by_generated_code(tree: Any) -> bytes:
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(tree.Pack(builder), flatbuffer.IDENTIFIER)
    return bytes(builder.Output())


def places_of_data(content: bytes) -> list[int]:
    """Where the data of each buffer begins in the file."""
    model = schema.Model.GetRootAs(content, 0)
    tables = [model.Buffers(index)._tab for index in range(model.BuffersLength())]
    return [table.Vector(table.Offset(4)) for table in tables if table.Offset(4)]


def run(content: bytes) -> Any:
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]
    values = np.random.default_rng(0).integers(-128, 128, given["shape"])
    interpreter.set_tensor(given["index"], values.astype(np.int8))
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def test_equal_vectors_are_written_once(content: bytes) -> None:
    tree = flatbuffer.parse(content, "it")
    plain = written_by_generated_code(tree)
    shared = flatbuffer.serialize(tree)
    zeros = [
        len(tensor.quantization.zeroPoint)
        for tensor in tree.subgraphs[0].tensors
        if tensor.quantization is not None
        and tensor.quantization.zeroPoint is not None
        and len(tensor.quantization.zeroPoint) > 1
    ]
    assert min(Counter(zeros).values()) > 1  # of a convolution's weights, and of its bias
    saved = 8 * (sum(zeros) - sum(set(zeros)))
    padding = 16 * len(places_of_data(shared))
    assert len(plain) - len(shared) > saved - padding > 10_000
    assert written_by_generated_code(flatbuffer.parse(shared, "it")) == plain
    assert np.array_equal(run(shared), run(plain))


def test_different_vectors_of_the_same_bytes_stay_apart() -> None:
    graph = schema.SubGraphT()
    graph.inputs = np.array([1, 0], np.int32)  # the bytes of a 64-bit 1
    tensor = schema.TensorT()
    tensor.buffer, tensor.name = 0, "x"
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.zeroPoint = np.array([1], np.int64)
    graph.tensors = [tensor]
    tree = schema.ModelT()
    tree.subgraphs, tree.buffers = [graph], [schema.BufferT()]
    read = schema.ModelT.InitFromPackedBuf(flatbuffer.serialize(tree), 0).subgraphs[0]
    assert read.inputs.tolist() == [1, 0]
    assert read.tensors[0].quantization.zeroPoint.tolist() == [1]


def test_stored_tensors_begin_at_multiples_of_16_bytes(content: bytes) -> None:
    places = places_of_data(content)
    assert len(places) > 20
    assert {place % 16 for place in places} == {0}
    plain = written_by_generated_code(flatbuffer.parse(content, "it"))
    assert {place % 16 for place in places_of_data(plain)} != {0}  # so the test can fail
