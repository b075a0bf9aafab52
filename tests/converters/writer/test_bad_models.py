"""Damaged and rare float models: a right file, or one sentence and nothing written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeq.errors import EdgeqError
from edgeq.tflite import flatbuffer
from tests.commands import run_edgeq
from tests.converters.writer import running
from tests.converters.writer.bad_models import BROKEN, ODD

DAMAGED = "The model is damaged: "
SENTENCES = {
    "reads_its_own_result": DAMAGED + "tensor 't2' is read before it is computed.",
    "two_operators_in_a_circle": DAMAGED + "tensor 't2' is read before it is computed.",
    "reads_a_tensor_that_nobody_makes": DAMAGED + "tensor 't1' is read but never computed.",
    "returns_a_tensor_that_nobody_makes": DAMAGED + "tensor 't3' is an output but never computed.",
    "points_behind_the_last_tensor": "is damaged or truncated.",
    "output_behind_the_last_tensor": "is damaged or truncated.",
    "reads_a_negative_tensor": "is damaged or truncated.",
    "input_behind_the_last_tensor": "is damaged or truncated.",
    "operator_behind_the_table": "is damaged or truncated.",
    "buffer_behind_the_last_one": "is damaged or truncated.",
    "input_without_values": "has no values: its shape is [1, 0].",
    "loop_in_its_own_body": DAMAGED + "subgraph 2 calls itself.",
    "nan_from_a_logarithm": "tensor 't3' holds NaN or infinity for sample 0.",
    "without_an_operand": "m.tflite is damaged: an operator ADD has 1 inputs and 1 outputs.",
    "with_too_few_operands": "an operator FULLY_CONNECTED has 1 inputs and 1 outputs.",
    "without_operands": "an operator FULLY_CONNECTED has 0 inputs and 1 outputs.",
    "without_data": "an operator FULLY_CONNECTED has 1 inputs and 1 outputs.",
    "without_weights": "an operator FULLY_CONNECTED has 1 inputs and 1 outputs.",
    "without_result": "an operator FULLY_CONNECTED has 2 inputs and 0 outputs.",
    "made_twice": DAMAGED + "tensor 't2' is computed twice.",
    "makes_its_input": DAMAGED + "tensor 'x' is computed twice.",
    "makes_a_constant": DAMAGED + "tensor 'constant2' is stored and computed.",
    "weights_shorter_than_their_shape":
        DAMAGED + "tensor 'constant1' is stored in 64 bytes instead of 640 (float32 [4, 40]).",
    "weights_of_half_a_number":
        DAMAGED + "tensor 'constant1' is stored in 63 bytes instead of 64 (float32 [4, 4]).",
    "bias_of_another_length": "The float model cannot be run: ",
    "filter_of_another_rank": "The float model cannot be run: ",
    "nan_in_weights": "The weights of layer 't2' hold NaN.",
    "infinity_in_a_bias": "The weights of layer 't3' hold infinity.",
    "nan_in_an_operand": "The weights of layer 't2' hold NaN.",
    "custom_operator": "TensorFlow Lite has no INT8 kernel for Mystery (first: 't3').",
    "no_outputs": "has no outputs.",
    "no_inputs": "has no inputs.",
    "body_reads_too_much": "The float model cannot be run: ",
    "running_sum_without_an_axis": "is damaged: an operator CUMSUM has 1 inputs and 1 outputs.",
    "weights_widened_from_nothing": "an operator DEQUANTIZE has 0 inputs and 1 outputs.",
    "order_of_two_dimensions": "The float model cannot be run: ",
    "conversion_of_its_own_result": DAMAGED + "tensor 'x' is computed twice.",
    "tensor_of_40_dimensions": "is damaged or truncated.",
    "weights_of_a_type_that_numpy_does_not_know": "The float model cannot be run: ",
    "comparison_whose_result_is_said_to_be_real":
        "the file says that the tensor 't2' is float32, and its operator computes bool.",
    "result_that_is_a_variable":
        "The tensor 't2' is a variable that FULLY_CONNECTED reads or computes",
    "sparse_output": DAMAGED + "tensor 'constant1' is an output but sparse.",
    "if_of_a_missing_subgraph": DAMAGED + "an operator calls subgraph 5 of 1.",
}  # fmt: skip

SCHEMES = ("int8", "int16x8", "dynamic", "fp16", "weight-only-int8", "weight-only-int4")
# INT4 weights alone cost more than everything else here.
LEAST_DB = {"weight-only-int4": 15.0}
TWICE, EMPTY = "returns the tensor 't2' twice.", "has no values: its shape is [1, 0]."
REFUSED = {(name, scheme): sentence for name, sentence in (
    ("the_same_output_twice", TWICE), ("empty_tensor", EMPTY)) for scheme in SCHEMES}  # fmt: skip
REFUSED |= {
    (name, scheme): sentence
    for scheme in ("int8", "int16x8")
    for name, sentence in {
        "computed_filter_of_conv_2d": "CONV_2D (first: 't3'): its filter is not a float32 constant",
        "computed_filter_of_depthwise_conv_2d":
            "DEPTHWISE_CONV_2D (first: 't3'): its filter is not a float32 constant",
        "computed_filter_of_transpose_conv":
            "TRANSPOSE_CONV (first: 't4'): its filter is not a float32 constant",
        "computed_bias": "FULLY_CONNECTED (first: 't3'): its bias is not a float32 constant",
        "nan_that_is_never_selected": "holds NaN, which INT",
        "float64_inside": "kernel for 2 CAST (first: 't1').",
        "float16_input": "kernel for CAST (first: 't1').",
    }.items()
}  # fmt: skip
REFUSED["nearly_infinite_range", "fp16"] = "has the value 3e+38, above the maximum of FP16, 65504."
STOCK = ("svdf", "variable", "loop")  # the writer is not asked, see `why_stock`


@pytest.mark.parametrize("scheme", ["int8", "int16x8"])
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_model_is_refused_in_one_sentence(name: str, scheme: str, tmp_path: Path) -> None:
    model, data, out = (tmp_path / item for item in ("m.tflite", "data.npz", "out.tflite"))
    model.write_bytes(BROKEN[name]())
    wide = name in ("filter_of_another_rank",)
    np.savez(data, x=np.ones((9, 4, 4, 2) if wide else (9, 4), np.float32) * np.arange(2).mean())
    options = ("--scheme", scheme, "--effort", "fast")
    ended = run_edgeq("convert", model, "--data", data, "-o", out, *options)
    assert ended.returncode != 0
    told = " ".join(ended.stderr.split())
    kernel = "INT8" if scheme == "int8" else "16x8"
    assert SENTENCES[name].replace("INT8", kernel) in told, told
    assert "Traceback" not in told
    assert sorted(item.name for item in tmp_path.iterdir()) == ["data.npz", "m.tflite"]


@pytest.mark.parametrize("name", [name for name in ODD if name not in STOCK])
def test_a_rare_model_becomes_a_right_file_or_a_sentence(name: str, tmp_path: Path) -> None:
    content = ODD[name]()
    samples = running.samples_of(content)
    for scheme in SCHEMES:
        try:
            made = running.convert(content, scheme, samples, tmp_path)
        except EdgeqError as error:
            assert REFUSED.get((name, scheme), "no refusal") in str(error), scheme
            continue
        assert (name, scheme) not in REFUSED
        found = running.sqnr(content, made, samples)
        assert min(found) >= LEAST_DB.get(scheme, 30.0), (scheme, found)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_model_is_inspected_or_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(BROKEN[name]())
    ended = run_edgeq("inspect", tmp_path / "m.tflite")
    assert "Traceback" not in ended.stderr
    assert ended.returncode == 0 or "error: " in ended.stderr


def test_the_figure_sees_a_wrong_bias(tmp_path: Path) -> None:
    content = ODD["bias_shared_between_layers"]()
    samples = running.samples_of(content)
    tree = flatbuffer.parse(running.convert(content, "int8", samples, tmp_path), "made")
    graph = tree.subgraphs[0]
    (bias, *_) = [item for item in graph.tensors if flatbuffer.dtype(item) == "int32"]
    values = flatbuffer.constant(tree, bias).copy()
    values[0] += 2 * abs(values).max()
    bias.buffer = flatbuffer.add_buffer(tree, values)
    assert min(running.sqnr(content, flatbuffer.serialize(tree), samples)) < 20


@pytest.mark.parametrize("name", STOCK)
def test_what_the_writer_cannot_see_becomes_a_file_without_integer_activations(
    name: str, tmp_path: Path
) -> None:
    content = ODD[name]()
    samples = running.samples_of(content)
    for scheme in ("dynamic", "fp16", "weight-only-int8"):
        made = running.convert(content, scheme, samples, tmp_path)
        assert min(running.sqnr(content, made, samples)) > 40, scheme


@pytest.mark.parametrize(
    ("name", "scheme", "sentence"),
    [
        ("svdf", "int8", "SVDF with a fused ReLU only, which 't4' does"),
        ("svdf", "int16x8", "SVDF with a fused ReLU only, which 't4' does"),
        ("variable", "int8", "because it has 2 subgraphs (control flow)."),
    ],
)
def test_what_the_stock_path_cannot_convert_is_refused_in_one_sentence(
    name: str, scheme: str, sentence: str, tmp_path: Path
) -> None:
    model, data, out = (tmp_path / item for item in ("m.tflite", "data.npz", "out.tflite"))
    content = ODD[name]()
    model.write_bytes(content)
    np.savez(data, x=np.concatenate([arrays[0] for arrays in running.samples_of(content)]))
    options = ("--scheme", scheme, "--effort", "fast")
    ended = run_edgeq("convert", model, "--data", data, "-o", out, *options)
    assert ended.returncode != 0
    told = " ".join(ended.stderr.split())
    assert sentence in told, told
    assert "--scheme dynamic and fp16" in told
    assert sorted(item.name for item in tmp_path.iterdir()) == ["data.npz", "m.tflite"]


def test_shared_constants_are_stored_for_each_of_their_readers(tmp_path: Path) -> None:
    content = ODD["filter_shared_by_different_axes"]()
    made = running.convert(content, "int8", running.samples_of(content), tmp_path)
    tree = flatbuffer.parse(made, "made")
    filters = [
        item for item in tree.subgraphs[0].tensors
        if flatbuffer.is_constant(tree, item) and flatbuffer.dtype(item) == "int8"
    ]  # fmt: skip
    axes = {
        (item.quantization.quantizedDimension, len(item.quantization.scale)) for item in filters
    }
    assert axes == {(0, 1), (3, 2)}
