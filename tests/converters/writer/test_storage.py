from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgeq.converters.graph import dequantized, layout
from edgeq.converters.proof.certificate import certify
from edgeq.converters.writer import storage
from edgeq.errors import QuantizationError
from edgeq.tflite import flatbuffer
from edgeq.tflite.quantmath import quantize_weights
from edgeq.values import FloatModel
from tests import tiny_models
from tests.tiny_models import Operator, schema


def run(content: bytes, x: np.ndarray) -> np.ndarray:
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def versions(content: bytes) -> set[tuple[str, int]]:
    tree = flatbuffer.parse(content, "it")
    return {
        (flatbuffer.operator_name(tree, op), tree.operatorCodes[op.opcodeIndex].version)
        for op in tree.subgraphs[0].operators
    }


DENSE = tiny_models.dense("float32")  # 4,096 and 512 weights
X = np.random.default_rng(1).normal(size=(1, 8, 8)).astype(np.float32)


@pytest.mark.parametrize(
    ("per_channel", "version", "release"), [(True, 12, "2.17.0"), (False, 9, "2.3.0")]
)
def test_dynamic_weights_are_int8_from_1024_on(
    per_channel: bool, version: int, release: str
) -> None:
    made = storage.store_dynamic(DENSE, per_channel=per_channel)
    # The small layer stays float, and its version with it.
    assert versions(made) == {
        ("RESHAPE", 1), ("FULLY_CONNECTED", version), ("FULLY_CONNECTED", 1)
    }  # fmt: skip
    tree = flatbuffer.parse(made, "it")
    assert flatbuffer.metadata(tree, "min_runtime_version") == release.encode().ljust(16, b"\0")
    graph = tree.subgraphs[0]
    large = graph.tensors[graph.operators[1].inputs[1]]
    source = flatbuffer.parse(DENSE, "it")
    weights = flatbuffer.constant(source, source.subgraphs[0].tensors[2])
    wanted, scales = quantize_weights(weights, 0 if per_channel else None)
    np.testing.assert_array_equal(flatbuffer.constant(tree, large), wanted)
    np.testing.assert_array_equal(large.quantization.scale, scales)
    assert 0 < np.max(np.abs(run(made, X) - run(DENSE, X))) < 1.5


def test_dynamic_layers_that_share_weights_have_the_same_form() -> None:
    """And an operator that reads the same tensor otherwise keeps the float values."""
    tree = flatbuffer.parse(DENSE, "it")
    graph = tree.subgraphs[0]
    again = flatbuffer.add_tensor(graph, "again", [1, 64], "float32")
    table = flatbuffer.add_tensor(graph, "sum", [64, 64], "float32")
    options = schema.FullyConnectedOptionsT()
    graph.operators += [
        flatbuffer.make_operator(tree, "FULLY_CONNECTED", [6, 2, -1], [again], options=options),
        flatbuffer.make_operator(tree, "ADD", [again, 2], [table], options=schema.AddOptionsT()),
    ]
    graph.outputs = [1, table]
    content = flatbuffer.serialize(tree)
    made = flatbuffer.parse(storage.store_dynamic(content, per_channel=True), "it")
    layers = [op for op in made.subgraphs[0].operators if op.builtinOptionsType == 8]
    first, _, third = layers
    assert first.inputs[1] == third.inputs[1] != 2
    assert third.builtinOptions.asymmetricQuantizeInputs
    run(flatbuffer.serialize(made), X)


def test_fp16_halves_the_weights_and_barely_moves_the_outputs() -> None:
    made = storage.store_fp16(DENSE)
    assert len(made) < 0.65 * len(DENSE)
    assert ("DEQUANTIZE", 3) in versions(made)
    assert 0 < np.max(np.abs(run(made, X) - run(DENSE, X))) < 0.1


def test_a_weight_beyond_fp16_is_an_error() -> None:
    with pytest.raises(QuantizationError) as caught:
        storage.store_fp16(tiny_models.dense("float32", 1e6))
    assert str(caught.value) == (
        "Weight 'two/weights' has the value 1e+06, above the maximum of FP16, 65504. "
        "Use --scheme fp32 or dynamic for this model."
    )


@pytest.mark.parametrize("granularity", ["tensor", "channel", "block:32"])
@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_weight_only_files_compute_what_their_integers_say(dtype: str, granularity: str) -> None:
    made = storage.store_weight_only(DENSE, dtype, granularity)
    assert len(made) < len(DENSE) * (0.45 if dtype == "int8" else 0.35)
    number = 6 if dtype == "int4" else 2 if granularity == "tensor" else 5
    assert ("DEQUANTIZE", number) in versions(made)
    given = run(made, X)
    np.testing.assert_allclose(given, run(dequantized.float_twin(made), X), rtol=1e-4, atol=1e-3)
    assert 0 < np.max(np.abs(given - run(DENSE, X))) < (2 if dtype == "int8" else 30)
    tree = flatbuffer.parse(made, "it")
    graph = tree.subgraphs[0]
    for operator in graph.operators[-2:]:
        found = layout.stored_weights(tree, graph, operator, "FULLY_CONNECTED")
        assert found is not None
        assert (found.granularity, found.is_widened) == (granularity, True)
        assert flatbuffer.dtype(found.tensor) == dtype


def test_a_table_and_a_batched_product_are_stored_along_their_channels() -> None:
    """A GATHER's scales belong to its rows, a BATCH_MATMUL's to the columns of its matrix."""
    generator = np.random.default_rng(2)
    table, matrix = (generator.normal(size=shape).astype(np.float32) for shape in ((5, 4), (4, 6)))
    tensors = [
        tiny_models.tensor("x", [1, 1], schema.TensorType.INT32),
        tiny_models.tensor("table", [5, 4], buffer=1), tiny_models.tensor("rows", [1, 1, 4]),
        tiny_models.tensor("matrix", [4, 6], buffer=2), tiny_models.tensor("y", [1, 1, 6]),
    ]  # fmt: skip
    operators = [
        tiny_models.operator(0, [1, 0], [2], schema.GatherOptionsT()),
        tiny_models.operator(1, [2, 3], [4], schema.BatchMatMulOptionsT()),
    ]
    codes = [(Operator.GATHER, 1), (Operator.BATCH_MATMUL, 1)]
    content = tiny_models.model(
        [tiny_models.graph(tensors, [0], [4], operators)], codes, [table, matrix]
    )
    made = storage.store_weight_only(content, "int8", "channel")
    tree = flatbuffer.parse(made, "it")
    stored = [tree.subgraphs[0].tensors[op.inputs[0]] for op in tree.subgraphs[0].operators[:2]]
    axes = [(len(t.quantization.scale), t.quantization.quantizedDimension) for t in stored]
    assert axes == [(5, 0), (6, 1)]
    x = np.array([[3]], np.int32)
    np.testing.assert_allclose(run(made, x), table[[[3]]] @ matrix, atol=0.05)


def test_convolutions_have_scales_along_their_own_axis(
    float_mobilenet: FloatModel, tmp_path: Path
) -> None:
    content = Path(float_mobilenet.file.path).read_bytes()
    for made in (
        storage.store_dynamic(content, per_channel=True),
        storage.store_weight_only(content, "int4", "channel"),
    ):
        (tmp_path / "a.tflite").write_bytes(made)
        found = certify(tmp_path / "a.tflite")
        assert {op.granularity for op in found.operators if op.granularity} == {"channel"}
        run(made, np.zeros((1, 28, 28, 1), np.float32))
