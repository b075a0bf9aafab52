from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeq import models
from edgeq.converters.calibration import calibrate
from edgeq.converters.calibration.equalization import Equalized, Way, equalize, scale_statistics
from edgeq.converters.calibration.statistics import Statistics, choose_ranges
from edgeq.converters.graph.operator_stepper import Stepper
from edgeq.files import storage
from edgeq.tflite import flatbuffer
from edgeq.values import FloatModel
from tests.converters.calibration.test_channel_groups import layer
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


def test_the_equalized_model_computes_the_same(
    float_mobilenet: FloatModel, seen: Statistics, samples: dict[str, np.ndarray]
) -> None:
    content = Path(float_mobilenet.file.path).read_bytes()
    made = equalize(content, seen.channels)
    assert len(made.factors) > 10
    np.testing.assert_allclose(outputs(made.content, samples), outputs(content, samples), atol=1e-4)


def test_channels_use_more_of_their_tensors_range(
    float_mobilenet: FloatModel, seen: Statistics, samples: dict[str, np.ndarray], tmp_path: Path
) -> None:
    content = Path(float_mobilenet.file.path).read_bytes()
    path = tmp_path / "changed.tflite"
    path.write_bytes(equalize(content, seen.channels).content)
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
    read = [
        flatbuffer.indices(operator.inputs)[0]
        for operator in tree.subgraphs[0].operators
        if flatbuffer.operator_name(tree, operator) == "DEPTHWISE_CONV_2D"
    ]
    assert len(read) == 5
    for index in read:
        assert use(changed, index) > max(0.85, use(tree, index) - 0.01)


def test_scaled_statistics_are_those_of_a_second_pass(
    float_mobilenet: FloatModel, seen: Statistics, samples: dict[str, np.ndarray], tmp_path: Path
) -> None:
    made = equalize(Path(float_mobilenet.file.path).read_bytes(), seen.channels)
    path = tmp_path / "changed.tflite"
    path.write_bytes(made.content)
    other = replace(float_mobilenet, file=storage.refer(path))
    fed = ({"image": image} for image in samples["image"])
    again = calibrate.run_float_model(other, fed, tmp_path, 1).statistics
    scaled = scale_statistics(seen, made)
    for ours, theirs in ((scaled.minimum, again.minimum), (scaled.maximum, again.maximum)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert not np.allclose(seen.maximum, again.maximum, rtol=0.01)
    # Without a histogram, every statistic gives the extremes of what was scaled.
    for item, extremes in zip(
        choose_ranges(scaled, "mse").tensors, choose_ranges(scaled, "minmax").tensors, strict=True
    ):
        assert item.index not in made.factors or item == extremes


@pytest.mark.parametrize(
    ("peaks", "fused", "strength", "expected"),
    [
        ([2.0, 1.0, 4.0], 0, 1.0, [2.0, 4.0, 1.0]),
        ([2.0, 1.0, 4.0], 0, 0.5, [2**0.5, 2.0, 1.0]),
        ([6.0, 3.0], 3, 1.0, [1.0, 6 / 3.3]),  # not beyond 6, a tenth to spare
        ([0.0, 4.0], 0, 1.0, [1.0, 1.0]),  # a dead channel stays as it is
        ([0.001, 4.0], 0, 1.0, [64.0, 1.0]),
    ],
)
def test_factors(peaks: list[float], fused: int, strength: float, expected: list[float]) -> None:
    build = Builder()
    first = layer(build, build.input([1, 4, 4, 3]), len(peaks))
    build.graph.operators[-1].builtinOptions.fusedActivationFunction = fused
    content = build.content(layer(build, first, 2))
    extremes = np.stack([np.zeros(len(peaks)), peaks]).astype(np.float32)
    found = equalize(content, {first: extremes}, Way(strength)).factors
    np.testing.assert_allclose(found.get(first, np.ones(len(peaks))), expected, rtol=1e-6)


def test_the_narrowest_tensor_limits_a_residual_trunk() -> None:
    """No activation gets a wider range, and layers that share a bias keep computing the same."""
    build, random = Builder(), np.random.default_rng(0)
    x, bias = build.input([1, 4, 4, 3]), build.constant([0.5, -0.5])
    one, other = layer(build, x, 2, bias=bias), layer(build, x, 2, bias=bias)
    joined = build.add("ADD", [one, other], [1, 4, 4, 2])
    content = build.content(layer(build, joined, 2))
    peaks = {one: [8, 1], other: [2, 1], joined: [8, 0.5]}
    channels = {index: np.array([[0, 0], own], np.float32) for index, own in peaks.items()}
    made = equalize(content, channels, Way(1.0))
    assert set(made.factors) == {one, other, joined}
    for own in made.factors.values():
        assert own == pytest.approx([1, 2])
    values = random.normal(size=(1, 4, 4, 3))
    np.testing.assert_allclose(run(made.content, values)[0], run(content, values)[0], atol=1e-5)


def test_without_calibrated_channels_nothing_changes(float_cnn: FloatModel) -> None:
    content = Path(float_cnn.file.path).read_bytes()
    assert equalize(content, {}) == Equalized(content, {}, {})


def test_several_layers_may_read_channels_behind_a_prelu() -> None:
    build, random = Builder(), np.random.default_rng(0)
    first = layer(build, build.input([1, 4, 4, 3]), 2)
    bent = build.add("PRELU", [first, build.constant([[[0.1, 0.7]]])], [1, 4, 4, 2])
    content = build.content(layer(build, bent, 2), layer(build, bent, 1))
    channels = dict.fromkeys((first, bent), np.array([[-5, -0.1], [5, 0.1]], np.float32))
    made = equalize(content, channels)
    assert made.factors[bent] == pytest.approx([1, 50**0.5])
    values = random.normal(size=(1, 4, 4, 3))
    for own, other in zip(run(content, values), run(made.content, values), strict=True):
        np.testing.assert_allclose(own, other, atol=1e-5)
    shared = build.content(build.add("ABS", [bent], [1, 4, 4, 2]))
    assert equalize(shared, channels).factors == {}  # ABS would see other units
