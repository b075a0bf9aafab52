from __future__ import annotations

import numpy as np

from edgeq.converters.rewrites.apply import rewrite, unpack
from edgeq.tflite import flatbuffer
from tests import tiny_models
from tests.converters.rewrites.tiny_graphs import kinds, run


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
