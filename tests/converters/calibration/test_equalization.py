from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeq import models
from edgeq.converters.calibration import calibrate, equalization
from edgeq.converters.calibration.equalization import equalize, find_pairs, scale_statistics
from edgeq.converters.calibration.statistics import Statistics, choose_ranges
from edgeq.converters.graph.operator_stepper import Stepper
from edgeq.files import storage
from edgeq.tflite import flatbuffer
from edgeq.values import FloatModel
from tests.converters.rewrites.tiny_graphs import Builder, run


@pytest.fixture(scope="module")
def samples() -> dict[str, np.ndarray]:
    pixels = np.load(models.path("fashion_mnist_calibration.npz"))["x"][:60]
    return {"image": (pixels / 255).astype(np.float32)}


@pytest.fixture(scope="module")
def seen(
    float_mobilenet: FloatModel, samples: dict[str, np.ndarray],
    tmp_path_factory: pytest.TempPathFactory,
) -> Statistics:  # fmt: skip
    fed = ({"image": image} for image in samples["image"])
    folder = tmp_path_factory.mktemp("seen")
    return calibrate.run_float_model(float_mobilenet, fed, folder, 1).statistics


def outputs(content: bytes, samples: dict[str, np.ndarray]) -> np.ndarray:
    tree = flatbuffer.parse(content, "it")
    stepper = Stepper(tree, {"image": samples["image"][:, np.newaxis]})
    stepper.run_to(len(tree.subgraphs[0].operators))
    return stepper.real(flatbuffer.indices(tree.subgraphs[0].outputs)[0])


def test_pairs_are_layers_that_nothing_but_pooling_separates(
    float_mobilenet: FloatModel, float_cnn: FloatModel
) -> None:
    found = {}
    for name, model in (("mobilenet", float_mobilenet), ("cnn", float_cnn)):
        tree = flatbuffer.read(Path(model.file.path))
        operators = tree.subgraphs[0].operators
        found[name] = [
            (flatbuffer.operator_name(tree, operators[pair.first]),
             flatbuffer.operator_name(tree, operators[pair.second]), pair.ceiling)
            for pair in find_pairs(tree)
        ]  # fmt: skip
    # A residual ADD reads some projections: those are left alone, linear ones in between are not.
    wide, deep = ("CONV_2D", "DEPTHWISE_CONV_2D", 6.0), ("DEPTHWISE_CONV_2D", "CONV_2D", 6.0)
    assert found["mobilenet"].count(wide) == 5
    assert found["mobilenet"].count(deep) == 5
    assert ("CONV_2D", "FULLY_CONNECTED", 6.0) in found["mobilenet"]  # through MEAN
    assert ("CONV_2D", "FULLY_CONNECTED", np.inf) in found["cnn"]  # through pooling and RESHAPE
    assert ("FULLY_CONNECTED", "FULLY_CONNECTED", np.inf) in found["cnn"]


def test_the_equalized_model_computes_the_same(
    float_mobilenet: FloatModel, seen: Statistics, samples: dict[str, np.ndarray]
) -> None:
    content = Path(float_mobilenet.file.path).read_bytes()
    changed, pairs = equalize(content, seen.channels)
    assert len(pairs) == len(find_pairs(flatbuffer.parse(content, "it")))
    np.testing.assert_allclose(outputs(changed, samples), outputs(content, samples), atol=1e-4)


def test_channels_use_more_of_their_tensors_range(
    float_mobilenet: FloatModel, seen: Statistics, samples: dict[str, np.ndarray], tmp_path: Path
) -> None:
    content = Path(float_mobilenet.file.path).read_bytes()
    path = tmp_path / "changed.tflite"
    path.write_bytes(equalize(content, seen.channels)[0])
    changed = flatbuffer.read(path)

    def use(tree: object, index: int) -> float:
        """Median over channels of the channel's peak, in parts of the tensor's."""
        stepper = Stepper(tree, {"image": samples["image"][:, np.newaxis]})
        while index not in stepper.values:
            stepper.step()
        peaks = np.abs(stepper.real(index)).reshape(-1, stepper.values[index].shape[-1]).max(0)
        assert peaks.max() <= 6.001
        return float(np.median(peaks) / peaks.max())

    tree = flatbuffer.parse(content, "it")
    for pair in find_pairs(tree):
        second = tree.subgraphs[0].operators[pair.second]
        if flatbuffer.operator_name(tree, second) == "DEPTHWISE_CONV_2D":
            assert use(changed, pair.tensors[0]) > max(0.85, use(tree, pair.tensors[0]) - 0.01)


def test_scaled_statistics_are_those_of_a_second_pass(
    float_mobilenet: FloatModel, seen: Statistics, samples: dict[str, np.ndarray], tmp_path: Path
) -> None:
    changed, pairs = equalize(Path(float_mobilenet.file.path).read_bytes(), seen.channels)
    path = tmp_path / "changed.tflite"
    path.write_bytes(changed)
    other = replace(float_mobilenet, file=storage.refer(path))
    fed = ({"image": image} for image in samples["image"])
    again = calibrate.run_float_model(other, fed, tmp_path, 1).statistics
    scaled = scale_statistics(seen, pairs)
    for ours, theirs in ((scaled.minimum, again.minimum), (scaled.maximum, again.maximum)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert not np.allclose(seen.maximum, again.maximum, rtol=0.01)
    # Without a histogram, every statistic gives the extremes of what was scaled.
    touched = {index for pair, _ in pairs for index in pair.tensors}
    for item, extremes in zip(
        choose_ranges(scaled, "mse").tensors, choose_ranges(scaled, "minmax").tensors, strict=True
    ):
        assert item.index not in touched or item == extremes


@pytest.mark.parametrize(
    ("peaks", "ceiling", "exponent", "expected"),
    [
        ([2.0, 1.0, 4.0], np.inf, 1.0, [2.0, 4.0, 1.0]),
        ([2.0, 1.0, 4.0], np.inf, 0.5, [2**0.5, 2.0, 1.0]),
        ([6.0, 3.0], 6.0, 1.0, [1.0, 6 / 3.3]),  # not beyond 6, a tenth to spare
        ([0.0, 4.0], np.inf, 1.0, [1.0, 1.0]),  # a dead channel stays as it is
        ([0.001, 4.0], np.inf, 1.0, [64.0, 1.0]),
    ],
)
def test_factors(
    peaks: list[float], ceiling: float, exponent: float, expected: list[float]
) -> None:
    channels = np.stack([np.zeros(len(peaks)), peaks]).astype(np.float32)
    found = equalization._factors(channels, ceiling, exponent)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_without_calibrated_channels_nothing_changes(float_cnn: FloatModel) -> None:
    content = Path(float_cnn.file.path).read_bytes()
    assert equalize(content, {}) == (content, ())


def test_several_layers_may_read_channels_behind_a_prelu() -> None:
    build, random = Builder(), np.random.default_rng(0)
    x = build.input([1, 4, 4, 3])

    def layer(source: int, size: int, scale: Sequence[float]) -> int:
        weights = random.normal(size=(len(scale), 1, 1, size)) * np.reshape(scale, (-1, 1, 1, 1))
        inputs = [source, build.constant(weights), build.constant(random.normal(size=len(scale)))]
        made = build.add("CONV_2D", inputs, [1, 4, 4, len(scale)])
        options = build.graph.operators[-1].builtinOptions
        options.strideW = options.strideH = 1
        options.dilationWFactor = options.dilationHFactor = 1
        return made

    first = layer(x, 3, [1, 0.02])
    bent = build.add("PRELU", [first, build.constant([[[0.1, 0.7]]])], [1, 4, 4, 2])
    content = build.content(layer(bent, 2, [1, 1]), layer(bent, 2, [1]))
    channels = {first: np.array([[-5, -0.1], [5, 0.1]], np.float32)}
    changed, ((pair, factors),) = equalize(content, channels)
    assert (pair.second, pair.others, pair.tensors) == (2, (3,), (first, bent))
    assert factors == pytest.approx([1, 50**0.5])
    values = random.normal(size=(1, 4, 4, 3))
    for own, other in zip(run(content, values), run(changed, values), strict=True):
        np.testing.assert_allclose(own, other, atol=1e-5)
    shared = build.content(build.add("ABS", [bent], [1, 4, 4, 2]))
    assert equalize(shared, channels)[1] == ()  # ABS would see other units
