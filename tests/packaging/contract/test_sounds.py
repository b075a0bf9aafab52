"""Packages of keyword models: code and golden vectors take features, and a warning names them."""

from pathlib import Path

import numpy as np
import pytest

from edgeq.converters.samples.preprocessing import format_preprocessing
from edgeq.device_runners.devices.addresses import resolve_device
from edgeq.errors import UsageError
from edgeq.models import words
from edgeq.packaging.contract.contract import make_contract
from edgeq.packaging.contract.values import Contract
from edgeq.packaging.evidence.fed_alike import check_feeding
from edgeq.packaging.golden.sampling import make_golden
from edgeq.packaging.golden.vectors import find_faults
from edgeq.tflite.model_file import read_model
from tests.tiny_models import passing

WORDS = (
    "sound=log-mel,rate=22050,window=1024,hop=700,bands=20,low=80,high=7600,floor=0.001,"
    "taper=hanning"
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "words.tflite"
    path.write_bytes(passing((1, 31, 20), (1, 620), None))
    return path


def declare(model: Path, text: str) -> Contract:
    return make_contract(model, preprocess=[text])


def test_code_takes_features_and_numbers_follow(model: Path) -> None:
    contract = declare(model, f"{WORDS},mean=2,std=4")
    (item,) = contract.inputs
    assert item.front_end is not None
    assert item.image is None
    assert [format_preprocessing(how) for how in contract.preprocessing] == ["mean=2,std=4"]
    assert [format_preprocessing(how) for how in contract.declared] == [f"{WORDS},mean=2,std=4"]
    assert declare(model, WORDS).preprocessing == ()


def test_the_warning_names_the_features(model: Path) -> None:
    assert check_feeding(read_model(model), declare(model, WORDS), ()) == [
        f"input 'x' takes the features of {WORDS}: the app computes them from the sound, the "
        "package's code does not"
    ]


def test_golden_vectors_hold_the_features_of_sounds(model: Path) -> None:
    clips = np.random.default_rng(0).uniform(-1, 1, (6, 22050)).astype(np.float32)
    contract = declare(model, f"{WORDS},mean=2,std=4")
    golden = make_golden(
        read_model(model), contract, {"x": clips}, resolve_device("local"), count=2
    )
    features = words.log_mel(clips)
    for vector in golden.vectors:
        np.testing.assert_array_equal(vector.raw["x"], features[vector.index])
        np.testing.assert_allclose(
            vector.inputs["x"][0], (features[vector.index] - 2) / 4, rtol=1e-5, atol=1e-6
        )
    assert find_faults(golden, contract) == []


def test_other_features_than_measured_are_refused(model: Path) -> None:
    from edgeq.conversion.file_metadata import Carried, finish_file

    model.write_bytes(finish_file(model.read_bytes(), Carried(preprocessing=(WORDS,))))
    file = read_model(model)
    assert len(check_feeding(file, make_contract(model), ())) == 1
    other = WORDS.replace("low=80", "low=90")
    with pytest.raises(UsageError, match="contradicts"):
        check_feeding(file, declare(model, other), ())
