"""Data may be sorted by class: what judges by a few samples must not take the first ones."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgeq import api
from edgeq.comparison.pairing import _find_beyond, _find_narrow, _Ways
from edgeq.conversion import selection
from edgeq.conversion.range_candidates import FEWEST, RangeCandidate
from edgeq.converters.lowering.framework_process import TensorFlowProcess
from edgeq.converters.samples.open_samples import open_samples
from edgeq.converters.samples.preprocessing import parse_preprocessing
from edgeq.files import storage
from edgeq.tuning import float_outputs
from edgeq.values import FloatModel, Ranges, TensorSpec
from tests.converters.rewrites.tiny_graphs import Builder

COUNT, WIDTH = 64, 4
X = TensorSpec("x", (1, WIDTH), "float32")
# The first half has class 0 and values around -1; the second one has class 1 and values around 3.
LABELS = np.repeat([0, 1], COUNT // 2)
WAYS = _Ways(could_stay=True, could_change=True)
NOISE = np.random.default_rng(0).normal(0, 0.3, (COUNT, WIDTH))
SORTED = (4.0 * LABELS[:, np.newaxis] - 1 + NOISE).astype(np.float32)


def has_both_classes(rows: Any) -> bool:
    return {bool(np.mean(row) > 1) for row in rows} == {False, True}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_the_statistics_at_a_normalization_are_those_of_spread_samples(
    tmp_path: Path, tensorflow: TensorFlowProcess
) -> None:
    """All samples together have mean 1 and variance 4, which neither of the classes has."""
    import keras

    entry = keras.Input((WIDTH,), name="x")
    learned = keras.layers.Normalization(mean=[1.0] * WIDTH, variance=[4.0] * WIDTH)(entry)
    keras.Model(entry, keras.layers.Dense(2)(learned)).save(tmp_path / "m.keras")
    codes = []
    # The second one can be read once only.
    for number, rows in enumerate((SORTED, (row for row in SORTED), SORTED[: COUNT // 2])):
        made = api.convert(
            tmp_path / "m.keras", tmp_path / f"{number}.tflite", data=rows, effort="fast",
            tensorflow=tensorflow,
        )  # fmt: skip
        codes.append({issue.code for issue in made.issues})
    assert ["data.statistics_shifted" in own for own in codes] == [False, False, True]


def test_layers_are_corrected_with_spread_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = Builder()
    path = tmp_path / "m.tflite"
    path.write_bytes(net.content(net.add("RELU", [net.input([1, WIDTH])], [1, WIDTH])))
    file = storage.refer(path)
    model = FloatModel(file, file, "tflite", "", (X,), (X,))
    item = RangeCandidate(model, Ranges("edgeq", "minmax", 1, (), ""), False, b"")
    given: list[Any] = []

    def correct(model: Any, content: bytes, samples: Any, *more: Any) -> Any:
        given.extend(sample["x"] for sample in samples)
        return content, ()

    monkeypatch.setattr(selection, "_MOST_BYTES", 1)
    ready: Any = nullcontext(SimpleNamespace(correct=correct))
    job: Any = SimpleNamespace(options=SimpleNamespace(effort="best"), on_progress=lambda *_: None)
    plan: Any = SimpleNamespace(samples=open_samples(SORTED, (X,)))
    selection._correct(job, plan, [item], ("bias",), range(COUNT), ready)
    assert len(given) == FEWEST and has_both_classes(given)


def test_tune_judges_on_test_samples_of_all_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(float_outputs, "_MOST_SAMPLES", 16)
    test = open_samples({"x": SORTED, "y": LABELS}, (X,))
    ready: Any = SimpleNamespace(
        plan=SimpleNamespace(test=test),
        model=SimpleNamespace(inputs=(X,)),
        job=SimpleNamespace(options=SimpleNamespace(seed=0)),
    )
    used, indices = float_outputs._to_judge_on(ready)
    assert len(indices) == 16
    assert {sample.label for sample in used.iterate(indices)} == {0, 1}


def test_what_an_input_is_fed_is_judged_by_samples_of_all_classes() -> None:
    dark_first = np.where(LABELS[:, np.newaxis] == 0, 0.01, 1.0) * np.abs(NOISE)
    stored = TensorSpec("x", (1, WIDTH), "int8", (1 / 255,), (-128,))
    candidate: Any = SimpleNamespace(inputs=(stored,), input_names={"x": "x"})
    fed = parse_preprocessing(["scale=1"], (X,))
    found = [
        list(_find_narrow(candidate, open_samples(rows.astype(np.float32), (X,)), fed, True, WAYS))
        for rows in (dark_first, dark_first[: COUNT // 2])
    ]
    assert [len(issues) for issues in found] == [0, 1]


@pytest.mark.parametrize(
    ("rows", "high", "is_beyond"),
    [(SORTED, 0.0, True), (np.concatenate([[[90.0] * WIDTH], SORTED]), 4.0, False)],
)
def test_values_beyond_a_range_are_those_of_most_samples(
    rows: Any, high: float, is_beyond: bool
) -> None:
    """The first sample is inside, and most are not; or it is the only one beyond."""
    stored = TensorSpec(
        "x", (1, WIDTH), "int8", ((high + 2) / 255,), (-128 + round(510 / (high + 2)),)
    )
    candidate: Any = SimpleNamespace(inputs=(stored,), input_names={"x": "x"})
    found = _find_beyond(candidate, open_samples(rows.astype(np.float32), (X,)), is_declared=True)
    assert [issue.code for issue in found] == ["data.range_mismatch"] * is_beyond
