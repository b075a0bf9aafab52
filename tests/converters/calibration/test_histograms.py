"""Small histograms of what calibration saw, for records."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from edgeq import api, models
from edgeq.converters.calibration import histograms
from edgeq.converters.calibration.statistics import BINS, Statistics, bin_numbers, make_ranges
from edgeq.records.reading import read_record
from edgeq.values import Histogram, TensorRange


def seen(*tensors: np.ndarray) -> Statistics:
    """The statistics that the pass would keep for these values."""
    rows = np.stack([np.bincount(bin_numbers(values), minlength=BINS) for values in tensors])
    low, high = (np.array([edge(values) for values in tensors], float) for edge in (np.min, np.max))
    indices = tuple(range(len(tensors)))
    names = tuple(f"t{index}" for index in indices)
    return Statistics(1, indices, names, low, high, low, high, rows, {}, {})


def compact(
    *tensors: np.ndarray, limits: dict[int, tuple[float, float]] | None = None
) -> tuple[Histogram, ...]:
    statistics = seen(*tensors)
    edges = [(limits or {}).get(i, (-1e9, 1e9)) for i in statistics.indices]
    ranges = [TensorRange(i, f"t{i}", *edge) for i, edge in enumerate(edges)]
    return histograms.compact(statistics, make_ranges("minmax", 1, tuple(ranges)))


def test_counts_are_those_of_equal_bins() -> None:
    values = np.random.default_rng(0).normal(3, 2, 200_000).astype(np.float32)
    (found,) = compact(values)
    expected, _ = np.histogram(values, histograms.BINS, (values.min(), values.max()))
    assert sum(found.counts) == len(values)
    # A fine bin across a border is shared out as if its values lay evenly.
    assert np.abs(np.array(found.counts) - expected).max() < 0.02 * expected.max()
    assert (found.minimum, found.maximum) == (values.min(), values.max())


def test_the_zeros_of_a_relu_stay_together_and_a_constant_has_one_bin() -> None:
    values = np.maximum(np.random.default_rng(0).normal(0, 1, 10_000), 0).astype(np.float32)
    relu, constant = compact(values, np.zeros(7, np.float32))
    assert relu.counts[0] >= (values == 0).sum() and sum(relu.counts) == len(values)
    assert constant.counts == (7,)


def test_of_many_tensors_those_that_are_cut_most_are_kept() -> None:
    values = np.linspace(-1, 1, 1001, dtype=np.float32)
    many = [values] * (histograms.MOST + 3)
    found = compact(*many, limits={5: (-0.5, 0.5), histograms.MOST + 2: (-0.1, 0.1)})
    assert len(found) == histograms.MOST
    kept = [item.index for item in found]
    assert kept == sorted(kept) and {5, histograms.MOST + 2} <= set(kept)


def test_a_conversion_keeps_them_and_its_record_stays_small(int8_mobilenet: Path) -> None:
    path = Path(f"{int8_mobilenet}.json")
    model = read_record(path).value.model
    assert {item.index for item in model.histograms} == {t.index for t in model.ranges.tensors}
    assert all(len(item.counts) in {1, histograms.BINS} for item in model.histograms)
    assert path.stat().st_size < 100_000
    assert json.loads(path.read_text())["model"]["histograms"][0]["counts"]


def test_a_fast_conversion_has_none(tmp_path: Path) -> None:
    done = api.convert(
        models.path("fmnist_cnn.keras"),
        tmp_path / "m.tflite",
        data=models.path("fashion_mnist_calibration.npz"),
        effort="fast",
    )
    assert done.model.histograms == ()
