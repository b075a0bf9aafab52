"""ONNX files, read for real where a Python has onnx2tf."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from edgeq import api
from edgeq.converters.lowering.exported_models import ExportedReader, find_python
from edgeq.errors import EdgeqError, LoweringError, SourceError, UsageError
from edgeq.tflite import flatbuffer
from edgeq.values import ConvertOptions, FloatModel

Read = Callable[..., FloatModel]


def test_a_cnn_becomes_int8_as_a_keras_model_does(onnx_models: Path, tmp_path: Path) -> None:
    data = np.random.default_rng(0).standard_normal((70, 3, 32, 32)).astype("f4")
    out = tmp_path / "o.tflite"
    # Noise varies the scores little, so without io the last bias would stay in float.
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


def test_ranges_of_q_dq_nodes_are_used(onnx_models: Path, tmp_path: Path) -> None:
    """uint8 ones, so the zero points move by 128; the samples have twice the range."""
    data = np.random.default_rng(0).uniform(-8, 8, (32, 3, 8, 8)).astype("f4")
    out = tmp_path / "o.tflite"
    result = api.convert(onnx_models / "pairs.onnx", out, data=data, effort="fast", io="int8")
    assert "the ranges of 2 Q/DQ pairs are used, not those of samples" in result.source.notes
    (taken,), (given,) = result.certificate.inputs, result.certificate.outputs
    assert (taken.scales, taken.zero_points) == ((1 / 32,), (0,))
    assert (given.scales, given.zero_points) == ((1 / 64,), (-10,))


def test_without_their_ranges_the_model_is_float(onnx_models: Path, read_exported: Read) -> None:
    model = read_exported(onnx_models / "pairs_int8.onnx", statistic="minmax")
    assert model.notes[-1] == "2 Q/DQ pairs were removed, and samples give the ranges"
    assert model.max_deviation is not None
    assert model.max_deviation < 1e-5  # one rounding of the output is 1e-3 or more
    tree = flatbuffer.read(Path(model.file.path))
    names = {flatbuffer.operator_name(tree, item) for item in tree.subgraphs[0].operators}
    assert "CONV_2D" in names
    assert not names & {"QUANTIZE", "DEQUANTIZE"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "quantized.onnx",
            "{} computes with integers or returns them: 'scores' has no DequantizeLinear behind "
            "it. Quantize it with Q/DQ pairs and float outputs, or convert the float model.",
        ),
        (
            "integers.onnx",
            "{} is quantized in a format that edgeq does not read: 1 operators compute with "
            "integers, QLinearMatMul 'first' first. Quantize it with Q/DQ nodes "
            "(quant_format=QuantFormat.QDQ in onnxruntime), or convert the float model.",
        ),
    ],
)
def test_other_quantized_models_are_refused(
    onnx_models: Path, read_exported: Read, name: str, message: str
) -> None:
    with pytest.raises(SourceError) as caught:
        read_exported(onnx_models / name)
    assert str(caught.value) == message.format(onnx_models / name)


def run(model: FloatModel, arrays: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """The outputs of a float `.tflite` for one sample."""
    interpreter = Interpreter(model.file.path)
    interpreter.allocate_tensors()
    for item, spec in zip(interpreter.get_input_details(), model.inputs, strict=True):
        value = np.asarray(arrays[spec.name], np.float32).reshape(spec.shape)
        interpreter.set_tensor(item["index"], value)
    interpreter.invoke()
    return {
        spec.name: interpreter.get_tensor(item["index"])
        for item, spec in zip(interpreter.get_output_details(), model.outputs, strict=True)
    }


@pytest.mark.parametrize(("rate", "factor"), [(2, 2), (7, 3)])
def test_a_fixed_input_chooses_a_branch(
    onnx_models: Path, read_exported: Read, rate: int, factor: int
) -> None:
    model = read_exported(onnx_models / "branches.onnx", fixed_inputs=(("rate", float(rate)),))
    assert [spec.name for spec in model.inputs] == ["image"]
    assert model.notes == (f"input 'rate' is {rate} in every inference",)
    assert run(model, {"image": [1, 2, 3, 4]})["scores"].tolist() == [
        [factor, 2 * factor, 3 * factor, 4 * factor]
    ]


def test_compare_lowers_the_source_like_its_candidate(onnx_models: Path, tmp_path: Path) -> None:
    """With the same fixed input and sizes, for which `compare` has no options."""
    data = {"image": np.random.default_rng(0).uniform(-1, 1, (24, 4)).astype("f4")}
    source, out = onnx_models / "branches.onnx", tmp_path / "o.tflite"
    fixed = (("rate", 7.0),)
    api.convert(source, out, data=data, effort="fast", io="int8", fixed_inputs=fixed)
    compared = api.compare(source, out, data=data)
    assert compared.quality.outputs[0].sqnr_db > 30


def test_eval_fixes_inputs_and_sizes_as_convert_does(onnx_models: Path) -> None:
    """Labels are the float model's own outputs: three times the values."""
    values = np.random.default_rng(0).uniform(-1, 1, (24, 4)).astype("f4")
    data = {"image": values, "y": 3 * values}
    source, fixed = onnx_models / "branches.onnx", (("rate", 7.0),)
    (found,) = api.evaluate(source, data, metrics=["mae"], fixed_inputs=fixed)
    assert found.metrics[0].value < 1e-6
    with pytest.raises(UsageError, match="--input-shape names 'pic'; the model's inputs are"):
        api.evaluate(source, data, fixed_inputs=fixed, input_shapes=(("pic", (1, 4)),))


@pytest.mark.parametrize(
    ("fixed", "error", "message"),
    [
        (
            (),
            LoweringError,
            "The If node 'by_rate' chooses a part of the model by the value of 'rate'. Convert "
            "one part: --fix-input rate=VALUE.",
        ),
        (
            (("rat", 1.0),),
            UsageError,
            "--fix-input names 'rat'; the model's inputs are image, rate. Name one of them, and "
            "leave at least one that takes samples.",
        ),
    ],
)
def test_an_input_to_fix_is_named(
    onnx_models: Path, read_exported: Read, fixed: Any, error: type[EdgeqError], message: str
) -> None:
    with pytest.raises(error) as caught:
        read_exported(onnx_models / "branches.onnx", fixed_inputs=fixed)
    assert str(caught.value) == message


def test_states_get_a_batch_dimension(onnx_models: Path, read_exported: Read) -> None:
    """Their first dimension counts layers; a sample would lose it."""
    model = read_exported(onnx_models / "stateful.onnx", input_shapes=(("state", (2, 1, 4)),))
    assert {spec.name: spec.shape for spec in (*model.inputs, *model.outputs)} == {
        "image": (1, 4), "state": (1, 2, 1, 4), "scores": (1, 4), "next": (1, 2, 1, 4)
    }  # fmt: skip
    assert model.notes == (
        "input 'state' is 1x2x1x4, with a batch dimension; in the source it is 2x1x4",
        "output 'next' is 1x2x1x4, with a batch dimension; in the source it is 2x1x4",
    )
    made = run(model, {"image": [1, 1, 1, 1], "state": [1, 2, 3, 4, 5, 6, 7, 8]})
    assert made["scores"].tolist() == [[2, 3, 4, 5]]
    assert made["next"].ravel().tolist() == [5, 6, 7, 8, 1, 2, 3, 4]


@pytest.mark.parametrize("name", ["lstm0", "gru0", "gru1", "rnn0"])
def test_recurrent_layers_become_their_steps(
    onnx_models: Path, read_exported: Read, name: str
) -> None:
    """Both directions, with and without states, biases and outputs; onnxruntime has the values."""
    model = read_exported(onnx_models / f"{name}.onnx")
    assert model.max_deviation is not None
    assert model.max_deviation < 1e-5
    assert [note for note in model.notes if "batch dimension" not in note] == []
    tree = flatbuffer.read(Path(model.file.path))
    names = {flatbuffer.operator_name(tree, item) for item in tree.subgraphs[0].operators}
    assert not {item for item in names if item.endswith(("LSTM", "RNN")) or item == "WHILE"}
    assert len(model.outputs) == (4 if name == "lstm0" else 3)


def test_onnxsim_is_used(onnx_models: Path, read_exported: Read, tmp_path: Path) -> None:
    """onnx2tf alone would keep the arithmetic on shapes."""
    shape = (("image", (1, 3, 4, 4)),)
    model = read_exported(onnx_models / "reshaped.onnx", input_shapes=shape)
    assert ", onnxsim 0." in model.framework
    assert len(model.notes) == 1  # of the layout
    assert model.outputs[0].shape == (1, 24, 5)
    tree = flatbuffer.read(Path(model.file.path))
    names = {flatbuffer.operator_name(tree, item) for item in tree.subgraphs[0].operators}
    assert names <= {"RESHAPE", "FULLY_CONNECTED", "BATCH_MATMUL", "TRANSPOSE"}


@pytest.fixture
def without_onnxsim(tmp_path: Path, onnx_models: Path) -> str:
    """A Python that has onnx2tf, and cannot import onnxsim."""
    folder, python = tmp_path / "hidden", tmp_path / "python"
    folder.mkdir()
    (folder / "onnxsim.py").write_text("raise ModuleNotFoundError(\"No module named 'onnxsim'\")")
    real = find_python("onnx", ConvertOptions())
    python.write_text(f'#!/bin/sh\nPYTHONPATH={folder} exec {real} "$@"\n')
    python.chmod(0o755)
    return str(python)


def test_a_missing_onnxsim_is_said(
    onnx_models: Path, read_exported: Read, without_onnxsim: str
) -> None:
    model = read_exported(onnx_models / "cnn.onnx", onnx_python=without_onnxsim)
    assert model.notes[-1] == (
        "onnxsim could not simplify the model (ModuleNotFoundError: No module named 'onnxsim'); "
        "it was left as it is"
    )


def test_a_wrong_lowering_is_not_taken(
    onnx_models: Path, read_exported: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The simplifier's file has other weights here: the other form is taken, and a note says it."""

    def confuse(self: ExportedReader, prepared: Path, target: Path) -> None:
        content = bytearray(prepared.read_bytes())
        place = content.rindex(b"w3") + 20  # behind the name, inside 240 floats
        content[place : place + 200] = bytes(200)
        target.write_bytes(content)

    monkeypatch.setattr(ExportedReader, "_simplify", confuse)
    model = read_exported(onnx_models / "cnn.onnx")
    assert model.max_deviation is not None
    assert model.max_deviation < 1e-5
    assert re.fullmatch(
        r"lowered by flatbuffer_direct from the original model; flatbuffer_direct from the "
        r"simplified model failed: onnx2tf made another function of the simplified model: output "
        r"'scores' differs by [\d.]+% of its largest value\.",
        model.notes[-1],
    )
    assert model.framework.endswith(", flatbuffer_direct from the original model")


def test_another_backend_lowers_what_the_first_one_cannot(
    onnx_models: Path, read_exported: Read
) -> None:
    python = find_python("onnx", ConvertOptions())
    script = "import importlib.util as u; print(all(map(u.find_spec, ('tensorflow', 'tf_keras'))))"
    done = subprocess.run([python, "-c", script], check=True, capture_output=True, text=True)
    if done.stdout.strip() == "False":
        with pytest.raises(
            LoweringError, match="cannot express the operator GroupNormalization"
        ) as caught:
            read_exported(onnx_models / "grouped.onnx")
        assert caught.value.hint is not None
        assert caught.value.hint.endswith(f'{python} -m pip install "onnx2tf[tensorflow]".')
        return
    model = read_exported(onnx_models / "grouped.onnx")
    assert model.max_deviation is not None and model.max_deviation < 1e-5
    assert model.inputs[0].shape == (1, 3, 6, 5)
    assert model.framework.endswith(", tf_converter from the simplified model")
    assert model.notes[-1] == (
        "lowered by tf_converter from the simplified model; flatbuffer_direct from the simplified "
        "model failed: onnx2tf cannot express the operator GroupNormalization in TensorFlow Lite."
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
            "a PyTorch model can be saved with torch.export.save instead.*",
        ),
    ],
)
def test_what_cannot_be_converted_is_named(
    onnx_models: Path, read_exported: Read, name: str, error: type[EdgeqError], message: str
) -> None:
    path = onnx_models / name
    with pytest.raises(error) as caught:
        read_exported(path)
    assert fnmatchcase(str(caught.value), message.format(path))


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
