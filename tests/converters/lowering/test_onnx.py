"""ONNX files, read for real where a Python has onnx2tf."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeq import api
from edgeq.errors import EdgeqError, LoweringError, SourceError
from edgeq.values import FloatModel

Read = Callable[..., FloatModel]


def test_a_cnn_becomes_int8_as_a_keras_model_does(onnx_models: Path, tmp_path: Path) -> None:
    data = np.random.default_rng(0).standard_normal((70, 3, 32, 32)).astype("f4")
    out = tmp_path / "o.tflite"
    # Noise hardly varies the scores, so without io the last bias would stay in float.
    result = api.convert(
        onnx_models / "cnn.onnx", out, data=data, samples=50, min_sqnr_db=12, io="int8"
    )
    assert {operator.precision for operator in result.certificate.operators} == {"int8"}
    assert result.source.source_kind == "onnx"
    assert ", onnx2tf 2.6" in result.source.framework
    assert result.source.max_deviation is not None
    assert result.source.max_deviation < 1e-5
    assert result.certificate.inputs[0].shape == (1, 3, 32, 32)
    assert {spec.name: spec.shape for spec in result.certificate.outputs} == {
        "scores": (1, 10),
        "features": (1, 24, 16, 16),
    }
    assert result.source.notes == (
        "input 'image' is 1x3x32x32, NCHW as in the source; --layout nhwc makes it 1x32x32x3",
    )


def test_an_output_that_onnx2tf_moves_is_told(onnx_models: Path, read_exported: Read) -> None:
    """A model of 4 channels and 4x4 pixels: only the values show the layout."""
    model = read_exported(onnx_models / "upsampling.onnx")
    assert model.max_deviation is not None
    assert model.notes[1:] == ("output 'large' is 1x4x4x4, NHWC; the source gives NCHW",)


def test_layout_nhwc_moves_images_and_says_so(onnx_models: Path, read_exported: Read) -> None:
    model = read_exported(onnx_models / "dynamic.onnx", layout="nhwc", batch=2)
    assert model.inputs[0].shape == (2, 32, 32, 3)
    assert model.max_deviation is not None
    assert model.max_deviation < 1e-5
    assert model.notes[0] == ("input 'image' is 2x32x32x3, NHWC; the source takes 2x3x32x32, NCHW")


def test_a_quantized_model_is_refused(onnx_models: Path, read_exported: Read) -> None:
    path = onnx_models / "quantized.onnx"
    with pytest.raises(SourceError) as caught:
        read_exported(path)
    assert str(caught.value) == (
        f"{path} is already quantized: 1 operators, 'QuantizeLinear' first. "
        "Convert the float model."
    )


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        (
            "half.onnx",
            SourceError,
            "{} has weights that are not float32: 1 tensors, 'w' of float16 first. Export the "
            "model in float32.",
        ),
        (
            "double.onnx",
            SourceError,
            "{} takes 'image' as tensor(double), which edgeq cannot feed. Export the model with "
            "float32 or integer tensors as inputs.",
        ),
        (
            "det.onnx",
            LoweringError,
            "onnx2tf cannot express the operator Det in TensorFlow Lite. -v shows its own output; "
            "a PyTorch model can be saved with torch.export.save instead.",
        ),
    ],
)
def test_what_cannot_be_converted_is_named(
    onnx_models: Path, read_exported: Read, name: str, error: type[EdgeqError], message: str
) -> None:
    path = onnx_models / name
    with pytest.raises(error) as caught:
        read_exported(path)
    assert str(caught.value) == message.format(path)


def test_an_operator_that_onnxruntime_does_not_know(onnx_models: Path, read_exported: Read) -> None:
    with pytest.raises(SourceError, match=r"onnxruntime cannot run .*acme:MyOp\(-1\) is not a"):
        read_exported(onnx_models / "custom.onnx")


def test_weights_in_a_file_beside_it(onnx_models: Path, read_exported: Read) -> None:
    assert read_exported(onnx_models / "outside.onnx").max_deviation is not None
    (onnx_models / "outside.data").unlink()
    with pytest.raises(SourceError, match="Export it again, with its weights in files beside it"):
        read_exported(onnx_models / "outside.onnx")


def test_a_damaged_file(tmp_path: Path, onnx_models: Path, read_exported: Read) -> None:
    cut = tmp_path / "cut.onnx"
    cut.write_bytes((onnx_models / "cnn.onnx").read_bytes()[:2000])
    with pytest.raises(SourceError, match=r"cut\.onnx is incomplete or is not an ONNX model: "):
        read_exported(cut)
