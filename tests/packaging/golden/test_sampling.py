"""Golden vectors are samples whose outputs hinge on no single rounding."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeq import api, models
from edgeq.converters.samples.open_samples import Sample, open_samples
from edgeq.device_runners.devices.addresses import resolve_device
from edgeq.errors import PackageError
from edgeq.packaging.contract.contract import make_contract
from edgeq.packaging.contract.values import Golden, Vector
from edgeq.packaging.golden import sampling
from edgeq.packaging.golden.sampling import make_golden
from edgeq.packaging.golden.vectors import check_vector
from edgeq.tflite.model_file import parse_model, read_model
from edgeq.values import TensorSpec
from tests import tiny_models
from tests.conftest import make_once

ROWS = "edgeq.models.data:gru_test"


@pytest.fixture(scope="module")
def gru(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rounding comes back in each of its 28 time steps."""
    source, data = models.path("fmnist_gru.keras"), "edgeq.models.data:gru_calibration"
    folder = make_once(
        tmp_path_factory,
        "gru",
        lambda made: api.convert(
            source, made / "gru.tflite", data=data, effort="fast", recurrent="int8"
        ),
    )
    return folder / "gru.tflite"


def test_a_sample_that_hinges_on_a_rounding_is_passed_over(gru: Path) -> None:
    contract, device = make_contract(gru), resolve_device("local")
    specs = [item.spec for item in contract.inputs]
    opened = open_samples(ROWS, specs, ())
    groups = list(sampling._look_at(opened, specs, read_model(gru), device, 8, 0))
    shaky = [item for group in groups for item in group if item.instability > 0.02]
    assert shaky and len(shaky) < sum(map(len, groups)) / 2
    golden = make_golden(read_model(gru), contract, ROWS, device, count=8)
    chosen = {vector.index for vector in golden.vectors}
    assert len(chosen) == 8
    assert not chosen & {item.sample.index for item in shaky}
    assert golden.tolerances["class"] <= 6  # five steps is what 2 % are, and one more


def test_right_kernels_keep_the_tolerances_of_other_kernels(gru: Path) -> None:
    """The reference kernels are not asked about neighbours, as another machine's are not."""
    contract, device = make_contract(gru), resolve_device("local")
    golden = make_golden(read_model(gru), contract, ROWS, device)
    specs = [item.spec for item in contract.inputs]
    own = {s.name: np.concatenate([v.inputs[s.name] for v in golden.vectors]) for s in specs}
    found = sampling._run(read_model(gru), own, device, "reference")
    for place, vector in enumerate(golden.vectors):
        given = {name: values[place : place + 1] for name, values in found.items()}
        assert check_vector(vector, given, golden.tolerances) == []
        wrong = {name: np.roll(values, 1, -1) for name, values in given.items()}
        assert check_vector(vector, wrong, golden.tolerances) != []


def candidate(index: int, instability: float) -> sampling._Candidate:
    return sampling._Candidate(Sample(index, {}, None), {}, {}, instability)


def test_the_first_sturdy_ones_are_taken_and_the_least_shaky_where_they_are_too_few() -> None:
    first = [candidate(9, 0.0), candidate(5, 0.3)]
    second = [candidate(7, 0.1), candidate(2, 0.01)]
    third = [candidate(1, 0.0), candidate(3, 0.0)]

    def chosen(count: int, *groups: list[sampling._Candidate]) -> list[int]:
        return [item.sample.index for item in sampling._choose(iter(groups), count)]

    assert chosen(1, first, second, third) == [9]
    assert chosen(2, first, second, third) == [2, 9]
    assert chosen(3, first, second) == [2, 7, 9]
    assert chosen(9, first, second) == [2, 5, 7, 9]


def test_five_steps_of_eight_bits_are_sturdy() -> None:
    """2 %, and not more; beyond it the less shaky goes first, then the earlier."""
    group = [candidate(4, 0.0201), candidate(3, 0.02), candidate(2, 0.03), candidate(1, 0.0201)]
    for count, wanted in ((1, [3]), (2, [1, 3]), (3, [1, 3, 4]), (4, [1, 2, 3, 4])):
        found = sampling._choose(iter([group]), count)
        assert [item.sample.index for item in found] == wanted
    # With enough of them, no more are looked for.
    for first, wanted in ((0.02, [3]), (0.0201, [9])):
        found = sampling._choose(iter([[candidate(3, first)], [candidate(9, 0.0)]]), 1)
        assert [item.sample.index for item in found] == wanted


@pytest.mark.parametrize(
    ("values", "reach"),
    [
        (np.zeros((1, 2), np.int8), 255.0), (np.zeros((1, 2), np.uint8), 255.0),
        (np.zeros((1, 2), np.int16), 65535.0),
        (np.array([[2.0, -8.0]], np.float32), 8.0), (np.zeros((1, 2), np.float32), 1.0),
    ],
)  # fmt: skip
def test_a_difference_is_held_against_what_an_output_can_be(
    values: np.ndarray, reach: float
) -> None:
    assert sampling._reach(values) == reach


def test_a_tolerance_is_what_kernels_differ_by_and_a_step_more() -> None:
    steps = {kernels: {"y": np.array([[10, given]], np.int8)} for kernels, given in
             (("xnnpack", 20), ("builtin", 23), ("reference", 18))}  # fmt: skip
    sample = replace(candidate(0, 0.0), apart={"y": 1.0})
    assert sampling._tolerances(steps, [sample]) == {"y": 4.0}
    neighbour = replace(candidate(1, 0.0), apart={"y": 5.0})
    assert sampling._tolerances(steps, [sample, neighbour]) == {"y": 6.0}
    real = {kernels: {"y": np.array([[-50.0, given]], np.float32)} for kernels, given in
            (("xnnpack", 20.0), ("builtin", 20.0), ("reference", 20.5))}  # fmt: skip
    # A part in 100,000 of the largest value, 50.
    assert sampling._tolerances(real, [sample]) == pytest.approx({"y": 1.0005})
    assert sampling._tolerances(real, [replace(sample, apart={"y": 0.0})])["y"] == (
        pytest.approx(0.5005)
    )


def test_neighbours_are_a_step_away() -> None:
    image = TensorSpec("image", (1, 4, 4, 1), "int8", (0.1,), (0,))
    real = TensorSpec("real", (1, 3), "float32")
    word = TensorSpec("word", (1, 5), "int32")
    inputs = {
        "image": np.full((2, 4, 4, 1), 127, np.int8),
        "real": np.array([[0, 1, 5], [2, 3, 4]], np.float32),
        "word": np.arange(10, dtype=np.int32).reshape(2, 5),
    }
    found = sampling._neighbours(inputs, (image, real, word))
    for name, values in found.items():
        own = np.repeat(inputs[name], 16, axis=0)
        assert values.dtype == own.dtype and values.shape == own.shape
        assert (values[::16] == inputs[name]).all()
    assert set(np.unique(found["image"])) == {126, 127}  # 128 is none
    moved = np.abs(found["real"] - np.repeat(inputs["real"], 16, axis=0))
    assert 0 < moved.max() <= 5 / 255 * 1.001
    assert (found["word"] == np.repeat(inputs["word"], 16, axis=0)).all()


def golden_of(*values: list[int], tolerance: float) -> Golden:
    vectors = tuple(
        Vector(number, None, {}, {}, {"y": np.array([row], np.int8)}, {})
        for number, row in enumerate(values)
    )
    return Golden("d.npz", "a" * 64, vectors, {"y": tolerance})


def test_vectors_that_could_prove_nothing_are_refused() -> None:
    model = parse_model(tiny_models.double_int8(), "m.tflite")
    contract = make_contract(model)
    sampling._require_useful(model, golden_of([1, 2, 3, 4], tolerance=1.0), contract)
    with pytest.raises(PackageError) as caught:
        sampling._require_useful(model, golden_of([1, 2, 3, 4], tolerance=100.0), contract)
    assert caught.value.message.startswith(
        "Correct kernels differ so much on the samples of d.npz that golden vectors of m.tflite "
        "would prove nothing: the tolerance 100 of output 'y' would accept almost anything"
    )


@pytest.mark.parametrize("kernels", ["xnnpack", "reference"])
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_sample_whose_output_is_no_number_is_named(kernels: str, value: float) -> None:
    model = parse_model(tiny_models.add_one(), "m.tflite")
    samples = [Sample(4, {}, None), Sample(7, {}, None)]
    found = {name: {"y": np.zeros((2, 3), np.float32)} for name in ("xnnpack", "reference")}
    sampling._require_finite(model, samples, found)
    found[kernels]["y"][1, 2] = value
    with pytest.raises(PackageError) as caught:
        sampling._require_finite(model, samples, found)
    assert caught.value.message == (
        "m.tflite computes NaN or infinity in output 'y' of sample 7, so no device could be "
        "compared with it."
    )


def test_a_sample_is_judged_by_its_own_neighbours() -> None:
    """Two samples of an INT8 and a float output, each with 16 copies."""
    ours = {"y": np.zeros((32, 2), np.int8), "z": np.full((32, 1), -4, np.float32)}
    theirs = {name: values.copy() for name, values in ours.items()}
    theirs["y"][15, 1], theirs["y"][16, 0], theirs["z"][31, 0] = 51, -102, -3
    inputs = {"x": np.array([[1.0], [2.0]])}
    first, second = (
        sampling._judge(Sample(number, {}, None), number, inputs, ours, theirs)
        for number in range(2)
    )
    assert (first.apart, first.instability) == ({"y": 51.0, "z": 0.0}, 51 / 255)
    assert (second.apart, second.instability) == ({"y": 102.0, "z": 1.0}, 102 / 255)
    assert (first.inputs["x"].tolist(), second.inputs["x"].tolist()) == ([[1.0]], [[2.0]])


@pytest.mark.parametrize("size", [1, 64, 65])
def test_one_sample_of_each_class_comes_before_a_second_of_any(size: int) -> None:
    """Labels of more than 64 values are compared by digest."""
    labels = np.repeat([[3], [1], [3], [2], [1], [3]], size, axis=1)
    data = {"x": np.zeros((6, 3), np.float32), "y": labels[:, 0] if size == 1 else labels}
    samples = open_samples(data, [TensorSpec("x", (1, 3), "float32")], ())
    ranked = sampling._rank(samples, 2, 0)
    assert sorted(ranked) == [0, 1, 2, 3, 4, 5]
    assert sorted(labels[index, 0] for index in ranked[:3]) == [1, 2, 3]
    assert sorted(labels[index, 0] for index in ranked[3:5]) == [1, 3]
    unlabelled = open_samples({"x": data["x"]}, [TensorSpec("x", (1, 3), "float32")], ())
    assert sorted(sampling._rank(unlabelled, 2, 0)) == [0, 1, 2, 3, 4, 5]


def test_eight_candidates_for_each_vector_are_looked_at_and_at_least_32() -> None:
    data = {"x": np.zeros((100, 3), np.float32)}
    samples = open_samples(data, [TensorSpec("x", (1, 3), "float32")], ())
    for count, looked_at in ((1, 32), (4, 32), (5, 40), (20, 100)):
        assert len(sampling._rank(samples, count, 0)) == looked_at
