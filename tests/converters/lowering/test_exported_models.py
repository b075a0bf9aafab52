"""Exported models without PyTorch and ONNX: the Python that reads a model, and its arguments."""

from __future__ import annotations

import re
import sys
import zipfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq import api, models
from edgeq.converters.lowering import exported_models
from edgeq.converters.lowering.exported_models import ExportedReader, find_python, refuse_options
from edgeq.converters.lowering.exported_shapes import describe_layout, find_moves, fix_shapes
from edgeq.errors import EdgeqError, MissingExtraError, UsageError
from edgeq.tflite import flatbuffer
from edgeq.values import ConvertOptions, FloatModel, TensorSpec

CHILDREN_READ = {"onnx_graph", "onnx_recurrent", "onnx_routes", "torch_recurrent"}


def complaint(error: type[EdgeqError], call: Any, *arguments: Any) -> str:
    with pytest.raises(error) as caught:
        call(*arguments)
    return str(caught.value)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """This Python without litert-torch and onnx2tf, and no other one named."""
    for kind in ("TORCH", "ONNX"):
        monkeypatch.delenv(f"EDGEQ_{kind}_PYTHON", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


@pytest.mark.usefixtures("bare")
def test_a_missing_extra_says_how_to_install_it() -> None:
    assert complaint(MissingExtraError, find_python, "torch", ConvertOptions()) == (
        "Converting from PyTorch needs litert-torch, which this Python does not have. Install it "
        'with: pip install "edgeq[torch]", here or for another Python, which --torch-python names.'
    )
    assert complaint(MissingExtraError, find_python, "onnx", ConvertOptions()) == (
        "Converting from ONNX needs onnx2tf, which this Python does not have. Give it a "
        "separate environment: python3.12 -m venv onnx-env && onnx-env/bin/pip install "
        '"edgeq[onnx]", and pass --onnx-python onnx-env/bin/python.'
    )


@pytest.mark.usefixtures("bare")
def test_the_option_comes_before_the_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "python"
    other.symlink_to(sys.executable)
    monkeypatch.setenv("EDGEQ_TORCH_PYTHON", sys.executable)
    assert find_python("torch", ConvertOptions()) == sys.executable
    assert find_python("torch", ConvertOptions(torch_python=str(other))) == str(other)


def test_a_named_python_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEQ_ONNX_PYTHON", "/no/python")
    assert complaint(UsageError, find_python, "onnx", ConvertOptions()) == (
        "EDGEQ_ONNX_PYTHON /no/python is not a Python that can be started. Name one such as "
        "onnx-env/bin/python."
    )


@pytest.mark.parametrize(("kind", "package"), [("torch", "torch"), ("onnx", "onnx")])
def test_a_named_python_without_the_package(kind: str, package: str, tmp_path: Path) -> None:
    if find_spec(package) is not None:
        pytest.skip(f"this Python has {package}")
    options = ConvertOptions(torch_python=sys.executable, onnx_python=sys.executable)
    path = tmp_path / "model"
    if kind == "torch":
        zipfile.ZipFile(path, "w").close()
    else:
        path.write_bytes(b"\x08\x08")  # a message with the version of its form alone
    with ExportedReader(path, kind, options) as reader:
        message = complaint(MissingExtraError, reader.lower, options, tmp_path)
    assert f"which {sys.executable} does not have (No module named" in message
    assert message.endswith(f'Install it with: {sys.executable} -m pip install "edgeq[{kind}]"')


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (
            "keras",
            {"layout": "nhwc"},
            "--layout nhwc is for models from PyTorch and ONNX only. Keras models take channels "
            "last already; a .tflite stays as it is.",
        ),
        ("onnx", {"layout": "nchw"}, "Unknown layout 'nchw'; use one of source, nhwc."),
        (
            "torch",
            {"signature": "serving_default"},
            "--signature is for Keras models, not for PyTorch.",
        ),
        (
            "onnx",
            {"batch": 0},
            "--batch dynamic is not possible for a model from ONNX, which is lowered with fixed "
            "shapes. Pass --batch N.",
        ),
    ],
)
def test_options_that_cannot_be_followed(kind: str, settings: Any, message: str) -> None:
    assert complaint(UsageError, refuse_options, kind, ConvertOptions(**settings)) == message


@pytest.mark.parametrize(
    ("own", "settings", "fixed"),
    [
        ((1, 3, 8, 8), {}, (1, 3, 8, 8)),
        ((-1, 3, 8, 8), {}, (1, 3, 8, 8)),
        ((-1, 3, 8, 8), {"batch": 4}, (4, 3, 8, 8)),
        ((-1, 3, -1, -1), {"input_shapes": (("x", (1, 3, 8, 8)),)}, (1, 3, 8, 8)),
        ((), {}, ()),
    ],
)
def test_shapes_are_fixed(own: Any, settings: Any, fixed: Any) -> None:
    assert fix_shapes(ConvertOptions(**settings), {"x": own}) == {"x": fixed}


def test_shapes_that_cannot_be_fixed() -> None:
    assert complaint(UsageError, fix_shapes, ConvertOptions(), {"x": (-1, 3, -1, 8)}) == (
        "Input 'x' is 1x3x?x8, and this kind of model is lowered with fixed shapes. "
        "Pass --input-shape 'x=1,3,?,8' with a number for each ?."
    )
    assert complaint(UsageError, fix_shapes, ConvertOptions(batch=4), {"x": (1, 3)}) == (
        "--batch 4 does not fit input 'x', which the model fixes to 1x3. Export it with a dynamic "
        "batch size, or leave the option out."
    )


SHAPES = {"image": (1, 3, 8, 6), "map": (1, 8, 6, 3), "ids": (1, 7)}


def test_layout_source_moves_nothing() -> None:
    assert find_moves(ConvertOptions(), SHAPES) == []


def test_layout_nhwc_moves_images_that_have_channels_first() -> None:
    assert find_moves(ConvertOptions(layout="nhwc"), SHAPES) == [0]
    assert complaint(
        UsageError, find_moves, ConvertOptions(layout="nhwc"), {"ids": (1, 7), "map": (1, 8, 6, 3)}
    ) == (
        "--layout nhwc has nothing to move: 'ids' is 1x7, 'map' is 1x8x6x3. It is for inputs of "
        "four dimensions with channels first; leave it out."
    )


def test_one_line_says_the_layout_of_each_image(float_cnn: FloatModel) -> None:
    as_is = replace(
        float_cnn,
        inputs=tuple(TensorSpec(name, shape, "float32") for name, shape in SHAPES.items()),
        outputs=(TensorSpec("mask", (1, 8, 6, 2), "float32"),),
    )
    assert describe_layout(as_is, SHAPES, [], []) == [
        "input 'image' is 1x3x8x6, NCHW as in the source; --layout nhwc makes it 1x8x6x3",
        "input 'map' is 1x8x6x3, NHWC as in the source",
    ]
    moved = replace(as_is, inputs=(TensorSpec("image", (1, 8, 6, 3), "float32"),))
    assert describe_layout(moved, SHAPES, ["image"], ["mask"]) == [
        "input 'image' is 1x8x6x3, NHWC; the source takes 1x3x8x6, NCHW",
        "output 'mask' is 1x8x6x2, NHWC; the source gives NCHW",
    ]


def test_a_file_marked_as_litert_torch_marks_it_is_quantized_whole(
    float_cnn: FloatModel, tmp_path: Path
) -> None:
    """Left in, the mark makes TensorFlow's quantizer leave all weights in float."""
    tree = flatbuffer.read(Path(float_cnn.file.path))
    flatbuffer.set_metadata(tree, "keep_stablehlo_constant", b"true")
    marked = tmp_path / "marked.tflite"
    marked.write_bytes(flatbuffer.serialize(tree))
    data = np.load(models.path("fashion_mnist_calibration.npz"))["x"][:40]
    result = api.convert(marked, tmp_path / "o.tflite", data=data)
    assert {operator.precision for operator in result.certificate.operators} == {"int8"}


@pytest.mark.parametrize("module", ["torch_child", "onnx_child", *sorted(CHILDREN_READ)])
def test_a_child_needs_of_edgeq_only_what_its_start_brings(module: str) -> None:
    """Another Python runs it, which may have neither edgeq nor numpy."""
    text = (Path(exported_models.__file__).parent / f"{module}.py").read_text()
    found = re.findall(r"^(?:from|import) (\S+) ?(?:import (.*))?$", text, re.M)
    for name, what in found:
        if name == "edgeq.converters.lowering":
            assert set(what.split(", ")) <= CHILDREN_READ
        elif name.startswith("edgeq.converters.lowering."):
            assert name.rpartition(".")[2] in CHILDREN_READ
        elif name.startswith("edgeq"):
            assert name in ("edgeq.children.sandbox", "edgeq.children.serving")
        else:
            assert name.partition(".")[0] in sys.stdlib_module_names
