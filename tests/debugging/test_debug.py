from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeq
from edgeq import models
from edgeq.accuracy.verdict import worst_sqnr_db
from edgeq.converters.lowering.framework_process import TensorFlowProcess
from edgeq.debugging.node_data import node_data
from edgeq.errors import DataError
from edgeq.render.debugging import show_debug
from edgeq.tflite import flatbuffer
from edgeq.values import DebugReport, FloatModel
from tests.cli.test_commands import complaint
from tests.commands import run_edgeq as command
from tests.conftest import share

TEST = models.path("fashion_mnist_test.npz")
CALIBRATION = models.path("fashion_mnist_calibration.npz")


@pytest.fixture(scope="module")
def float_uneven(lower: Any) -> FloatModel:
    return lower(models.path("fmnist_uneven.keras"))


@pytest.fixture(scope="module")
def make(
    float_uneven: FloatModel,
    tensorflow: TensorFlowProcess,
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    def convert(**settings: Any) -> Path:
        out = tmp_path_factory.mktemp("made") / "model.tflite"
        given = {"effort": "fast", "preprocess": ["scale=1/255"], "samples": 100, **settings}
        edgeq.convert(float_uneven.file.path, out, data=CALIBRATION, tensorflow=tensorflow, **given)
        return out

    return convert


@pytest.fixture(scope="module")
def plain(make: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As any tool makes it: min-max ranges, nothing else."""
    return share(tmp_path_factory, "plain-uneven", lambda folder: make(statistic="minmax"))


@pytest.fixture(scope="module")
def report(
    float_uneven: FloatModel, plain: Path, tmp_path_factory: pytest.TempPathFactory
) -> DebugReport:
    return share(
        tmp_path_factory,
        "report-uneven",
        lambda folder: edgeq.debug(float_uneven.file.path, plain, TEST),
    )


def look(baseline: Any, candidate: Any, data: Any, **given: Any) -> DebugReport:
    """Without remedies, which are conversions of their own."""
    return edgeq.debug(baseline, candidate, data, try_remedies=False, **given)


def test_the_culprits_are_the_layers_around_uneven_channels(report: DebugReport) -> None:
    assert report.sample_count == 64
    assert len(report.layers) == 22 and report.unmatched == ()
    effects = [layer.effect_sqnr_db for layer in report.layers]
    assert effects == sorted(effects)
    for layer in report.layers[:6]:
        assert layer.operator in ("CONV_2D", "DEPTHWISE_CONV_2D")
        assert "channels of its" in layer.cause
    assert report.layers[0].effect_sqnr_db < 20
    assert report.layers[0].lost_points is not None
    depthwise = [item for item in report.layers if item.operator == "DEPTHWISE_CONV_2D"]
    assert all(item.input_spread > 16 and item.is_per_channel for item in depthwise)


def test_what_is_advised_was_tried_and_helps_as_told(
    report: DebugReport, float_uneven: FloatModel, plain: Path, make: Any
) -> None:
    """The best remedy, typed in: the file is as good as the report says."""
    best = report.remedies[0]
    assert best.options == "--corrections equalize,bias,rounding,refit"
    assert report.layers[0].remedy == best.options
    assert report.layers[0].gain_db == best.gain_db > 8
    mended = make(statistic="minmax", corrections="equalize,bias,rounding,refit")
    again = look(float_uneven.file.path, mended, TEST)
    assert worst_sqnr_db(again.quality) == pytest.approx(best.sqnr_db, abs=1.5)
    assert best.sqnr_db - best.gain_db == pytest.approx(worst_sqnr_db(report.quality), abs=1.5)
    assert again.layers[0].effect_sqnr_db > report.layers[0].effect_sqnr_db + 15
    gains = [item.gain_db for item in report.remedies]
    assert gains == sorted(gains, reverse=True) and len(gains) > 5
    assert all(layer.gain_db is None or layer.gain_db >= 1 for layer in report.layers)
    assert all(bool(layer.remedy) == (layer.gain_db is not None) for layer in report.layers)


def test_a_selector_takes_the_layer_out(
    report: DebugReport, float_uneven: FloatModel, make: Any
) -> None:
    """Its input is no longer in INT8 either, which would leave the error where it was."""
    worst = report.layers[0]
    own = worst.name.split(";")[0]
    options = next(item.options for item in report.remedies
                   if item.options.startswith("--int16") and own in item.options)  # fmt: skip
    selectors = re.findall(r"--int16 '([^']+)'", options)
    assert len(selectors) == 2
    mended = make(statistic="minmax", int16=tuple(selectors))
    again = look(float_uneven.file.path, mended, TEST)
    (found,) = [layer for layer in again.layers if layer.name == worst.name]
    assert found.effect_sqnr_db > worst.effect_sqnr_db + 30


def test_per_tensor_weights_are_named(float_uneven: FloatModel, make: Any) -> None:
    made = make(granularity="tensor")
    causes = {item.name: item for item in look(float_uneven.file.path, made, TEST).layers}
    named = [item for item in causes.values() if "weights share one scale" in item.cause]
    assert named
    assert all(item.is_per_channel is False and item.weight_spread > 8 for item in named)


def test_a_model_of_another_tool_is_matched(
    float_uneven: FloatModel, tmp_path: Path, make: Any
) -> None:
    """The stock converter's file, its tensors renamed as other tools do."""
    path = make(calibrator="tflite")
    tree = flatbuffer.read(path)
    for number, tensor in enumerate(tree.subgraphs[0].tensors):
        tensor.name = f"t{number}".encode()
    renamed = tmp_path / "renamed.tflite"
    renamed.write_bytes(flatbuffer.serialize(tree))
    found, plain = (look(float_uneven.file.path, item, TEST) for item in (renamed, path))
    assert [layer.name for layer in found.layers] == [layer.name for layer in plain.layers]
    assert {layer.quantized_name[0] for layer in found.layers} <= {
        "t",
        "c",
    }  # "class" is the output
    assert found.layers[0].effect_sqnr_db == plain.layers[0].effect_sqnr_db


def test_dynamic_range_is_held_against_float_too(float_uneven: FloatModel, make: Any) -> None:
    report = look(float_uneven.file.path, make(scheme="dynamic"), TEST)
    assert report.layers
    assert all(layer.range_use == 1.0 and layer.saturation_share == 0 for layer in report.layers)
    assert report.layers[0].effect_sqnr_db > 20


def test_weights_behind_a_dequantize_are_held_against_float(
    float_uneven: FloatModel, make: Any
) -> None:
    made = make(scheme="fp16", effort="balanced")
    report = look(float_uneven.file.path, made, TEST)
    kinds = {layer.operator for layer in report.layers}
    assert kinds == {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
    assert all(layer.saturation_share == 0 for layer in report.layers)
    assert 60 < report.layers[0].effect_sqnr_db < 90


def test_logits_that_are_cut_on_purpose_cost_nothing(
    float_mobilenet: FloatModel, tensorflow: TensorFlowProcess, tmp_path: Path
) -> None:
    """Of what a softmax cannot tell apart, a quarter lies beyond the range."""
    out = tmp_path / "m.tflite"
    given = {"preprocess": ["scale=1/255"], "samples": 100, "statistic": "minmax"}
    source = float_mobilenet.file.path
    made = edgeq.convert(source, out, data=CALIBRATION, tensorflow=tensorflow, **given)
    assert made.model.ranges.statistic == "minmax-saturated"
    report = look(source, out, TEST, samples=300)
    (logits,) = [layer for layer in report.layers if layer.operator == "FULLY_CONNECTED"]
    assert logits.saturation_share < 0.005
    (whole,) = report.quality.outputs
    assert logits.effect_sqnr_db > whole.parts[0].sqnr_db - 3
    assert "cut off" not in logits.cause


def test_a_quantized_baseline_is_refused(plain: Path) -> None:
    with pytest.raises(DataError) as caught:
        look(plain, plain, TEST)
    assert (
        caught.value.message
        == f"{plain} is itself quantized ('image'), so it cannot be the FP32 model."
    )


def test_labels_that_are_no_classes_are_refused(float_uneven: FloatModel, plain: Path) -> None:
    data = np.load(TEST)
    shifted = {"image": data["x"][:20], "y": data["y"][:20] % 5 + 8}
    with pytest.raises(DataError, match="but the model's classes are 0 to 9"):
        look(float_uneven.file.path, plain, shifted)


def test_two_different_models_are_refused(float_cnn: FloatModel, plain: Path) -> None:
    with pytest.raises(DataError) as caught:
        look(float_cnn.file.path, plain, TEST, preprocess=())
    assert caught.value.message.startswith(
        "These are two different models: layer 2 with weights is 'fmnist_cnn"
    )


def test_node_data_carries_the_names_of_the_quantized_file(
    report: DebugReport, plain: Path
) -> None:
    data = json.loads(node_data(report))
    tree = flatbuffer.read(plain)
    names = {flatbuffer.text(tensor.name) for tensor in tree.subgraphs[0].tensors}
    (graph,) = data.values()
    assert list(data) == ["main"]
    known = {name: entry for name, entry in graph["results"].items() if name in names}
    assert len(known) >= len(report.layers)
    assert all(isinstance(entry["value"], float) for entry in graph["results"].values())
    assert [stop["stop"] for stop in graph["gradient"]] == [0, 0.5, 1]


def test_the_text_names_the_worst_layer_and_what_to_type(report: DebugReport) -> None:
    text = show_debug(report)
    worst = report.layers[0]
    assert f"{worst.name.split(';')[0]} ({worst.operator}) costs most" in text
    assert f"     {worst.remedy}  ({worst.gain_db:+.1f} dB)" in text
    assert "The best command" in text
    assert f"  {report.remedies[0].command}" in text.splitlines()
    assert f"  1. {worst.name.split(';')[0]}: " in text
    assert "Names begin with fmnist_mobilenet_1/, which is left out." in text
    (output,) = report.quality.outputs
    assert f"{output.parts[0].sqnr_db:.1f} dB  (MSE " in text
    assert f"{max(worst.input_spread, worst.output_spread):.0f}-fold" in worst.cause
    assert "and 12 layers that cost less: --all" in text
    assert "that cost less" not in show_debug(report, show_all=True)


def test_the_command_writes_its_record_and_node_data(
    float_uneven: FloatModel, plain: Path, tmp_path: Path
) -> None:
    record, nodes = tmp_path / "r.json", tmp_path / "n.json"
    arguments = ["--data", TEST, "--no-try", "--samples", 16, "-o", record, "--explorer", nodes]
    done = command("debug", float_uneven.file.path, plain, *arguments)
    assert done.returncode == 0, done.stderr
    found = json.loads(record.read_text())
    assert (found["kind"], found["sample_count"]) == ("debug", 16)
    assert len(json.loads(nodes.read_text())["main"]["results"]) >= len(found["layers"])


def test_a_float_model_twice_has_nothing_to_debug(float_uneven: FloatModel) -> None:
    path = float_uneven.file.path
    done = command("debug", path, path, "--data", TEST, "--preprocess", "scale=1/255")
    assert done.returncode == 0, done.stderr
    assert "No operator of the second model is quantized." in done.stdout


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("cut.tflite", b"TFL3", "cut.tflite"),
        ("gone.tflite", None, "gone.tflite"),
    ],
)
def test_a_broken_file_is_told(
    name: str, content: bytes | None, message: str, float_uneven: FloatModel, tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    done = command("debug", float_uneven.file.path, path, "--data", TEST)
    assert message in complaint(done)


def test_samples_that_do_not_fit_are_told(
    float_uneven: FloatModel, plain: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", np.zeros((4, 5, 5, 1), np.float32))
    with pytest.raises(DataError, match="5x5x1"):
        look(float_uneven.file.path, plain, tmp_path / "x.npy")


# ---------------------------------------------------------------- files of others


@pytest.mark.shared
@pytest.mark.parametrize(
    ("real", "made", "shape", "layers"),
    [
        # Their batch is dynamic, which no operator alone can be run with.
        ("mlperf_tiny/ad01_fp32.tflite", "mlperf_tiny/ad01_int8.tflite", (640,), 10),
        # A fused LSTM keeps a state and has tensors between its operands and its result.
        ("mnist_lstm/trained_lstm.tflite", "mnist_lstm/trained_lstm_int8.tflite", (28, 28), 3),
    ],
)
def test_pairs_that_others_made_are_debugged(
    shared: Path, real: str, made: str, shape: tuple[int, ...], layers: int
) -> None:
    samples = np.random.default_rng(0).uniform(0, 1, (8, *shape)).astype(np.float32)
    report = look(shared / real, shared / made, samples)
    assert (report.baseline.path, report.candidate.path) == (str(shared / real), str(shared / made))
    assert len(report.layers) == layers
    if layers == 10:  # nothing follows the last layer, so its result is the model's output
        last = max(report.layers, key=lambda layer: layer.position or 0)
        assert last.accumulated_sqnr_db == pytest.approx(report.quality.outputs[0].sqnr_db)
    else:  # a softmax follows, and the state of the LSTM is as good as its result
        lstm = next(item for item in report.layers if "LSTM" in item.operator)
        assert lstm.own_sqnr_db > 30 and lstm.own_sqnr_db == lstm.accumulated_sqnr_db
