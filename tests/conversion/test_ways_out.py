from __future__ import annotations

import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from edgeq.cli.commands.convert import command, read_options
from edgeq.conversion.command_line import changed_flags, convert_command
from edgeq.conversion.remedies import propose
from edgeq.values import ConvertOptions, FloatModel

OTHER: dict[str, Any] = {
    "scheme": "int16x8", "io": "float32", "engine": "litert", "granularity": "tensor",
    "effort": "best", "calibrator": "tflite", "statistic": "percentile:99.9",
    "corrections": "bias,refit", "samples": 77, "seed": 5, "batch": 0,
    "input_shapes": (("a b", (1, -1, 3)), ("c", (2,))), "custom_objects": ("m:A", "m:B"),
    "fixed_inputs": (("sr", 16000.0), ("a b", -0.1)),
    "trusted": True, "signature": "serve it", "allow_float": True,
    "keep_float": ("^a(;|$)", "type:ADD"), "int16": ("$HOME",), "weights": "int4",
    "int4": ("dense .*",), "lstm": "unrolled", "recurrent": "int8", "split_outputs": True,
    "outputs": ("the boxes", "scores"), "metrics": ("map", "map@0.5"), "decode": "boxes=xyxy",
    "min_sqnr_db": 12.5,
    "max_drop_points": 0.0, "layout": "nhwc", "torch_python": "/a b/python",
    "onnx_python": "/c/python",
}  # fmt: skip


def read_back(line: str) -> dict[str, Any]:
    """What a shell and click make of a printed command."""
    program, verb, *words = shlex.split(line)
    assert (program, verb) == ("edgeq", "convert")
    return command.make_context("convert", words).params


@pytest.mark.parametrize("name", OTHER)
def test_a_printed_command_has_each_option(name: str) -> None:
    options = ConvertOptions(**{name: OTHER[name]})
    line = convert_command("m x.keras", Path("o.tflite"), options)
    assert read_options(read_back(line)) == options


def test_a_printed_command_is_whole() -> None:
    assert OTHER.keys() == {field.name for field in fields(ConvertOptions)}
    options = ConvertOptions(**OTHER)
    line = convert_command(
        Path("m.keras"), "out.tflite", options, data="c.npz", test_data="t;x.npz",
        preprocess=("scale=1/255", "a:mean=1,2,3"),
    )  # fmt: skip
    given = read_back(line)
    assert read_options(given) == options
    assert (given["data"], given["test_data"]) == ("c.npz", "t;x.npz")
    assert given["preprocess"] == ("scale=1/255", "a:mean=1,2,3")
    assert convert_command("m", "o", ConvertOptions()) == "edgeq convert m -o o"


def test_flags_tell_what_is_new_only() -> None:
    before = ConvertOptions(int16=("a",), statistic="mse")
    after = ConvertOptions(int16=("a", "b c"), statistic="mse", io="float32")
    assert changed_flags(before, after) == "--io float32 --int16 'b c'"


def test_layers_at_the_ends_are_spared_before_the_whole_model_is_given_more_bits(
    float_cnn: FloatModel,
) -> None:
    content = Path(float_cnn.file.path).read_bytes()
    options = ConvertOptions(io="int8")
    found = list(propose(content, {float_cnn.outputs[0].name}, options))
    assert len(set(found)) == len(found) and options not in found
    assert found[0] == ConvertOptions()  # the ends may stay in float without --io
    spared = [item for item in found if item.keep_float]
    assert all(item.io == "float32" and item.scheme == "int8" for item in spared)
    assert len(spared[0].keep_float) == 2  # the softmax, and the layer before it
    assert [(item.scheme, item.io) for item in found[1 + len(spared) :]] == [
        ("int16x8", None), ("int16x8", "float32"), ("dynamic", None), ("fp16", None)
    ]  # fmt: skip
    plain = list(propose(content, {float_cnn.outputs[0].name}, ConvertOptions()))
    assert plain[: len(spared)] == spared


@pytest.mark.parametrize(
    ("options", "schemes"),
    [
        ({"scheme": "int16x8"}, ["dynamic", "fp16"]),
        ({"scheme": "dynamic"}, ["fp16"]),
        ({"calibrator": "tflite"}, ["int16x8", "int16x8", "dynamic", "fp16"]),
    ],
)
def test_operators_are_spared_where_edgeq_quantizes(
    options: dict[str, str], schemes: list[str], float_cnn: FloatModel
) -> None:
    content = Path(float_cnn.file.path).read_bytes()
    found = list(propose(content, {float_cnn.outputs[0].name}, ConvertOptions(**options)))
    assert [item.scheme for item in found] == schemes
    assert all(item.keep_float == () for item in found)
    assert all(item.calibrator == "edgeq" for item in found)
