from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edgeq
from edgeq.conversion.weight_check import check_weights
from edgeq.converters.graph import dequantized
from edgeq.converters.lowering import lower
from edgeq.errors import CertificateError, UsageError
from edgeq.render.conversion import show_conversion
from edgeq.tflite import flatbuffer
from edgeq.values import ConvertOptions
from tests import tiny_models


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "dense.tflite"
    path.write_bytes(tiny_models.dense("float32"))
    return path


@pytest.mark.parametrize("granularity", ["channel", "block:64"])
def test_a_weight_only_file_is_proven(source: Path, granularity: str) -> None:
    out = source.with_name("out.tflite")
    result = edgeq.convert(source, out, scheme="weight-only-int4", granularity=granularity)
    weighted = [op for op in result.certificate.operators if op.weight_dtype]
    assert {(op.precision, op.weight_dtype) for op in weighted} == {("weight-only", "int4")}
    assert "INT4 symmetric per channel" in show_conversion(result)  # a block of all 64 inputs
    assert result.certificate.min_runtime_version == "2.18.0"


def test_layers_that_cannot_have_blocks_are_named(source: Path) -> None:
    with pytest.raises(CertificateError) as caught:
        edgeq.convert(
            source, source.with_name("o.tflite"), scheme="weight-only-int4",
            granularity="block:128",
        )  # fmt: skip
    assert "its 64 inputs are not a multiple of 128" in caught.value.message


def test_a_file_that_is_read_differently_is_refused(source: Path) -> None:
    """The integers as another kernel would take them: the check has to see it."""
    out = source.with_name("out.tflite")
    edgeq.convert(source, out, scheme="weight-only-int8")
    model, content = lower.adopt(source, ConvertOptions()), out.read_bytes()
    check_weights(content, model, 0, source.parent)
    twin = dequantized.float_twin

    def misread(given: bytes) -> bytes:
        tree = flatbuffer.parse(twin(given), "it")
        graph = tree.subgraphs[0]
        weights = graph.tensors[graph.operators[-1].inputs[1]]
        values = flatbuffer.constant(tree, weights)
        weights.buffer = flatbuffer.add_buffer(tree, np.asarray(values * 1.01, np.float32))
        return flatbuffer.serialize(tree)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dequantized, "float_twin", misread)
        with pytest.raises(CertificateError, match="reads the file's weights wrongly"):
            check_weights(content, model, 0, source.parent)


def test_the_removed_engine_is_refused_before_any_work(source: Path) -> None:
    with pytest.raises(UsageError, match="--engine litert was removed"):
        edgeq.convert(source, source.with_name("o.tflite"), scheme="fp16", engine="litert")
