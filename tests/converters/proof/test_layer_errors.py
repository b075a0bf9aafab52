from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeq import models
from edgeq.converters.calibration import calibrate
from edgeq.converters.calibration.logits import expose_logits
from edgeq.converters.calibration.statistics import choose_ranges
from edgeq.converters.graph.operator_stepper import Stepper
from edgeq.converters.proof.layer_errors import Pair, decibel, measure_effects, relative_error
from edgeq.converters.quantization.quantize import quantize
from edgeq.converters.quantization.selectors import Mix
from edgeq.errors import DataError
from edgeq.tflite import flatbuffer
from edgeq.values import FloatModel, Ranges
from edgeq.values.schemes import SCHEMES

IMAGES = np.load(models.path("fashion_mnist_test.npz"))["x"][:16].astype(np.float32) / 255


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("real", "given", "error", "sqnr"),
    [
        ([3.0, 4.0], [3.0, 4.0], 0.0, INF),
        ([3.0, 4.0], [3.0, 4.5], 0.01, 20.0),  # 0.25 of 25
        ([3.0, 4.0], [3.0, 3.5], 0.01, 20.0),
        ([3.0, 4.0], [NAN, 4.0], INF, -INF),
        ([3.0, 4.0], [3.0, -INF], INF, -INF),
        ([NAN, 4.0], [3.0, 4.0], INF, -INF),
        ([-INF, 5.0], [-INF, 5.5], 0.01, 20.0),  # a mask's infinity does not count as energy
        ([-INF, 5.0], [INF, 5.0], INF, -INF),
        ([NAN, 5.0], [NAN, 5.0], 0.0, INF),
        ([0.0, 0.0], [0.0, 0.0], 0.0, INF),
    ],
)
def test_the_error_of_what_is_not_finite_has_no_bounds(
    real: list[float], given: list[float], error: float, sqnr: float
) -> None:
    found = relative_error(np.array(real, np.float32), np.array(given, np.float32))
    assert found == pytest.approx(error)
    assert decibel(found) == pytest.approx(sqnr)


@pytest.fixture(scope="module")
def ranges(float_mobilenet: FloatModel, tmp_path_factory: pytest.TempPathFactory) -> Ranges:
    folder = tmp_path_factory.mktemp("quantized")
    fed = ({"image": image} for image in IMAGES)
    run = calibrate.run_float_model(float_mobilenet, fed, folder, 1)
    return choose_ranges(run.statistics, "minmax")


@pytest.fixture(scope="module")
def quantized(float_mobilenet: FloatModel, ranges: Ranges) -> bytes:
    return quantize(content(float_mobilenet), ranges, SCHEMES["int8"], "int8", "channel")


def content(model: FloatModel) -> bytes:
    return Path(model.file.path).read_bytes()


def run(content: bytes) -> np.ndarray:
    """Outputs in real units."""
    tree = flatbuffer.parse(content, "it")
    stepper = Stepper(tree, {"image": IMAGES[:, np.newaxis]})
    stepper.run_to(len(tree.subgraphs[0].operators))
    return stepper.real(flatbuffer.indices(tree.subgraphs[0].outputs)[0])


def spoil(quantized: bytes, position: int) -> tuple[bytes, str]:
    """Halve the integers of the layer at a position; its name."""
    tree = flatbuffer.parse(quantized, "it")
    graph = tree.subgraphs[0]
    operator = graph.operators[position]
    weights = graph.tensors[operator.inputs[1]]
    halved = flatbuffer.constant(tree, weights) // 2
    weights.buffer = flatbuffer.add_buffer(tree, halved.astype(np.int8))
    return flatbuffer.serialize(tree), flatbuffer.text(graph.tensors[operator.outputs[0]].name)


def place_of(quantized: bytes, name: str) -> int:
    """Position of the operator that makes a tensor, or its INT8 form."""
    tree = flatbuffer.parse(quantized, "it")
    graph = tree.subgraphs[0]
    names = [flatbuffer.tensor_name(graph, op.outputs[0]) for op in graph.operators]
    return names.index(name)


def test_the_spoiled_layer_costs_most(float_mobilenet: FloatModel, quantized: bytes) -> None:
    inputs = {"image": IMAGES[:, np.newaxis]}
    before = measure_effects(content(float_mobilenet), quantized, inputs)
    spoiled, name = spoil(quantized, 5)
    after = measure_effects(content(float_mobilenet), spoiled, inputs)
    assert after[0].name == name != before[0].name
    assert after[0].sqnr_db < 12
    assert before[0].sqnr_db > 35
    others = (
        {item.name: item for item in effects if item.name != name} for effects in (before, after)
    )
    assert next(others) == next(others)  # each is measured without the errors of the others


def test_an_effect_is_that_of_the_file_with_this_layer_alone(
    float_mobilenet: FloatModel, quantized: bytes, ranges: Ranges
) -> None:
    """The same by another way: all other operators in float, run as one file."""
    inputs = {"image": IMAGES[:, np.newaxis]}
    spoiled, name = spoil(quantized, 5)
    source = content(float_mobilenet)
    tree = flatbuffer.parse(source, "it")
    graph = tree.subgraphs[0]
    names = [flatbuffer.text(graph.tensors[op.outputs[0]].name) for op in graph.operators]
    others = Mix(keep_float=tuple(own for own in names if own != name))
    mixed = quantize(source, ranges, SCHEMES["int8"], "float32", "channel", others)
    mixed, _ = spoil(mixed, place_of(mixed, name))
    pair = Pair(source, spoiled, inputs)
    list(pair.walk())
    (wanted,) = pair.ends.values()
    (given,) = pair.clip(dict.fromkeys(pair.ends, run(expose_logits(mixed))), pair.ends).values()
    varying = wanted - wanted.mean(axis=0)
    expected = 10 * np.log10(np.sum(varying**2) / np.sum((wanted - given) ** 2))
    effects = measure_effects(source, spoiled, inputs)
    (found,) = (item for item in effects if item.name == name)
    assert found.sqnr_db == pytest.approx(expected, abs=0.3)  # its input is quantized here, too


def test_different_models_are_refused(float_cnn: FloatModel, quantized: bytes) -> None:
    with pytest.raises(DataError, match="two different models"):
        measure_effects(content(float_cnn), quantized, {"image": IMAGES[:, np.newaxis]})
