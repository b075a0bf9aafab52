"""Files of torch.export.save, read for real where a Python has litert-torch."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeq import api
from edgeq.children import sandbox
from edgeq.converters.lowering import exported_models
from edgeq.converters.lowering.exported_models import ExportedReader
from edgeq.converters.lowering.framework_process import TensorFlowProcess
from edgeq.converters.lowering.model_kinds import identify
from edgeq.errors import DataError, EdgeqError, LoweringError, SourceError, UsageError
from edgeq.values import ConvertOptions, FloatModel
from tests.converters.conftest import Lender

Read = Callable[..., FloatModel]


def images(count: int, *shape: int) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal((count, *shape)) * 0.5 + 0.2).astype("f4")


def test_a_cnn_becomes_int8_as_a_keras_model_does(torch_models: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.tflite"
    result = api.convert(
        torch_models / "cnn.pt2", out, data=images(70, 3, 32, 32), samples=50, min_sqnr_db=15,
        effort="fast",
    )  # fmt: skip
    assert {operator.precision for operator in result.certificate.operators} == {"int8"}
    assert result.source.source_kind == "torch"
    assert result.source.framework.startswith("torch 2.")
    assert ", litert-torch 0.10" in result.source.framework
    assert result.source.max_deviation is not None
    assert result.source.max_deviation < 1e-5
    assert result.source.notes == (
        "input 'image' is 1x3x32x32, NCHW as in the source; --layout nhwc makes it 1x32x32x3",
    )
    assert result.certificate.inputs[0].shape == (1, 3, 32, 32)


@pytest.mark.usefixtures("torch_child")
def test_samples_with_channels_last_are_told(
    torch_models: Path, tensorflow: TensorFlowProcess, tmp_path: Path
) -> None:
    given = {"data": images(9, 32, 32, 3), "tensorflow": tensorflow}
    with pytest.raises(DataError) as caught:
        api.convert(torch_models / "cnn.pt2", tmp_path / "o.tflite", **given)
    assert str(caught.value) == (
        "Input 'image' takes 3x32x32 (channels first), but sample 0 of <arrays> is 32x32x3 "
        "(channels last). Store the samples as x.transpose(0, 3, 1, 2), or one PyTorch sample as "
        "x.permute(2, 0, 1). If the model came from "
        ".pt2 or .onnx, convert it again with --layout nhwc: channels last."
    )


@pytest.mark.usefixtures("torch_child")
def test_layout_nhwc_moves_images_and_says_so(torch_models: Path, read_exported: Read) -> None:
    model = read_exported(torch_models / "two.pt2", layout="nhwc")
    assert {spec.name: spec.shape for spec in (*model.inputs, *model.outputs)} == {
        "image": (1, 16, 16, 3),
        "ids": (1, 7),
        "map": (1, 16, 16, 4),
        "best": (1, 4),
    }
    assert model.inputs[1].dtype == "int32"
    assert model.max_deviation is not None
    assert model.max_deviation < 1e-5
    assert model.notes == (
        "input 'image' is 1x16x16x3, NHWC; the source takes 1x3x16x16, NCHW",
        "output 'map' is 1x16x16x4, NHWC; the source gives NCHW",
    )


@pytest.mark.usefixtures("torch_child")
def test_lstms_become_one_operator_for_each_layer_and_direction(
    torch_models: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o.tflite"
    result = api.convert(torch_models / "recurrent.pt2", out, data=images(40, 4, 6), effort="fast")
    assert result.source.max_deviation is not None
    assert result.source.max_deviation < 1e-5
    assert result.source.fused_layers == ("both_ways", "without_bias")
    assert result.source.unrolled_layers == ("with_cell_state", "gru")
    names = Counter(operator.name for operator in result.certificate.operators)
    assert names["UNIDIRECTIONAL_SEQUENCE_LSTM"] == 5
    assert names["REVERSE_V2"] == 4
    assert names["STABLEHLO_COMPOSITE"] == 0
    assert result.certificate.float_islands == 0


@pytest.mark.usefixtures("torch_child")
@pytest.mark.parametrize(("lstm", "steps"), [("fused", 8), ("unrolled", 28)])
def test_a_note_before_many_steps_are_unrolled(
    torch_models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lstm: str,
    steps: int,
) -> None:
    """Four steps for each layer and direction: 16 and 4 that can be fused, 4 and 4 others."""
    path, options, notes = torch_models / "recurrent.pt2", ConvertOptions(lstm=lstm), list[str]()
    monkeypatch.setattr(exported_models, "_MANY_STEPS", steps)
    with ExportedReader(path, "torch", options, on_note=notes.append) as reader:
        reader.lower(options, tmp_path)
        monkeypatch.setattr(exported_models, "_MANY_STEPS", steps + 1)
        reader.lower(options, tmp_path)
    assert notes == [
        f"recurrent layers are unrolled into {steps} steps, for which litert-torch needs about "
        f"{steps * 0.2:.0f} s"
    ]


@pytest.mark.usefixtures("torch_child")
def test_a_dynamic_batch_is_fixed_as_asked(torch_models: Path, read_exported: Read) -> None:
    assert read_exported(torch_models / "dynamic.pt2", batch=4).inputs[0].shape == (4, 3, 32, 32)
    with pytest.raises(UsageError, match="does not fit input 'image'"):
        read_exported(torch_models / "cnn.pt2", batch=4)


@pytest.mark.usefixtures("torch_child")
@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("training", "3 operators, 'batch_norm'"),
        ("lstm", "1 operators, 'lstm'"),
        ("attention", "1 operators, 'scaled_dot_product_attention'"),
        ("feature_dropout", "1 operators, 'feature_dropout'"),
    ],
)
def test_a_model_exported_in_training_mode_is_refused(
    torch_models: Path, read_exported: Read, name: str, what: str
) -> None:
    path = torch_models / f"{name}.pt2"
    with pytest.raises(SourceError) as caught:
        read_exported(path)
    assert str(caught.value) == (
        f"{path} was exported in training mode: {what} first. "
        "Call model.eval() before torch.export.export."
    )


@pytest.mark.usefixtures("torch_child")
def test_a_model_that_keeps_a_state_is_refused(torch_models: Path, read_exported: Read) -> None:
    path = torch_models / "counter.pt2"
    with pytest.raises(SourceError) as caught:
        read_exported(path)
    assert str(caught.value) == (
        f"{path} changes the buffer 'calls' in each inference, which is lost in a .tflite. "
        "Make the state an input and an output of the model."
    )


@pytest.mark.usefixtures("torch_child")
def test_outputs_of_one_number_and_of_nothing(torch_models: Path, read_exported: Read) -> None:
    model = read_exported(torch_models / "few.pt2")
    assert [(spec.name, spec.shape) for spec in model.outputs] == [
        ("output_0", (1,)),
        ("output_2", (1,)),
    ]
    assert model.max_deviation is not None
    assert model.max_deviation < 1e-6


HOSTILE = ("hostile_pickle", "hostile_size", "hostile_guard")


def test_code_in_the_file_runs_with_consent_only(
    torch_models: Path, read_exported: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way is real, PyTorch alone runs it; with consent, too, it runs in the sandbox."""
    paths = [torch_models / f"{name}.pt2" for name in HOSTILE]
    markers = [path.with_suffix(".marker") for path in paths]
    for path in paths:
        with pytest.raises(SourceError) as caught:
            read_exported(path)
        assert str(caught.value).endswith(
            "Pass --unsafe-deserialization if you trust where the file comes from."
        )
    with contextlib.closing(Lender()) as lender:
        monkeypatch.setattr(exported_models, "FrameworkProcess", lender)
        for path, marker in zip(paths, markers, strict=True):
            with contextlib.suppress(EdgeqError):
                read_exported(path, trusted=True)
            assert sandbox.missing() or not marker.exists()
        # The child has read them all: it is still there.
        assert read_exported(torch_models / "dynamic.pt2").inputs
    code = """import sys, torch
for path in sys.argv[1:]:
    try:
        program = torch.export.load(path)
        program.module()(*program.example_inputs[0])
    except Exception:
        pass
"""
    python = os.environ["EDGEQ_TORCH_PYTHON"]
    subprocess.run([python, "-c", code, *paths], capture_output=True, check=False)
    assert all(marker.exists() for marker in markers)


@pytest.mark.usefixtures("torch_child")
@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        (
            "svd.pt2",
            LoweringError,
            "litert-torch cannot express the operator aten._linalg_svd.default in TensorFlow Lite. "
            "Export the model without it, and compute that part outside.",
        ),
        (
            "double.pt2",
            SourceError,
            "{} takes 'input' as float64, which TensorFlow Lite cannot compute with. Call "
            "model.float() before torch.export.export, and give it float32 inputs.",
        ),
        (
            "inside.pt2",
            LoweringError,
            "litert-torch refused the model, whose weights are not float32: 2 tensors, "
            "'linear.weight' of float64 first. Call model.float() before torch.export.export.",
        ),
    ],
)
def test_what_cannot_be_converted_is_named(
    torch_models: Path, read_exported: Read, name: str, error: type[EdgeqError], message: str
) -> None:
    path = torch_models / name
    with pytest.raises(error) as caught:
        read_exported(path)
    assert str(caught.value) == message.format(path)


@pytest.mark.usefixtures("torch_child")
def test_a_size_that_the_program_was_not_exported_for(
    torch_models: Path, read_exported: Read
) -> None:
    with pytest.raises(UsageError) as caught:
        read_exported(torch_models / "dynamic.pt2", batch=65)
    assert str(caught.value) == (
        "The program cannot run with image=65,3,32,32: Guard failed: image.size()[0] <= 64. "
        "Pass other sizes with --input-shape or --batch, or export it for these."
    )


@pytest.mark.usefixtures("torch_child")
def test_compare_lowers_the_source_as_the_candidate_was(
    torch_models: Path, tensorflow: TensorFlowProcess, tmp_path: Path
) -> None:
    out, data = tmp_path / "o.tflite", images(40, 32, 32, 3)
    api.convert(
        torch_models / "cnn.pt2", out, data=data, layout="nhwc", effort="fast",
        tensorflow=tensorflow,
    )  # fmt: skip
    found = api.compare(torch_models / "cnn.pt2", out, data, latency=False)
    assert min(item.sqnr_db for item in found.quality.outputs) > 25


NET = "where Net is the class of your network"
WEIGHTS = "weights without their network, 'features.0.weight' first"
LOAD = "Net(); model.load_state_dict(torch.load({}, weights_only=True)"
TRUSTED = "where its class can be imported, if you trust the file, whose code torch.load runs"


@pytest.mark.parametrize(
    ("name", "what", "where", "model"),
    [
        ("weights.pt", f"a state_dict: {WEIGHTS}", NET, LOAD + ")"),
        ("old.pth", f"a state_dict: {WEIGHTS}", NET, LOAD + ")"),
        ("protocol4.pt", f"a state_dict: {WEIGHTS}", NET, LOAD + ")"),
        (
            "checkpoint.pth",
            f"a checkpoint with a state_dict at 'state_dict': {WEIGHTS}",
            NET,
            LOAD + "['state_dict'])",
        ),
        (
            "net.safetensors",
            "a file of safetensors: weights without their network",
            NET,
            "Net(); model.load_state_dict(safetensors.torch.load_file({}))",
        ),
        (
            "script.pt",
            "a TorchScript file",
            NET,
            "Net(); model.load_state_dict(torch.jit.load({}).state_dict())",
        ),
        ("lightning.ckpt", "a checkpoint of Lightning", NET, "Net.load_from_checkpoint({})"),
        (
            "pickled.pt",
            "a pickled object of class '__main__.Cnn'",
            TRUSTED,
            "torch.load({}, weights_only=False)['model']",
        ),
        (
            "pickled_old.pth",
            "a pickled object of class '__main__.Cnn'",
            TRUSTED,
            "torch.load({}, weights_only=False)",
        ),
    ],
)
def test_other_files_of_pytorch_are_named_with_the_way_to_export_them(
    torch_models: Path, name: str, what: str, where: str, model: str
) -> None:
    path = torch_models / name
    with pytest.raises(SourceError) as caught:
        identify(path)
    loaded = model.format(repr(str(path)))
    assert str(caught.value) == (
        f"{path} is {what}; edgeq reads programs of torch.export.save. Export it in Python, "
        f"{where}: model = {loaded}; torch.export.save(torch.export.export(model.eval(), "
        f"(torch.randn(1, 3, 224, 224),)), {str(path.with_suffix('.pt2'))!r}). Give it an input "
        "of the model's shape."
    )


def test_what_the_error_says_to_type_makes_a_program(torch_models: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    shutil.copy(torch_models / "weights.pt", path)
    with pytest.raises(SourceError) as caught:
        identify(path)
    typed = str(caught.value).partition("network: ")[2].partition(" Give it")[0].rstrip(".")
    code = "import torch; from make_torch_models import Cnn as Net; "
    maker = Path(__file__).parents[1]
    run = [os.environ["EDGEQ_TORCH_PYTHON"], "-c", code + typed]
    subprocess.run(run, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": maker})
    assert identify(tmp_path / "weights.pt2") == "torch"


def test_a_tensor_and_a_damaged_pickle_hold_no_model(torch_models: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"is a tensor of torch\.save\. Pass the file"):
        identify(torch_models / "tensor.pt")
    for name in ("a.pt", "b.pth"):
        (tmp_path / name).write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF")
        with pytest.raises(SourceError, match=r"is a damaged pickle\. Save or copy"):
            identify(tmp_path / name)
