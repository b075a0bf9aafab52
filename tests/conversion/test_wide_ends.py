"""Ends that one INT8 step would ruin stay in float; layers with weights never do."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from edgeq import api
from edgeq.accuracy.verdict import worst_sqnr_db
from edgeq.render.conversion import show_conversion
from edgeq.render.notebook import as_html
from edgeq.reporting.report import make_report
from edgeq.reporting.values import Facts, Report
from edgeq.tflite import flatbuffer
from edgeq.values import Conversion
from tests.converters.rewrites.tiny_graphs import Builder, schema

RELU = schema.ActivationFunctionType.RELU


def layer(
    net: Builder, source: int, count: int, *, gain: Any = 1.0, bias: Any = 0.0, relu: bool = False
) -> int:
    """A dense layer on a tensor [1, N], with weights that the number of tensors decides."""
    width = int(net.graph.tensors[source].shape[1])
    random = np.random.default_rng(len(net.graph.tensors))
    weights = random.normal(0, width**-0.5, (count, width)) * np.reshape(gain, (-1, 1))
    stored = [net.constant(weights), net.constant(np.broadcast_to(bias, count).copy())]
    options = schema.FullyConnectedOptionsT()
    options.fusedActivationFunction = RELU if relu else 0
    return net.add("FULLY_CONNECTED", [source, *stored], [1, count], options=options)


def body(net: Builder) -> int:
    return layer(net, net.input([1, 8]), 16, relu=True)


def detector(size: float) -> bytes:
    """Four boxes' numbers from 0 to `size` beside three scores, in one output."""
    net = Builder()
    hidden = body(net)
    boxes = net.add("LOGISTIC", [layer(net, hidden, 4)], [1, 4])
    boxes = net.add("MUL", [boxes, net.constant([size])], [1, 4])
    scores = net.add("LOGISTIC", [layer(net, hidden, 3)], [1, 3])
    joined = schema.ConcatenationOptionsT()
    joined.axis = 1
    return net.content(net.add("CONCATENATION", [boxes, scores], [1, 7], options=joined))


def regressor(gain: Any, bias: Any, count: int, *, relu: bool = False) -> bytes:
    net = Builder()
    return net.content(layer(net, body(net), count, gain=gain, bias=bias, relu=relu))


def normalized(units: Any, *, apart: bool = False) -> bytes:
    """Eight features with these units, which a SUB and a MUL bring to the same range.

    Args:
        apart: each feature is an input.
    """
    net = Builder()
    if apart:
        joined = schema.ConcatenationOptionsT()
        joined.axis = 1
        columns = [net.input([1, 1], name=f"c{number}") for number in range(8)]
        source = net.add("CONCATENATION", columns, [1, 8], options=joined)
    else:
        source = net.input([1, 8])
    centred = net.add("SUB", [source, net.constant(np.multiply(units, 3.0))], [1, 8])
    scaled = net.add("MUL", [centred, net.constant(1 / np.asarray(units))], [1, 8])
    return net.content(layer(net, layer(net, scaled, 16, relu=True), 2))


def samples(units: Any = 1.0, middle: float = 0.0) -> np.ndarray:
    values = np.random.default_rng(0).normal(middle, 1, (120, 8)) * units
    return values.astype(np.float32)


def convert(content: bytes, folder: Path, data: Any = None, **more: Any) -> Conversion:
    source = folder / "net.tflite"
    source.write_bytes(content)
    used = samples() if data is None else data
    return api.convert(source, folder / "int8.tflite", data=used, effort="fast", **more)


def floats(result: Conversion) -> list[str]:
    return [op.name for op in result.certificate.operators if op.precision == "float32"]


def facts_of(report: Report) -> Facts:
    """The report's facts about the file."""
    (section,) = (item for item in report.sections if item.title == "Certificate")
    (facts,) = (block for block in section.blocks if isinstance(block, Facts))
    return facts


def notes(result: Conversion, side: str) -> list[str]:
    return [item.message for item in result.issues if item.code == f"convert.{side}"]


def test_the_operator_that_joins_unlike_parts_stays_in_float(tmp_path: Path) -> None:
    made = convert(detector(640.0), tmp_path)
    proof = made.certificate
    assert floats(made) == ["CONCATENATION"] and proof.wide_inputs == ()
    assert proof.wide_outputs == (proof.operators[-1].output,)
    assert (proof.float_islands, proof.problems, proof.outputs[0].dtype) == (0, (), "float32")
    assert proof.inputs[0].dtype == "int8"
    assert made.quality is not None and worst_sqnr_db(made.quality) > 20 and not made.ways_out
    (note,) = notes(made, "wide_outputs")
    name = proof.outputs[0].name
    assert note.startswith(
        f"output {name!r} is float32, because INT8 would leave {name}[:, 4:7] at "
    )
    assert note.endswith(
        "1 operator behind the last layers with weights (CONCATENATION) stays in float"
    )
    record = json.loads((tmp_path / "int8.tflite.json").read_text())
    assert record["certificate"]["wide_outputs"] == list(proof.wide_outputs)
    # Terminal, notebook and report say the same, and not that all of it is integer.
    summary = (
        f"INT8 weights and activations; float at the ends: output {name!r}, 1 operator "
        "(CONCATENATION)"
    )
    report = make_report([tmp_path / "int8.tflite"])
    told = dict(facts_of(report).rows)["precision"].text
    assert told == summary
    for shown in (click.unstyle(show_conversion(made)), html.unescape(as_html(made))):
        assert f"Read back from the file: {summary}" in shown


def test_a_sound_model_is_the_same_file_with_and_without_the_rule(tmp_path: Path) -> None:
    made = convert(detector(1.0), tmp_path)
    assert floats(made) == [] and made.certificate.outputs[0].dtype == "int8"
    before = (tmp_path / "int8.tflite").read_bytes()
    typed = convert(detector(1.0), tmp_path, io="int8")
    assert (tmp_path / "int8.tflite").read_bytes() == before
    assert not [item for item in (*made.issues, *typed.issues) if "outputs" in item.code]


def test_a_dtype_that_was_typed_is_kept_with_a_warning(tmp_path: Path) -> None:
    made = convert(detector(640.0), tmp_path, io="int8")
    assert floats(made) == [] and made.certificate.outputs[0].dtype == "int8"
    (warning,) = notes(made, "narrow_outputs")
    assert "is int8, as --io int8 requests" in warning and "without --io" in warning
    assert made.validity == "degraded"
    assert made.ways_out[-1].keeps and "--io" not in made.ways_out[-1].command


@pytest.mark.parametrize("relu", [False, True])
def test_an_offset_is_added_behind_the_integer_layer(tmp_path: Path, *, relu: bool) -> None:
    made = convert(regressor(1.0, 1013.0, 2, relu=relu), tmp_path)
    assert floats(made) == ["ADD"] and made.certificate.wide_outputs
    assert made.quality is not None and worst_sqnr_db(made.quality) > 25
    assert (
        "scales and offsets of output channels moved behind their layer (1)" in made.source.rewrites
    )
    tree = flatbuffer.read(tmp_path / "int8.tflite")
    last = tree.subgraphs[0].operators[-1]
    assert last.builtinOptions.fusedActivationFunction == (RELU if relu else 0)


def test_channels_with_unlike_ranges_get_their_units_behind_the_layer(tmp_path: Path) -> None:
    made = convert(regressor([300.0, 0.02, 5.0], [0.0, 7.0, 0.0], 3), tmp_path)
    assert floats(made) == ["MUL", "ADD"]
    assert made.quality is not None and worst_sqnr_db(made.quality) > 20
    layers = [op for op in made.certificate.operators if op.name == "FULLY_CONNECTED"]
    assert [op.precision for op in layers] == ["int8", "int8"]


def test_a_layer_that_options_select_is_not_split(tmp_path: Path) -> None:
    content = regressor(1.0, 1013.0, 2)
    graph = flatbuffer.parse(content, "m").subgraphs[0]
    name = flatbuffer.tensor_name(graph, graph.outputs[0])
    made = convert(content, tmp_path, int16=(f"^{name}$",))
    assert floats(made) == []
    assert [op.precision for op in made.certificate.operators][-1] == "convert"
    assert made.source.rewrites == ()


def test_a_normalization_of_unlike_features_stays_in_float(tmp_path: Path) -> None:
    units = np.array([1000.0, 1, 0.01, 1, 1, 50, 1, 0.1])
    data = samples(units, 3.0)
    made = convert(normalized(units), tmp_path, data)
    proof = made.certificate
    assert floats(made) == ["SUB", "MUL"] and len(proof.wide_inputs) == 2
    assert (proof.float_islands, proof.wide_outputs, proof.problems) == (0, (), ())
    assert (proof.inputs[0].dtype, proof.outputs[0].dtype) == ("float32", "int8")
    assert made.quality is not None and worst_sqnr_db(made.quality) > 20
    (note,) = notes(made, "wide_inputs")
    assert note.startswith("input 'x' is float32, because its features have unlike ranges")
    typed = convert(normalized(units), tmp_path, data, io="int8")
    assert floats(typed) == [] and typed.certificate.inputs[0].dtype == "int8"
    assert "is int8, as --io int8 requests" in notes(typed, "narrow_inputs")[0]


@pytest.mark.parametrize("units", [np.geomspace(1, 300, 8), np.ones(8)])
def test_inputs_of_unlike_ranges_that_are_joined_stay_in_float(units: Any, tmp_path: Path) -> None:
    """Each input has a fine step of its range, and the joined tensor the step of the widest one."""
    data = {f"c{number}": column[:, None] for number, column in enumerate(samples(units).T)}
    made = convert(normalized(units, apart=True), tmp_path, data)
    is_unlike = units[-1] > 1
    dtypes = {spec.dtype for spec in made.certificate.inputs}
    assert dtypes == {"float32" if is_unlike else "int8"}
    assert floats(made) == (["CONCATENATION", "SUB", "MUL"] if is_unlike else [])
    assert made.certificate.float_islands == 0 and made.certificate.problems == ()
    assert made.quality is not None and worst_sqnr_db(made.quality) > 25


def test_a_normalization_of_like_features_becomes_int8(tmp_path: Path) -> None:
    made = convert(normalized(np.ones(8)), tmp_path, samples(1.0, 3.0))
    assert floats(made) == [] and made.certificate.inputs[0].dtype == "int8"


def test_samples_that_are_sorted_by_class_are_judged_together(tmp_path: Path) -> None:
    """The scores of the first class alone vary little: an INT8 step seems to ruin them."""
    net = Builder()
    scores = net.add(
        "FULLY_CONNECTED", [net.input([1, 4]), net.constant(np.eye(4) * 14), -1], [1, 4]
    )
    content = net.content(net.add("SOFTMAX", [scores], [1, 4]))
    clear = np.repeat(np.eye(4), 60, axis=0) + np.random.default_rng(0).normal(0, 0.05, (240, 4))
    made = convert(content, tmp_path, np.float32(clear))
    assert made.certificate.wide_outputs == ()
    assert made.certificate.outputs[0].dtype == "int8"


def test_more_bits_need_no_float_ends(tmp_path: Path) -> None:
    made = convert(detector(640.0), tmp_path, scheme="int16x8")
    assert floats(made) == [] and made.certificate.outputs[0].dtype == "int16"
