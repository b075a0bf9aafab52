from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeq
from edgeq.conversion import forms
from edgeq.errors import UsageError
from edgeq.tflite.lstm import NAME
from edgeq.values import Conversion, ConvertOptions
from edgeq.values.schemes import SCHEMES

PLAIN = {"statistic": "minmax", "corrections": "none"}


@pytest.fixture(scope="module")
def rows(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.npz"
    with np.load(shared / "mnist_lstm" / "mnist_small.npz") as stored:
        np.savez(path, x=stored["x_train"][:24])
    return path


def convert(shared: Path, rows: Path, folder: Path, **options: Any) -> Conversion:
    model = shared / "mnist_lstm" / "mnist_lstm.keras"
    return edgeq.convert(
        model, folder / "o.tflite", data=rows, preprocess=["scale=1/255"], **options
    )


def is_fused(made: Conversion) -> bool:
    kinds = {operator.name: operator.precision for operator in made.certificate.operators}
    return kinds.get(NAME) == "int8"


def test_the_better_form_is_kept_and_reported(
    shared: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = convert(shared, rows, tmp_path, **PLAIN)
    (note,) = [item.message for item in made.issues if item.code == "convert.lstm_form"]
    assert note.startswith("LSTM layers (lstm) are one operator each: ")
    assert is_fused(made) and made.source.fused_layers == ("lstm",)
    assert made.quality is not None and made.quality.outputs[0].sqnr_db > 35
    monkeypatch.setattr(forms, "_CLEARLY_DB", -100.0)
    other = convert(shared, rows, tmp_path, **PLAIN)
    assert not is_fused(other) and other.source.unrolled_layers == ("lstm",)
    assert {item.precision for item in other.certificate.operators} == {
        "int8",
        "int16x8",
        "convert",
    }
    assert any("are unrolled: with plain ranges" in item.message for item in other.issues)


def test_a_fast_conversion_takes_the_operator_unmeasured(
    shared: Path, rows: Path, tmp_path: Path
) -> None:
    made = convert(shared, rows, tmp_path, effort="fast")
    assert is_fused(made)
    assert not [item for item in made.issues if item.code == "convert.lstm_form"]


def test_selectors_may_name_operators_of_one_form(shared: Path, rows: Path, tmp_path: Path) -> None:
    for selector, fused in (("type:MUL", False), (f"type:{NAME}", True)):
        made = convert(shared, rows, tmp_path, **PLAIN, keep_float=(selector,), allow_float=True)
        kinds = {item.name for item in made.certificate.operators if item.precision == "float32"}
        assert kinds == {selector.removeprefix("type:")}
        assert bool(made.source.fused_layers) == fused


@pytest.mark.parametrize(
    ("options", "form"),
    [
        ({}, "auto"),
        ({"lstm": "fused"}, "fused"),
        ({"lstm": "unrolled"}, "unrolled"),
        ({"calibrator": "tflite"}, "unrolled"),
        ({"scheme": "int16x8"}, "unrolled"),
        ({"scheme": "fp32"}, "unrolled"),
        ({"scheme": "fp32", "lstm": "fused"}, "fused"),
    ],
)
def test_options_select_the_form(options: dict[str, Any], form: str) -> None:
    given = ConvertOptions(**options)
    assert forms.wanted_form(SCHEMES[given.scheme], given) == form


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "mnist_lstm/trained_lstm.tflite",
            {},
            "--lstm fused is for models from Keras and PyTorch only.",
        ),
        ("kws/kws_gru_s.keras", {}, "--lstm fused is not possible: the model has no LSTM layer"),
        ("mnist_lstm/mnist_lstm.keras", {"calibrator": "tflite"}, "--lstm fused needs edgeq's own"),
        ("mnist_lstm/mnist_lstm.keras", {"lstm": "both"}, "Unknown form 'both'; use one of auto, "),
    ],
)
def test_a_form_that_is_not_possible_is_refused(
    shared: Path, tmp_path: Path, name: str, options: dict[str, Any], message: str
) -> None:
    data = np.zeros((8, 25, 10) if "gru" in name else (8, 28, 28), np.float32)
    with pytest.raises(UsageError, match=message):
        edgeq.convert(
            shared / name, tmp_path / "o.tflite", data=data, **{"lstm": "fused", **options}
        )
