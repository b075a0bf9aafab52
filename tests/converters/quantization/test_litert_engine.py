"""With the real litert-quantizer, in this environment or the one EDGEQ_LITERT_PYTHON names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeq
from edgeq import models
from edgeq.conversion.litert import check_weights
from edgeq.converters.graph import dequantized
from edgeq.converters.lowering.framework_process import TensorFlowProcess
from edgeq.converters.quantization import litert_engine
from edgeq.errors import CertificateError, MissingExtraError
from edgeq.render.conversion import show_conversion
from edgeq.tflite import flatbuffer
from edgeq.values import Conversion, ConvertOptions, FloatModel

CALIBRATION = models.path("fashion_mnist_calibration.npz")


@pytest.fixture(scope="module", autouse=True)
def engine() -> None:
    try:
        litert_engine.find()
    except MissingExtraError as error:
        pytest.skip(f"{error.message} {error.hint}")


@pytest.fixture
def convert(float_cnn: FloatModel, tensorflow: TensorFlowProcess, tmp_path: Path) -> Any:
    def run(**settings: Any) -> Conversion:
        given = {"engine": "litert", "data": CALIBRATION, "samples": 60, **settings}
        out = tmp_path / "out.tflite"
        return edgeq.convert(float_cnn.file.path, out, tensorflow=tensorflow, **given)

    return run


@pytest.mark.parametrize("granularity", ["channel", "tensor"])
@pytest.mark.parametrize(("bits", "least_db"), [(8, 30), (4, 8)])
def test_weights_alone_become_integers(
    bits: int, least_db: float, granularity: str, convert: Any
) -> None:
    result = convert(scheme=f"weight-only-int{bits}", granularity=granularity)
    weighted = [op for op in result.certificate.operators if op.weight_dtype]
    assert len(weighted) == 5
    assert {op.weight_dtype for op in weighted} == {f"int{bits}"}
    assert {op.granularity for op in weighted} == {granularity}
    assert {op.precision for op in weighted} == {"weight-only"}
    assert result.quality.outputs[0].sqnr_db > least_db
    assert result.certificate.size_bytes < result.source.file.size_bytes / (32 / bits) * 1.5
    assert f"INT{bits} symmetric per {granularity}" in show_conversion(result)
    assert dict(result.versions)["litert-quantizer"].startswith("0.11")


def test_blocks_have_their_scales_and_what_cannot_have_them_is_named(convert: Any) -> None:
    with pytest.raises(CertificateError) as caught:
        convert(scheme="weight-only-int4", granularity="block:32")
    assert "3 of 5 operators with weights, CONV_2D" in caught.value.message
    assert "only FULLY_CONNECTED can have blocks" in caught.value.message
    result = convert(scheme="weight-only-int4", granularity="block:32", allow_float=True)
    found = {op.name: op.granularity for op in result.certificate.operators if op.weight_dtype}
    assert found == {"CONV_2D": "channel", "FULLY_CONNECTED": "block:32"}


def test_finer_scales_are_nearer_to_float(convert: Any) -> None:
    found = [
        convert(scheme="weight-only-int4", granularity=granularity, allow_float=True)
        for granularity in ("tensor", "channel", "block:32")
    ]
    decibels = [result.quality.outputs[0].sqnr_db for result in found]
    assert decibels == sorted(decibels)


def test_static_int8_is_proven_like_our_own(convert: Any) -> None:
    result = convert(scheme="int8")
    assert {op.precision for op in result.certificate.operators} == {"int8"}
    assert result.model.ranges.calibrator == "litert"
    assert "INT8 asymmetric per tensor" in show_conversion(result)


def test_a_file_that_is_read_differently_is_refused(
    float_cnn: FloatModel, convert: Any, tmp_path: Path
) -> None:
    """The integers as another kernel would take them: the check has to see it."""
    result = convert(scheme="weight-only-int8")
    content = Path(result.model.file.path).read_bytes()
    check_weights(content, float_cnn, ConvertOptions(), tmp_path)
    twin = dequantized.float_twin

    def misread(given: bytes) -> bytes:
        tree = flatbuffer.parse(twin(given), "it")
        graph = tree.subgraphs[0]
        first = next(
            op for op in graph.operators if flatbuffer.operator_name(tree, op) == "CONV_2D"
        )
        weights = graph.tensors[first.inputs[1]]
        values = flatbuffer.constant(tree, weights)
        weights.buffer = flatbuffer.add_buffer(tree, np.asarray(values * 1.01, np.float32))
        return flatbuffer.serialize(tree)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dequantized, "float_twin", misread)
        with pytest.raises(CertificateError, match="reads the file's weights wrongly"):
            check_weights(content, float_cnn, ConvertOptions(), tmp_path)
