from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgeq import timing
from edgeq.errors import DataError, UsageError
from edgeq.issues import make_issue
from edgeq.judging import QualityMeter, judge_comparison, require_comparable
from edgeq.values import (
    BenchOptions,
    BenchResult,
    BenchRun,
    DeviceFacts,
    FileRef,
    Interval,
    OutputQuality,
    PairedCounts,
    Quality,
    Ratio,
    RuntimeInfo,
    TensorSpec,
)

OUT = (TensorSpec("out", (1, 3), "float32"),)
SCORES = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4], [0.5, 0.25, 0.25]])


def measure(
    candidate: np.ndarray, labels: list[int] | None, baseline: np.ndarray = SCORES
) -> Quality:
    meter = QualityMeter(OUT)
    for part in (slice(None, 3), slice(3, None)):
        given = None if labels is None else np.array(labels)[part]
        meter.add({"out": baseline[part]}, {"out": candidate[part]}, given)
    return meter.result(is_held_out=True)


def test_identical_outputs_have_no_noise() -> None:
    quality = measure(SCORES, [0, 1, 2, 1])
    assert quality.outputs == (OutputQuality("out", float("inf"), 0.0, 0.0),)
    assert quality.agreement_percent == 100.0
    assert quality.baseline_accuracy_percent == quality.candidate_accuracy_percent == 75.0
    assert quality.sample_count == 4


def test_sqnr_is_over_all_samples_not_a_mean_of_batches() -> None:
    noisy = SCORES.copy()
    noisy[0, 0] += 0.1
    signal, error = float(np.sum(SCORES**2)), 0.01
    quality = measure(noisy, None)
    assert quality.outputs[0].sqnr_db == pytest.approx(10 * np.log10(signal / error))
    assert quality.outputs[0].mse == pytest.approx(error / 12)
    assert quality.outputs[0].max_error == pytest.approx(0.1)


def test_pairs_count_who_was_right() -> None:
    swapped = SCORES.copy()
    swapped[1] = [0.8, 0.1, 0.1]  # was right, is wrong
    swapped[3] = [0.1, 0.8, 0.1]  # was wrong, is right
    quality = measure(swapped, [0, 1, 2, 1])
    pairs = quality.paired
    assert pairs is not None
    assert (pairs.both_right, pairs.only_baseline, pairs.only_candidate, pairs.both_wrong) == (
        2,
        1,
        1,
        0,
    )
    assert quality.drop_points is not None
    assert quality.drop_points.value == 0.0


def test_agreement_is_not_given_for_outputs_that_are_no_scores() -> None:
    spectra = SCORES * 50 - 20
    assert measure(spectra, None, baseline=spectra).agreement_percent is None


def test_outputs_of_another_shape_are_another_model() -> None:
    meter = QualityMeter(OUT)
    with pytest.raises(DataError) as caught:
        meter.add({"out": SCORES}, {"out": SCORES[:, :2]}, None)
    assert str(caught.value) == (
        "Output 'out' has the shape (3,) in one model and (2,) in the other: these are two "
        "different models."
    )


def quality(drop: Interval | None, sqnr: float = 30.0, *, is_held_out: bool = True) -> Quality:
    output = OutputQuality("out", sqnr, 0.0, 0.0)
    labelled = (None, None, None) if drop is None else (90.0, 90.0, PairedCounts(80, 10, 10, 0))
    return Quality(100, is_held_out, (output,), None, *labelled, drop)


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        (quality(Interval(0.1, -0.3, 0.5)), "ship"),
        (quality(Interval(0.1, -2.0, 2.2)), "check"),
        (quality(Interval(3.0, 2.0, 4.0)), "no"),
        (quality(None), "check"),
        (quality(None, sqnr=9.0), "no"),
        (quality(Interval(0.1, -0.3, 0.5), is_held_out=False), "check"),
    ],
)
def test_the_verdict_follows_the_interval(given: Quality, verdict: str) -> None:
    found, reasons = judge_comparison(given, None)
    assert found == verdict
    assert reasons


def test_a_warning_about_the_comparison_is_no_ship() -> None:
    doubt = make_issue("compare.baseline_quantized", "The first model is quantized itself.")
    verdict, reasons = judge_comparison(quality(Interval(0.1, -0.3, 0.5)), None, [doubt])
    assert verdict == "check"
    assert reasons[-1] == "the baseline is quantized itself [compare.baseline_quantized]"


def test_two_models_that_guess_prove_nothing() -> None:
    labels = np.arange(100) % 4
    scores = np.eye(4)[(labels + 1) % 4]
    meter = QualityMeter(OUT)
    meter.add({"out": scores}, {"out": scores}, labels)
    verdict, reasons = judge_comparison(meter.result(is_held_out=True), None)
    assert verdict == "check"
    assert reasons[1] == (
        "the float model's own accuracy, 0.00 %, is not proven to be above chance (25 % for 4 "
        "classes): check labels and preprocessing"
    )


def test_accuracy_is_measured_on_the_output_that_has_the_classes() -> None:
    both = (TensorSpec("age", (1, 1), "float32"), TensorSpec("class", (1, 3), "float32"))
    meter = QualityMeter(both)
    outputs = {"age": np.full((4, 1), 30.0), "class": SCORES}
    meter.add(outputs, outputs, np.array([0, 1, 2, 1]))
    quality = meter.result(is_held_out=True)
    assert quality.scored_output == "class"
    assert quality.baseline_accuracy_percent == 75.0


def test_targets_that_look_like_classes_at_first_are_no_classes() -> None:
    meter = QualityMeter((TensorSpec("share", (1, 1), "float32"),))
    outputs = {"share": np.full((2, 1), 0.5)}
    meter.add(outputs, outputs, np.array([0, 1]))
    meter.add(outputs, outputs, np.array([1, 7]))
    assert meter.result(is_held_out=True).baseline_accuracy_percent is None


def test_integer_targets_of_a_regression_are_no_classes() -> None:
    meter = QualityMeter((TensorSpec("age", (1, 1), "float32"),))
    outputs = {"age": np.full((3, 1), 30.0)}
    meter.add(outputs, outputs, np.array([17, 30, 44]))
    assert meter.result(is_held_out=True).drop_points is None


RUN = BenchRun(
    FileRef("m.tflite", "", 1), RuntimeInfo("ai-edge-litert", "2.3.0"), 1, 1.0, 1.0, (), ((1.0,),),
    timing.summarize([1.0]), None, None, None, "valid", (),
)  # fmt: skip
FACTS = DeviceFacts("local", "Linux", "x86_64", "Xeon", 8, None, None, "3.11", ())
BENCH = BenchResult(FACTS, BenchOptions(), (RUN, RUN), (Ratio(2.0, 1.9, 2.1),))


def with_run(**changes: Any) -> BenchResult:
    other = replace(RUN, model=FileRef("other.tflite", "", 1), **changes)
    return replace(BENCH, runs=(other,), speedups=())


def test_latencies_of_the_same_conditions_are_comparable() -> None:
    require_comparable()
    require_comparable(BENCH)
    require_comparable(BENCH, with_run(init_ms=7.0))


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (with_run(threads=4), "threads 1 against 4"),
        (with_run(cores=(0, 2)), "cores as scheduled against 0, 2"),
        (with_run(runtime=RuntimeInfo("tflite-runtime", "2.14.0")),
         "runtime ai-edge-litert 2.3.0 against tflite-runtime 2.14.0"),
        (replace(with_run(), facts=replace(FACTS, device="pi")), "device local against pi"),
        (replace(with_run(), facts=replace(FACTS, cpu_model=None)),
         "processor Xeon against x86_64"),
    ],
)  # fmt: skip
def test_latencies_of_different_conditions_are_refused(other: BenchResult, difference: str) -> None:
    with pytest.raises(UsageError) as caught:
        require_comparable(BENCH, other)
    assert str(caught.value) == (
        f"The latencies of m.tflite and other.tflite cannot be compared: {difference}. Measure "
        "both in one edgeq bench."
    )


EMULATED = make_issue(
    "bench.emulated", "This device is emulated (QEMU): its latency means nothing."
)


def test_an_emulated_latency_is_compared_with_nothing() -> None:
    with pytest.raises(UsageError) as caught:
        require_comparable(with_run(issues=(EMULATED,), validity="invalid"))
    assert str(caught.value) == (
        "Latencies measured on local cannot be compared: This device is emulated (QEMU): its "
        "latency means nothing. [bench.emulated] Measure on a sound board; size and accuracy need "
        "no latency (tune --objective size, compare --no-latency)."
    )


def test_an_invalid_latency_gives_no_speed_up_and_no_ship() -> None:
    invalid = replace(RUN, issues=(EMULATED,), validity="invalid")
    bench = replace(BENCH, runs=(invalid, invalid), speedups=())
    verdict, reasons = judge_comparison(quality(Interval(0.1, -0.3, 0.5)), bench)
    assert verdict == "check"
    assert reasons[-1] == (
        "no speed-up, the latency figures are invalid: the processor is emulated [bench.emulated]"
    )
