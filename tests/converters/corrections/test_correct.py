from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgeq import models
from edgeq.converters.calibration import calibrate
from edgeq.converters.calibration.logits import expose_logits
from edgeq.converters.calibration.statistics import choose_ranges
from edgeq.converters.corrections.correct import Corrector, parse_corrections
from edgeq.converters.graph import layers
from edgeq.converters.graph.operator_stepper import Stepper
from edgeq.converters.quantization import quantize
from edgeq.errors import QuantizationError, UsageError
from edgeq.tflite import flatbuffer
from edgeq.values import CORRECTIONS, FloatModel, LayerCorrection
from edgeq.values.schemes import SCHEMES

Images = np.ndarray


def load(part: str, count: int) -> Images:
    pixels = np.load(models.path(f"fashion_mnist_{part}.npz"))["x"][:count]
    return (pixels / 255).astype(np.float32)


def fed(images: Images) -> Iterator[dict[str, np.ndarray]]:
    return ({"image": image} for image in images)


def correct(
    model: FloatModel, content: bytes, images: Images, names: list[str], folder: Path
) -> tuple[bytes, tuple[LayerCorrection, ...]]:
    with Corrector(folder) as corrector:
        return corrector.correct(model, content, fed(images), names)


@pytest.fixture(scope="module")
def quantized(float_mobilenet: FloatModel, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """INT8 by min-max, per tensor, so that there is something to correct."""
    folder = tmp_path_factory.mktemp("quantized")
    run = calibrate.run_float_model(float_mobilenet, fed(load("calibration", 100)), folder, 1)
    ranges = choose_ranges(run.statistics, "minmax")
    content = Path(float_mobilenet.file.path).read_bytes()
    return quantize.quantize(content, ranges, SCHEMES["int8"], "int8", "tensor")


Corrected = dict[str, tuple[bytes, tuple[LayerCorrection, ...]]]


@pytest.fixture(scope="module")
def corrected(
    float_mobilenet: FloatModel, quantized: bytes, tmp_path_factory: pytest.TempPathFactory
) -> Corrected:
    images = load("calibration", 80)
    return {
        name: correct(
            float_mobilenet, quantized, images, name.split(","), tmp_path_factory.mktemp("c")
        )
        for name in ("bias", "rounding,bias", "refit,bias", "bias,rounding,refit,clip")
    }


def run(content: bytes, images: Images) -> np.ndarray:
    tree = flatbuffer.parse(content, "it")
    stepper = Stepper(tree, {"image": images[:, np.newaxis]})
    stepper.run_to(len(tree.subgraphs[0].operators))
    return stepper.real(flatbuffer.indices(tree.subgraphs[0].outputs)[0])


def error(float_mobilenet: FloatModel, content: bytes) -> float:
    images = load("test", 300)
    real = run(Path(float_mobilenet.file.path).read_bytes(), images)
    return float(np.mean((run(content, images) - real) ** 2))


@pytest.mark.parametrize(
    ("name", "least_gain"),
    [("bias", 1.3), ("rounding,bias", 1.5), ("refit,bias", 1.5), ("bias,rounding,refit,clip", 1.5)],
)
def test_each_correction_lowers_the_error_on_unseen_samples(
    float_mobilenet: FloatModel,
    quantized: bytes,
    corrected: Corrected,
    name: str,
    least_gain: float,
) -> None:
    before, after = (error(float_mobilenet, item) for item in (quantized, corrected[name][0]))
    assert after * least_gain < before


def test_the_report_names_every_layer_and_keeps_only_what_helps(
    float_mobilenet: FloatModel, corrected: Corrected
) -> None:
    tree = flatbuffer.read(Path(float_mobilenet.file.path))
    for name, (_, report) in corrected.items():
        assert [item.layer for item in report] == [x.output for x in layers.find_layers(tree)]
        assert all(item.corrected_db >= item.plain_db for item in report)
        known = {"plain", "bias", *(f"{part}+bias" for part in name.split(","))}
        assert {item.chosen for item in report} <= known
        assert sum(item.chosen != "plain" for item in report) > len(report) / 2


def test_the_mean_of_each_channel_becomes_the_float_models(
    float_mobilenet: FloatModel, quantized: bytes, corrected: Corrected
) -> None:
    """At the last layer, whose bias makes up for all layers before it."""
    images = load("calibration", 80)
    wanted = logits(Path(float_mobilenet.file.path).read_bytes(), images).mean(axis=0)
    before, after = (
        np.abs(logits(item, images).mean(axis=0) - wanted).mean()
        for item in (quantized, corrected["bias"][0])
    )
    assert after < before / 3


def logits(content: bytes, images: Images) -> np.ndarray:
    return run(expose_logits(content), images)[:, 0]


def test_nothing_but_weights_and_biases_changes(quantized: bytes, corrected: Corrected) -> None:
    before = flatbuffer.parse(quantized, "it")
    after = flatbuffer.parse(corrected["bias,rounding,refit,clip"][0], "it")
    changed = {layer.position for layer in layers.find_layers(before)}
    graphs = before.subgraphs[0], after.subgraphs[0]
    weights = {i for p in changed for i in flatbuffer.indices(graphs[0].operators[p].inputs)[1:]}
    for index, (old, new) in enumerate(zip(graphs[0].tensors, graphs[1].tensors, strict=True)):
        assert flatbuffer.tensor_spec(old, "").shape == flatbuffer.tensor_spec(new, "").shape
        if index not in weights:
            assert flatbuffer.tensor_spec(old, "") == flatbuffer.tensor_spec(new, "")
            if flatbuffer.is_constant(before, old):
                np.testing.assert_array_equal(
                    flatbuffer.constant(before, old), flatbuffer.constant(after, new)
                )


def test_the_same_samples_give_the_same_bytes(
    float_mobilenet: FloatModel, quantized: bytes, corrected: Corrected, tmp_path: Path
) -> None:
    names = ["bias", "rounding", "refit", "clip"]
    again = correct(float_mobilenet, quantized, load("calibration", 80), names, tmp_path)
    assert again == corrected["bias,rounding,refit,clip"]


def test_one_operator_at_a_time_is_the_whole_model(quantized: bytes) -> None:
    from ai_edge_litert.interpreter import Interpreter

    images = load("test", 5)
    whole = Interpreter(model_content=quantized)
    whole.allocate_tensors()
    (given,), (made,) = whole.get_input_details(), whole.get_output_details()
    scale, zero = given["quantization"]
    found = []
    for image in images:
        integers = np.clip(np.rint(image / scale) + zero, -128, 127).astype(np.int8)
        whole.set_tensor(given["index"], integers[np.newaxis])
        whole.invoke()
        found.append(whole.get_tensor(made["index"]))
    scale, zero = made["quantization"]
    np.testing.assert_allclose(
        run(quantized, images), (np.array(found).astype(np.float32) - zero) * scale, atol=scale / 2
    )


def test_another_models_layers_are_refused(
    float_cnn: FloatModel, quantized: bytes, tmp_path: Path
) -> None:
    with pytest.raises(QuantizationError) as caught:
        correct(float_cnn, quantized, load("test", 4), ["bias"], tmp_path)
    assert caught.value.message == (
        "The quantized model cannot be corrected: the quantizer changed the order or the shape of "
        "the layers"
    )


def test_names() -> None:
    assert parse_corrections("auto") == parse_corrections("all") == CORRECTIONS
    assert parse_corrections("none") == ()
    assert parse_corrections("bias, rounding") == ("bias", "rounding")
    with pytest.raises(UsageError) as caught:
        parse_corrections("bias,adaround")
    assert caught.value.message == (
        "Unknown correction 'adaround'; use auto, none or some of equalize, saturate, bias, "
        "rounding, refit, clip, ties."
    )
