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
from edgeq.packaging.assembly.build import Package
from edgeq.packaging.contract.contract import make_contract
from edgeq.packaging.golden import sampling
from edgeq.packaging.golden.sampling import make_golden
from edgeq.packaging.golden.vectors import check_vector, read_golden
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
        lambda made: api.convert(source, made / "gru.tflite", data=data, effort="fast"),
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


def test_vectors_that_could_prove_nothing_are_refused(package: Package) -> None:
    golden = read_golden(package.files)
    contract = package.manifest.contract
    model = parse_model(tiny_models.double_int8(), "m.tflite")
    sampling._require_useful(model, golden, contract)
    (name,) = golden.tolerances
    with pytest.raises(PackageError, match=r"would prove nothing: the tolerance 100 of output"):
        sampling._require_useful(model, replace(golden, tolerances={name: 100.0}), contract)
