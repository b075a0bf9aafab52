from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq import api, models
from edgeq.conversion.range_candidates import RangeCandidate
from edgeq.conversion.selection import _best
from edgeq.errors import DataError, UsageError
from edgeq.values import Conversion, FileRef, FloatModel, Ranges
from tests.conftest import share

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="session")
def convert(float_mobilenet: FloatModel, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Convert the MobileNet-like model with 100 samples; quality on 500 others."""

    def make(count: int = 100, **options: Any) -> Conversion:
        with np.load(models.path("fashion_mnist_calibration.npz")) as stored:
            data = {"image": (stored["x"][:count] / 255).astype(np.float32)}
        with np.load(models.path("fashion_mnist_test.npz")) as stored:
            test = {"image": (stored["x"][:500] / 255).astype(np.float32), "y": stored["y"][:500]}
        target = tmp_path_factory.mktemp("made") / "m.tflite"
        return api.convert(
            float_mobilenet.file.path, target, data=data, test_data=test, samples=count, **options
        )

    return make


@pytest.fixture(scope="session")
def default(convert: Any, tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    return share(tmp_path_factory, "default-conversion", lambda folder: convert())


@pytest.mark.parametrize(
    ("scores", "corrected", "best"),
    [
        ([30.0, 31.0, 29.0], (), 1),
        ([30.95, 31.0, 29.0], (), 0),  # within 0.1 dB the first is as good, and simpler
        ([30.89, 31.0, 29.0], (), 1),
        ([30.0, 29.5], (1,), 1),  # a corrected one judges itself 1 dB too low
        ([30.0, 28.95], (1,), 0),
        ([30.0, 29.05], (1,), 0),
        ([30.0, 29.15], (1,), 1),
        ([float("-inf"), -20.0], (), 1),
        ([float("inf"), float("inf")], (), 0),
        ([float("-inf"), float("-inf")], (), 0),
    ],
)
def test_the_best_is_the_simplest_of_the_highest(
    scores: list[float], corrected: tuple[int, ...], best: int
) -> None:
    made = FloatModel(FileRef("m", "", 1), FileRef("m", "", 1), "tflite", "", (), ())
    ranges = Ranges("edgeq", "minmax", 1, (), "")
    variants = [
        RangeCandidate(made, ranges, False, b"", correction_samples=int(place in corrected))
        for place in range(len(scores))
    ]
    assert _best(variants, scores) == best


def sqnr(result: Conversion) -> float:
    assert result.quality is not None
    return min(output.sqnr_db for output in result.quality.outputs)


def test_the_default_is_better_than_min_max(convert: Any, default: Conversion) -> None:
    plain = convert(effort="fast")
    assert plain.model.candidates == ()
    assert plain.model.corrections == ()
    assert sqnr(default) > sqnr(plain) + 1


def test_the_chosen_candidate_comes_first(default: Conversion) -> None:
    first, *others = default.model.candidates
    assert first.is_corrected
    assert len(default.model.corrections) == 18
    assert default.model.ranges is not None
    assert default.model.ranges.statistic == first.statistic
    assert first.sqnr_db + 1.2 > max(item.sqnr_db for item in others)
    assert {item.is_equalized for item in default.model.candidates} == {True, False}
    tried = {item.statistic.split("-")[0] for item in default.model.candidates}
    assert tried == {"minmax", "mse", "percentile:99.99", "percentile:99.999"}


def test_the_chosen_candidate_is_corrected_on_all_samples(
    convert: Any, default: Conversion
) -> None:
    assert default.model.correction_samples == 100
    assert convert(corrections="none").model.correction_samples == 0


@pytest.mark.parametrize(
    ("corrections", "names"),
    [("none", None), ("bias", {"plain", "bias"}), ("rounding,bias", {"bias", "rounding+bias"})],
)
def test_what_is_asked_for_is_what_is_done(
    convert: Any, corrections: str, names: set[str] | None
) -> None:
    result = convert(statistic="percentile:99.9", corrections=corrections)
    assert result.model.ranges.statistic == "percentile:99.9"
    assert {item.is_equalized for item in result.model.candidates} <= {False}
    if names is None:
        assert result.model.corrections == ()
    else:
        assert {item.chosen for item in result.model.corrections} <= {*names, "plain"}
        corrected = [item.is_corrected for item in result.model.candidates]
        assert sorted(corrected) == [False, True]


def test_16_bit_activations_are_corrected_too(convert: Any) -> None:
    plain = convert(scheme="int16x8", corrections="none")
    made = convert(scheme="int16x8")
    assert made.model.corrections
    assert sqnr(made) > sqnr(plain) + 1


def test_too_few_samples_are_not_judged_on(convert: Any) -> None:
    result = convert(5)
    assert result.model.candidates == ()
    assert "no corrections made: 5 samples are too few to measure whether they help" in [
        item.message for item in result.issues
    ]


def test_a_percentile_needs_samples(convert: Any) -> None:
    with pytest.raises(DataError, match=r"^percentile:99.99999 cuts nothing with 2 samples: "):
        convert(2, statistic="percentile:99.99999")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheme": "dynamic", "statistic": "mse"},
         "--statistic mse has no effect with --scheme dynamic."),
        ({"scheme": "fp16", "corrections": "bias"},
         "--corrections bias has no effect with --scheme fp16."),
        ({"calibrator": "tflite", "statistic": "mse"},
         "--statistic needs edgeq's own calibrator, which cannot be used: --calibrator tflite "
         "was given."),
        ({"calibrator": "tflite", "corrections": "bias"},
         "--corrections needs edgeq's own calibrator, which cannot be used: --calibrator "
         "tflite was given."),
    ],
)  # fmt: skip
def test_options_that_contradict(convert: Any, options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        convert(**options)
    assert caught.value.message == message
    assert not list(Path().glob("m.tflite"))
