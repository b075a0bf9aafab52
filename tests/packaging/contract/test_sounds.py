"""Packages of keyword models: the front end as tables, and golden vectors from sounds on."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq.converters.samples.preprocessing import format_preprocessing, parse_preprocessing
from edgeq.converters.samples.sounds.front_end import transform
from edgeq.device_runners.devices.addresses import resolve_device
from edgeq.errors import PackageError, UsageError
from edgeq.models import words
from edgeq.packaging.assembly.build import make_package
from edgeq.packaging.container.writing import write_package
from edgeq.packaging.contract.contract import make_contract
from edgeq.packaging.contract.front_end import compute
from edgeq.packaging.contract.values import Contract, Golden
from edgeq.packaging.evidence.fed_alike import check_feeding
from edgeq.packaging.golden.sampling import make_golden
from edgeq.packaging.golden.sounds import find_sound_faults
from edgeq.packaging.golden.vectors import find_faults, golden_files, read_golden
from edgeq.tflite.model_file import read_model
from edgeq.values import TensorSpec
from tests.packaging.conftest import verify_here
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


def test_the_numbers_of_code_follow_the_front_end(model: Path) -> None:
    contract = declare(model, f"{WORDS},mean=2,std=4")
    (item,) = contract.inputs
    assert item.front_end is not None
    assert item.image is None
    assert [format_preprocessing(how) for how in contract.preprocessing] == ["mean=2,std=4"]
    assert [format_preprocessing(how) for how in contract.declared] == [f"{WORDS},mean=2,std=4"]
    assert declare(model, WORDS).preprocessing == ()


def test_other_features_than_measured_are_refused(model: Path) -> None:
    from edgeq.conversion.file_metadata import Carried, finish_file

    model.write_bytes(finish_file(model.read_bytes(), Carried(preprocessing=(WORDS,))))
    file = read_model(model)
    assert check_feeding(file, make_contract(model), ()) == []
    other = WORDS.replace("low=80", "low=90")
    with pytest.raises(UsageError, match="contradicts"):
        check_feeding(file, declare(model, other), ())


# ---------------------------------------------------------------- golden vectors


@pytest.fixture(scope="module")
def golden(spoken: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> tuple[Contract, Golden]:
    path = tmp_path_factory.mktemp("model") / "words.tflite"
    path.write_bytes(passing((1, 31, 20), (1, 620), None))
    contract = declare(path, f"{WORDS},mean=2,std=4")
    data = {"x": spoken}
    made = make_golden(read_model(path), contract, data, resolve_device("local"), count=3)
    return contract, made


def test_golden_vectors_hold_sounds_and_their_features(
    golden: tuple[Contract, Golden], spoken: np.ndarray
) -> None:
    contract, made = golden
    clips = spoken.astype(np.float32) / 32768
    features = words.log_mel(clips)
    for vector in made.vectors:
        np.testing.assert_array_equal(vector.sounds["x"], clips[vector.index, : 1024 + 30 * 700])
        np.testing.assert_array_equal(vector.raw["x"], features[vector.index])
        np.testing.assert_allclose(
            vector.inputs["x"][0], (features[vector.index] - 2) / 4, rtol=1e-5, atol=1e-6
        )
    assert find_faults(made, contract) == []
    assert find_sound_faults(made, contract) == []
    tolerances = made.feature_tolerances["x"]
    assert 1e-6 < tolerances["float64"] < tolerances["float32"] < 1e-4
    assert read_golden(golden_files(made)).feature_tolerances == made.feature_tolerances


def test_vectors_that_prove_no_front_end_are_told(golden: tuple[Contract, Golden]) -> None:
    contract, made = golden
    first = made.vectors[0]

    def told(sound: np.ndarray, **changes: Any) -> str:
        vectors = (replace(first, sounds={"x": sound}),)
        (fault,) = find_sound_faults(replace(made, vectors=vectors, **changes), contract)
        return fault

    own = first.sounds["x"]
    assert "other features of 'x': they differ by up to" in told(own * np.float32(1.001))
    assert "other features" in told(np.roll(own, 1))
    assert "is float32 22023, not float32 22024" in told(own[:-1])
    assert "not finite" in told(np.full_like(own, np.nan))
    wide = {"x": {"float64": 1.0}}
    assert "tolerance 1 of the features of 'x' would" in told(own, feature_tolerances=wide)
    assert "are not for the inputs" in told(own, feature_tolerances={})
    (fault,) = find_sound_faults(replace(made, vectors=(replace(first, sounds={}),)), contract)
    assert "sounds are not for the inputs" in fault


def test_verify_computes_the_features_again(spoken: np.ndarray, tmp_path: Path) -> None:
    model, data = tmp_path / "words.tflite", tmp_path / "clips.npz"
    model.write_bytes(passing((1, 31, 20), (1, 620), None))
    np.savez(data, x=spoken)
    made = make_package(model, "python", data=data, preprocess=(WORDS,), vectors=2)
    assert made.warnings == ()
    write_package(made.files, tmp_path / "a.zip")
    checks = {check.name: check for check in verify_here(tmp_path / "a.zip").checks}
    assert checks["inputs"].verdict == "pass"
    assert re.fullmatch(
        r"2 raw samples give the tensors inside, exactly, and their sounds the features, within "
        r"\de-0[56]",
        checks["inputs"].detail[0],
    )
    assert checks["code"].verdict == "pass"


def test_a_floor_below_rounding_errors_is_refused(model: Path) -> None:
    """A pure tone: most bands hold rounding errors only."""
    tone = np.sin(2 * np.pi * np.arange(3 * 22050).reshape(3, -1) * 100 / 1024)
    contract = declare(model, WORDS.replace("0.001,taper=hanning", "1e-40"))
    with pytest.raises(PackageError, match="floor=1e-40 is too small for these samples"):
        make_golden(read_model(model), contract, {"x": tone}, resolve_device("local"), count=3)


# ---------------------------------------------------------------- the tables of generated code


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("log-mel,rate=22050,window=1024,hop=700,bands=20,low=80,high=7600,taper=hanning", 20),
        ("mfcc,rate=16000,window=400,hop=160,fft=400,bands=40,coefficients=13,low=20", 13),
        ("log-mel,rate=16000,window=640,hop=320,bands=40,filters=tensorflow,power=1", 40),
        ("log-mel,rate=8000,window=30,hop=9,bands=40", 40),  # bands without a frequency
        ("spectrogram,rate=16000,window=255,hop=128,power=1,taper=hanning", 129),
        ("spectrogram,rate=16000,window=7,hop=5,fft=25", 13),
        ("spectrogram,rate=16000,window=2,hop=1", 2),
    ],
)
@pytest.mark.parametrize(("dtype", "most"), [(np.float64, 1e-6), (np.float32, 1e-5)])
def test_the_tables_give_the_features(text: str, size: int, dtype: type, most: float) -> None:
    spec = TensorSpec("x", (1, 9, size), "float32")
    (how,) = parse_preprocessing([f"sound={text}"], [spec])
    assert how.sound is not None
    sound = np.random.default_rng(0).normal(0, 0.1, 9000).astype(np.float32)
    wanted, found = transform(how.sound, sound, "x"), compute(how.sound, sound, dtype)
    assert found.dtype == dtype
    assert np.abs(found - wanted).max() <= most * np.abs(wanted).max()
