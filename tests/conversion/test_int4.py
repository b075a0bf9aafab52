"""INT4 weights with INT8 activations, on a model of two dense layers or with a convolution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import edgeq
from edgeq.conversion.remedies import propose
from edgeq.errors import UsageError
from edgeq.render.conversion import show_conversion
from edgeq.tflite import flatbuffer, quantmath
from edgeq.values import Conversion, ConvertOptions
from tests import tiny_models
from tests.tiny_models import Operator, schema


def small_cnn() -> bytes:
    """A convolution, a depthwise one and a dense layer: [1, 6, 6, 4] to [1, 5]."""
    generator = np.random.default_rng(0)
    shapes = [8, 3, 3, 4], [1, 3, 3, 8], [5, 8 * 36], [8], [8], [5]
    constants = [generator.normal(size=shape).astype(np.float32) for shape in shapes]
    names = "conv/w", "depth/w", "dense/w", "conv/b", "depth/b", "dense/b"
    tensors = [
        tiny_models.tensor("x", [1, 6, 6, 4]), tiny_models.tensor("conv", [1, 6, 6, 8]),
        tiny_models.tensor("depth", [1, 6, 6, 8]), tiny_models.tensor("dense", [1, 5]),
        *(tiny_models.tensor(name, shape, buffer=n + 1)
          for n, (name, shape) in enumerate(zip(names, shapes, strict=True))),
    ]  # fmt: skip
    options = schema.Conv2DOptionsT(), schema.DepthwiseConv2DOptionsT()
    for item in options:
        item.strideH = item.strideW = item.dilationHFactor = item.dilationWFactor = 1
        item.fusedActivationFunction = schema.ActivationFunctionType.RELU
    options[1].depthMultiplier = 1
    operators = [
        tiny_models.operator(0, [0, 4, 7], [1], options[0]),
        tiny_models.operator(1, [1, 5, 8], [2], options[1]),
        tiny_models.operator(2, [2, 6, 9], [3], schema.FullyConnectedOptionsT()),
    ]
    codes = [
        (Operator.CONV_2D, 1), (Operator.DEPTHWISE_CONV_2D, 1), (Operator.FULLY_CONNECTED, 1)
    ]  # fmt: skip
    return tiny_models.model([tiny_models.graph(tensors, [0], [3], operators)], codes, constants)


@pytest.fixture
def convert(tmp_path: Path) -> Any:
    source, data = tmp_path / "m.tflite", tmp_path / "d.npz"
    source.write_bytes(small_cnn())
    generator = np.random.default_rng(1)
    # Pictures of twelve parts: values that depend on each other, as real ones do.
    pictures = generator.normal(size=(100, 12)) @ generator.normal(size=(12, 6 * 6 * 4))
    x = pictures.reshape(100, 6, 6, 4).astype(np.float32)
    np.savez(data, x=x)

    def run(**options: Any) -> Conversion:
        return edgeq.convert(source, tmp_path / "out.tflite", data=data, **options)

    return run


def weights(result: Conversion) -> dict[str, str | None]:
    return {op.output: op.weight_dtype for op in result.certificate.operators if op.weight_dtype}


def test_all_layers_get_int4_weights_and_convolutions_a_warning(convert: Any) -> None:
    result = convert(weights="int4", statistic="minmax", corrections="rounding,bias")
    assert weights(result) == dict.fromkeys(("conv", "depth", "dense"), "int4")
    assert {op.precision for op in result.certificate.operators} == {"int8"}
    assert {op.version for op in result.certificate.operators if op.weight_dtype} == {7, 10}
    assert result.certificate.min_runtime_version == "2.17.0"
    (note,) = [item for item in result.issues if item.code == "convert.int4_convolutions"]
    assert note.message.startswith("2 convolutions get INT4 weights ('conv' first)")
    shown = show_conversion(result)
    assert "3 operators in INT8, 3 of them with INT4 weights" in shown
    assert "INT4 symmetric per channel" in shown
    # Corrections matter most here.
    plain = convert(weights="int4", effort="fast").quality.outputs[0].sqnr_db
    assert result.quality.outputs[0].sqnr_db > plain + 2
    assert {item.chosen for item in result.model.corrections} != {"plain"}
    tree = flatbuffer.read(Path(result.model.file.path))
    for tensor in tree.subgraphs[0].tensors:
        if flatbuffer.dtype(tensor) == "int4":
            assert np.max(np.abs(flatbuffer.constant(tree, tensor))) <= 7


def test_the_cost_of_narrow_convolutions_is_told_before_calibration(convert: Any) -> None:
    told: list[str] = []
    result = convert(
        weights="int4", effort="fast",
        on_note=told.append,
        on_progress=lambda step, done, total: told.append(step),
    )  # fmt: skip
    (note,) = [item for item in result.issues if item.code == "convert.int4_convolutions"]
    assert told.index("lower") < told.index(note.message) < told.index("calibrate")


def test_a_selector_gives_some_layers_int4_weights(convert: Any) -> None:
    result = convert(int4=("type:FULLY_CONNECTED",), effort="fast")
    assert weights(result) == {"conv": "int8", "depth": "int8", "dense": "int4"}
    assert not [item for item in result.issues if item.code == "convert.int4_convolutions"]
    tensor = convert(int4=("type:FULLY_CONNECTED",), effort="fast", granularity="tensor")
    assert tensor.certificate.min_runtime_version == "2.11.0"
    mixed = convert(weights="int4", keep_float=("^depth",), int16=("^conv",), effort="fast")
    assert weights(mixed) == {"conv": "int8", "depth": "float32", "dense": "int4"}
    assert "INT16 activations" in show_conversion(mixed)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"int4": ("dense",), "keep_float": ("type:FULLY_CONNECTED",)},
            "--keep-float and --int4 contradict each other: both select 'dense'.",
        ),
        (
            {"int4": ("dense",), "int16": ("dense",)},
            "--int16 and --int4 contradict each other: both select 'dense'.",
        ),
        (
            {"weights": "int4", "keep_float": (".",)},
            "--weights int4 has no effect: the model has no convolution or fully connected layer "
            "with stored weights in INT8.",
        ),
        (
            {"weights": "int4", "scheme": "int16x8"},
            "--weights int4 requires --scheme int8 and edgeq's own calibrator.",
        ),
        (
            {"int4": ("a",), "scheme": "dynamic"},
            "--int4 requires --scheme int8 and edgeq's own calibrator.",
        ),
        (
            {"weights": "int2"},
            "Unknown weights 'int2'; use one of int8, int4.",
        ),
    ],
)
def test_what_cannot_be_is_one_sentence(
    options: dict[str, Any], message: str, convert: Any
) -> None:
    with pytest.raises(UsageError) as caught:
        convert(**options)
    assert caught.value.message == message


def test_operators_without_weights_cannot_be_selected(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(tiny_models.dense("float32"))
    np.savez(tmp_path / "d.npz", x=np.ones((9, 8, 8), np.float32))
    with pytest.raises(UsageError) as caught:
        edgeq.convert(
            tmp_path / "m.tflite", tmp_path / "o.tflite", data=tmp_path / "d.npz",
            int4=("type:RESHAPE",),
        )  # fmt: skip
    assert caught.value.message == (
        "--int4 'type:RESHAPE' matches no layer that can have INT4 weights, such as 'flat'."
    )


@pytest.mark.parametrize(
    ("options", "most"),
    [({"int4": ("type:FULLY_CONNECTED",)}, 0), ({"weights": "int4"}, 2)],
    ids=["dense layers", "convolutions"],
)
def test_the_runtime_computes_with_int4_as_with_the_same_integers_in_int8(
    options: dict[str, Any], most: int, convert: Any
) -> None:
    """Dense layers stay on XNNPACK; other kernels of convolutions round differently."""
    content = Path(convert(**options, effort="fast").model.file.path).read_bytes()
    tree = flatbuffer.parse(content, "it")
    for tensor in tree.subgraphs[0].tensors:
        if flatbuffer.dtype(tensor) == "int4":
            tensor.buffer = flatbuffer.add_buffer(tree, flatbuffer.constant(tree, tensor))
            tensor.type = flatbuffer.dtype_code("int8")
    for code in tree.operatorCodes:
        code.version = min(code.version, 3)
    x = np.random.default_rng(2).integers(-128, 128, (1, 6, 6, 4)).astype(np.int8)
    outputs = []
    for made in (content, flatbuffer.serialize(tree)):
        interpreter = Interpreter(model_content=made)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
        interpreter.invoke()
        given = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        outputs.append(given.astype(np.int32))
    np.testing.assert_allclose(*outputs, rtol=0, atol=most)
    assert len(np.unique(outputs[0])) > 3


def test_int8_weights_are_the_first_way_out() -> None:
    found = list(propose(small_cnn(), {"dense"}, ConvertOptions(weights="int4")))
    assert (found[0].weights, found[0].scheme) == ("int8", "int8")
    assert all(item.weights == "int8" for item in found)


def test_packing_is_undone_by_unpacking() -> None:
    values = np.random.default_rng(0).integers(-8, 8, (3, 5)).astype(np.int8)
    packed = quantmath.pack_int4(values)
    assert packed.shape == (8,)
    np.testing.assert_array_equal(quantmath.unpack_int4(packed)[:15].reshape(3, 5), values)
