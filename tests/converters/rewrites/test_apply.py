from __future__ import annotations

import numpy as np
import pytest

from edgeq.converters.rewrites.apply import rewrite, unpack
from edgeq.errors import SourceError
from edgeq.tflite import flatbuffer
from tests import tiny_models
from tests.converters.rewrites.test_branches import model as branching
from tests.converters.rewrites.test_conditions import lookup, masked
from tests.converters.rewrites.test_masks import computed, selected
from tests.converters.rewrites.test_masks import model as attention
from tests.converters.rewrites.test_pool_padding import model as pooling
from tests.converters.rewrites.tiny_graphs import Builder, kinds, run, schema

MODELS = (
    tiny_models.dense("float16"), tiny_models.fused_lstm(), branching(), branching(True),
    attention(computed(-1e9))[0], attention(selected(-np.inf))[0], pooling("RELU")[0],
    pooling()[0], masked(turned=True), lookup(),
)  # fmt: skip


def test_a_model_without_anything_to_rewrite_keeps_its_bytes() -> None:
    content = tiny_models.dense("float32")
    assert rewrite(content).content is content
    assert rewrite(content).names == ()


def test_half_weights_are_unpacked_exactly() -> None:
    content = tiny_models.dense("float16")
    made = unpack(content)
    assert made.names == ("FP16 weights unpacked (2)",)
    assert kinds(made.content) == ["RESHAPE", "FULLY_CONNECTED", "FULLY_CONNECTED"]
    tree = flatbuffer.parse(made.content, "m")
    assert {flatbuffer.dtype(tensor) for tensor in tree.subgraphs[0].tensors} == {
        "float32", "int32",
    }  # fmt: skip
    x = np.random.default_rng(0).normal(size=(1, 8, 8))
    np.testing.assert_array_equal(run(made.content, x)[0], run(content, x)[0])


def damage(content: bytes, seed: int) -> bytes:
    """The file with a few references, shapes, options or constants changed at random."""
    random, tree = np.random.default_rng(seed), flatbuffer.parse(content, "m")
    for _ in range(random.integers(1, 4)):
        graph = tree.subgraphs[random.integers(len(tree.subgraphs))]
        if not graph.operators:
            continue
        operator = graph.operators[random.integers(len(graph.operators))]
        tensor = graph.tensors[random.integers(len(graph.tensors))]
        inputs, count = list(operator.inputs), len(graph.tensors)
        what = random.integers(11)
        if what == 0 and inputs:
            inputs[random.integers(len(inputs))] = random.integers(-1, count)
        elif what == 1:
            inputs = inputs[: random.integers(len(inputs) + 1)]
        elif what == 2:
            inputs.append(random.integers(-1, count))
        elif what == 3:
            operator.builtinOptions, operator.builtinOptionsType = None, 0
        elif what == 4:
            operator.outputs = [random.integers(-1, count) for _ in range(random.integers(3))]
        elif what == 5:
            tensor.shape = None
        elif what == 6:
            tensor.shape = np.array(random.integers(0, 4, random.integers(5)), np.int32)
        elif what == 7:
            tensor.shapeSignature = np.full(len(flatbuffer.indices(tensor.shape)), -1, np.int32)
        elif what == 8:
            tensor.buffer = random.integers(len(tree.buffers))
        elif what == 9:
            tensor.type = random.integers(18)
        else:
            operator.opcodeIndex = random.integers(len(tree.operatorCodes))
        operator.inputs = np.array(inputs, np.int32)
    return flatbuffer.serialize(tree)


@pytest.mark.parametrize("number", range(len(MODELS)))
def test_damaged_models_are_refused_or_rewritten(number: int) -> None:
    refused = 0
    for seed in range(60):
        try:
            made = rewrite(damage(MODELS[number], seed)).content
        except SourceError as error:
            assert "damaged" in str(error)
            refused += 1
        else:
            rewrite(made)  # it can be read again
    assert refused < 60


def test_each_graph_of_signatures_is_rewritten_and_kept() -> None:
    build = Builder()
    for name in ("one", "other"):
        graph = build.graph if name == "one" else build.subgraph()
        x = build.input([2, 3], name=name)
        same = build.add("RESHAPE", [x, build.constant([2, 3], "int32")], [2, 3])
        build.finish(build.add("ABS", [same], [2, 3]), graph=graph)
    signatures = []
    for number in (0, 1):
        entry, signature = schema.TensorMapT(), schema.SignatureDefT()
        entry.name, entry.tensorIndex = "x", 0
        signature.signatureKey, signature.subgraphIndex = f"s{number}", number
        signature.inputs, signature.outputs = [entry], []
        signatures.append(signature)
    build.tree.signatureDefs = signatures
    made = rewrite(flatbuffer.serialize(build.tree))
    assert made.names == ("operators without effect removed (2)",)
    assert kinds(made.content, 0) == kinds(made.content, 1) == ["ABS"]


def test_scalars_and_empty_tensors() -> None:
    build = Builder()
    x, none = build.input([]), build.input([0, 3], name="none")
    total = build.add("ADD", [x, build.constant(0.0)], [])
    joined = build.add("CONCATENATION", [none, none], [0, 3])
    content = build.content(build.add("ABS", [total], []), build.add("ABS", [joined], [0, 3]))
    made = rewrite(content)
    assert kinds(made.content) == ["CONCATENATION", "ABS", "ABS"]
    for own, expected in zip(
        run(made.content, -2, np.zeros((0, 3))), run(content, -2, np.zeros((0, 3))), strict=True
    ):
        np.testing.assert_array_equal(own, expected)
