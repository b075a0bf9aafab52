from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgeq import timing
from edgeq.accuracy.quality_meter import QualityMeter
from edgeq.accuracy.verdict import (
    device_of,
    doubt_of_parts,
    find_lost,
    float_doubts,
    judge_comparison,
    output_sqnr_db,
    require_comparable,
    total_sqnr_db,
    unproven_budget,
    worst_part,
    worst_sqnr_db,
)
from edgeq.errors import DataError, UsageError
from edgeq.issues import make_issue
from edgeq.values import (
    BenchOptions,
    BenchResult,
    BenchRun,
    Comparison,
    DataRef,
    DeviceFacts,
    FileRef,
    Interval,
    LostColumn,
    OutputQuality,
    PairedCounts,
    PartQuality,
    Quality,
    Ratio,
    RuntimeInfo,
    Sustained,
    TensorSpec,
)

NAN, INF = float("nan"), float("inf")
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
    (output,) = quality.outputs
    assert replace(output, parts=()) == OutputQuality("out", float("inf"), 0.0, 0.0)
    assert [part.sqnr_db for part in output.parts] == [float("inf")]
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


def test_the_drop_is_known_before_the_result() -> None:
    turned = np.roll(SCORES, 1, axis=1)
    meter = QualityMeter(OUT)
    assert meter.drop() is None
    meter.add({"out": SCORES}, {"out": turned}, None)
    assert meter.drop() is None
    meter = QualityMeter(OUT)
    meter.add({"out": SCORES}, {"out": turned}, np.array([0, 1, 2, 0]))
    found = meter.drop()
    assert found is not None and found.value == 100
    assert found == meter.result(is_held_out=True).drop_points


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
        (quality(Interval(0.5, 0.1, 1.0)), "ship"),  # within 1 point
        (quality(Interval(0.5, 0.1, 1.01)), "check"),
        (quality(Interval(1.5, 1.0, 2.0)), "check"),
        (quality(Interval(1.5, 1.01, 2.0)), "no"),
        (quality(Interval(-3.0, -4.0, -2.0)), "ship"),  # better than the float model
        (quality(Interval(3.0, 2.0, 4.0), is_held_out=False), "no"),
        (quality(Interval(0.1, -0.3, 0.5), sqnr=-20.0), "ship"),  # labels excuse it
        (quality(None, sqnr=10.0), "check"),
        (quality(None, sqnr=9.99), "no"),
        (quality(None, sqnr=float("inf")), "check"),
        (quality(None, sqnr=float("-inf")), "no"),
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


@pytest.mark.parametrize("sqnrs", [(NAN, 40.0), (40.0, NAN), (40.0, NAN, 9.0), (NAN,)])
def test_an_output_that_older_records_call_nan_is_the_worst(sqnrs: tuple[float, ...]) -> None:
    outputs = tuple(OutputQuality(f"o{n}", sqnr, 0.0, 0.0) for n, sqnr in enumerate(sqnrs))
    given = replace(quality(None), outputs=outputs)
    assert worst_sqnr_db(given) == -INF
    assert judge_comparison(given, None)[0] == "no"


@pytest.mark.parametrize("sqnrs", [(40.0, 9.0), (9.0, 40.0), (40.0, 9.0, 30.0)])
def test_the_worst_output_decides(sqnrs: tuple[float, ...]) -> None:
    outputs = tuple(OutputQuality(f"o{n}", sqnr, 0.0, 0.0) for n, sqnr in enumerate(sqnrs))
    given = replace(quality(None), outputs=outputs)
    assert worst_sqnr_db(given) == 9.0
    assert judge_comparison(given, None) == (
        "no",
        ("no class labels, so accuracy is unknown; the outputs' SQNR is 9.0 dB, below 10 dB",),
    )


def test_each_output_has_its_own_noise() -> None:
    meter = QualityMeter(
        (TensorSpec("good", (1, 2), "float32"), TensorSpec("bad", (1, 2), "float32"))
    )
    wanted, given = np.array([[3.0, 4.0]]), np.array([[3.0, 4.5]])
    meter.add({"good": wanted, "bad": wanted}, {"good": wanted, "bad": given}, None)
    meter.add({"good": wanted, "bad": wanted}, {"good": wanted, "bad": wanted}, None)
    found = meter.result(is_held_out=True)
    good, bad = found.outputs
    assert replace(good, parts=()) == OutputQuality("good", float("inf"), 0.0, 0.0)
    # 50 of signal, 0.25 of error, over 4 values; the largest error is the first batch's.
    assert bad.sqnr_db == pytest.approx(10 * np.log10(200))
    assert (bad.mse, bad.max_error) == (0.0625, 0.5)
    assert worst_sqnr_db(found) == bad.sqnr_db


@pytest.mark.parametrize(
    ("wanted", "given", "sqnr", "largest"),
    [
        ([3.0, 4.0], [NAN, 4.0], -INF, INF),
        ([3.0, 4.0], [3.0, INF], -INF, INF),
        ([3.0, 4.0], [-INF, NAN], -INF, INF),
        # What the float model itself has not in numbers must come out the same.
        ([NAN, 4.0], [NAN, 4.0], INF, 0.0),
        ([INF, 4.0], [INF, 4.0], INF, 0.0),
        ([-INF, 4.0], [-INF, 4.4], 20.0, 0.4),
        ([INF, 4.0], [-INF, 4.0], -INF, INF),
        ([INF, 4.0], [3.4e38, 4.0], -INF, INF),
        ([NAN, 4.0], [0.0, 4.0], -INF, INF),
    ],
)
def test_what_is_not_finite_is_no_quality(
    wanted: list[float], given: list[float], sqnr: float, largest: float
) -> None:
    good = np.array([[3.0, 4.0]])
    for names in (("bad", "good"), ("good", "bad")):
        meter = QualityMeter([TensorSpec(name, (1, 2), "float32") for name in names])
        meter.add({"bad": np.array([wanted]), "good": good},
                  {"bad": np.array([given]), "good": good}, None)  # fmt: skip
        meter.add({"bad": good, "good": good}, {"bad": good, "good": good}, None)
        found = meter.result(is_held_out=True)
        (bad,) = (output for output in found.outputs if output.name == "bad")
        assert worst_sqnr_db(found) == bad.sqnr_db
        assert bad.max_error == pytest.approx(largest)
        if np.isfinite(sqnr):  # 16 and 25 of signal, 0.16 of error
            sqnr = 10 * np.log10(41 / 0.16)
        assert bad.sqnr_db == pytest.approx(sqnr)
        verdict, _ = judge_comparison(found, None)
        assert verdict == ("no" if sqnr == -INF else "check")


def test_scores_that_are_nan_name_no_class() -> None:
    nothing = np.full((4, 3), NAN)
    quality = measure(nothing, [0, 0, 2, 0])
    assert (quality.candidate_accuracy_percent, quality.agreement_percent) == (0.0, 0.0)
    assert quality.baseline_accuracy_percent == 75.0
    one = SCORES.copy()
    one[0, 1] = NAN  # it has the largest score still
    assert measure(one, [0, 1, 2, 0]).candidate_accuracy_percent == 75.0
    meter = QualityMeter((TensorSpec("p", (1, 1), "float32"),))
    meter.add({"p": np.array([[0.1], [0.2]])}, {"p": np.array([[NAN], [0.3]])}, np.array([0, 0]))
    found = meter.result(is_held_out=True)
    assert (found.baseline_accuracy_percent, found.candidate_accuracy_percent) == (100.0, 50.0)


def guessing(right: int, count: int, classes: int) -> Quality:
    """A float model that is right so often, and a result that is the same."""
    return replace(
        quality(Interval(0.1, -0.3, 0.5)), sample_count=count, class_count=classes,
        baseline_accuracy_percent=100 * right / count,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("right", "count", "classes", "is_doubted"),
    [
        (27, 100, 4, True),
        (60, 100, 4, False),
        # Wilson's lower end of 33 and 34 of 100 is 24.6 and 25.5 %, chance is 25 %.
        (33, 100, 4, True),
        (34, 100, 4, False),
        (25, 100, 4, True),
        (0, 100, 4, True),
        # Twice chance is no guessing, however few the samples are.
        (4, 8, 4, False),
        (3, 8, 4, True),
        (1, 5, 10, False),
        (53, 100, 2, True),
        (61, 100, 2, False),
        # Wilson's lower end is 25.002 %, a hair above chance; 33.15 % is a hair below 33.33 %.
        (24, 68, 4, False),
        (278, 1000, 4, False),
        (276, 1000, 4, True),
        (15, 30, 3, True),
        # 15 % is a hair below twice chance, 15.38 %.
        (3, 20, 13, True),
    ],
)
def test_a_float_model_a_hair_above_chance_is_doubted(
    right: int, count: int, classes: int, is_doubted: bool
) -> None:
    given = guessing(right, count, classes)
    assert bool(float_doubts(given)) == is_doubted
    assert judge_comparison(given, None)[0] == ("check" if is_doubted else "ship")
    lost = replace(given, drop_points=Interval(3.0, 2.0, 4.0))
    assert judge_comparison(lost, None)[0] == "no"  # a doubt makes nothing better


def test_without_labels_chance_is_not_known() -> None:
    assert float_doubts(quality(None)) == ()
    assert float_doubts(replace(guessing(27, 100, 4), class_count=None)) == ()


def test_a_budget_is_proven_by_the_upper_end() -> None:
    given = quality(Interval(0.5, -0.5, 1.5))
    assert unproven_budget(given, 1.5) is None
    assert unproven_budget(given, None) is None
    assert unproven_budget(quality(None), 1.0) is None
    assert unproven_budget(given, 1.49) == (
        "The drop is 0.50 points on 100 samples, with a 95 % interval up to 1.50: more samples are "
        "needed to prove 1.49."
    )


def test_a_warning_about_the_comparison_is_no_ship() -> None:
    doubt = make_issue("compare.baseline_quantized", "The first model is quantized itself.")
    verdict, reasons = judge_comparison(quality(Interval(0.1, -0.3, 0.5)), None, [doubt])
    assert verdict == "check"
    assert reasons[-1] == "the baseline is itself quantized [compare.baseline_quantized]"


def test_two_models_that_guess_prove_nothing() -> None:
    labels = np.arange(100) % 4
    scores = np.eye(4)[np.arange(100) // 4 % 4]
    meter = QualityMeter(OUT)
    meter.add({"out": scores}, {"out": scores}, labels)
    verdict, reasons = judge_comparison(meter.result(is_held_out=True), None)
    assert verdict == "check"
    assert reasons[1] == (
        "The float model's own accuracy, 25.00 %, is not proven to be above chance (25 % for 4 "
        "classes): check the order of the classes, and the colours and the scale (--preprocess "
        "channels=bgr, scale=1/255)"
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
    timing.summarize([[1.0]]), None, None, None, "valid", (),
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
        (with_run(sustained=Sustained(600, 60, (), RUN.latency, RUN.latency, 1.0, None, ())),
         "run in bursts against sustained"),
    ],
)  # fmt: skip
def test_latencies_of_different_conditions_are_refused(other: BenchResult, difference: str) -> None:
    with pytest.raises(UsageError) as caught:
        require_comparable(BENCH, other)
    assert str(caught.value) == (
        f"The latencies of m.tflite and other.tflite cannot be compared: {difference}. Measure "
        "both in one edgeq bench."
    )


def test_two_runs_of_two_results_are_compared() -> None:
    with pytest.raises(UsageError, match="threads 4 against 1"):
        require_comparable(with_run(threads=4), with_run())


EMULATED = make_issue(
    "bench.emulated", "This device is emulated (QEMU): its latency is meaningless."
)


@pytest.mark.parametrize(
    ("ratio", "verdict", "reason"),
    [
        (Ratio(2.0, 1.9, 2.1), "ship", "speed-up 2.00x (95 % interval 1.90 to 2.10)"),
        (Ratio(1.0, 0.9, 1.1), "ship",
         "no difference in latency: 1.00x (95 % interval 0.90 to 1.10)"),
        (Ratio(0.5, 0.4, 0.6), "check",
         "the candidate is slower on this device: 0.50x (95 % interval 0.40 to 0.60)"),
    ],
)  # fmt: skip
def test_a_slower_candidate_is_no_ship(ratio: Ratio, verdict: str, reason: str) -> None:
    bench = replace(BENCH, speedups=(ratio,))
    found, reasons = judge_comparison(quality(Interval(0.1, -0.3, 0.5)), bench)
    said = next(item for item in reasons if "95 % interval" in item and "x (" in item)
    assert (found, said) == (verdict, reason)
    assert judge_comparison(quality(Interval(3.0, 2.0, 4.0)), bench)[0] == "no"


@pytest.mark.parametrize(
    ("features", "device", "reason"),
    [
        (("ssse3", "avx2", "fma"), "local",
         "the processor has no dot product instructions (VNNI or AMX): without them INT8 is not "
         "much faster than FP32, and often slower; measure on the device that will run it"),
        (("asimd",), "pi4",
         "the processor has no dot product instructions (asimddp): without them INT8 is not "
         "much faster than FP32, and often slower; measure on the device that will run it"),
        (("avx2", "avx512_vnni"), "local",
         "the operators that take the time: edgeq profile m.tflite m.tflite"),
        ((), "pi4",
         "the operators that take the time: edgeq profile m.tflite m.tflite --device pi4"),
    ],
)  # fmt: skip
def test_a_candidate_that_is_not_faster_says_why(
    features: tuple[str, ...], device: str, reason: str
) -> None:
    facts = replace(FACTS, cpu_features=features, device=device)
    for ratio in (Ratio(1.0, 0.9, 1.1), Ratio(0.67, 0.6, 0.7)):
        bench = replace(BENCH, facts=facts, speedups=(ratio,))
        assert judge_comparison(quality(Interval(0.1, -0.3, 0.5)), bench)[1][-1] == reason
    _, reasons = judge_comparison(
        quality(Interval(0.1, -0.3, 0.5)), replace(bench, speedups=(Ratio(1.2, 1.1, 1.3),))
    )
    assert reason not in reasons
    _, others = judge_comparison(quality(Interval(0.1, -0.3, 0.5)), bench, is_int8=False)
    assert others[-1].startswith("the operators that take the time: edgeq profile m.tflite")


def test_one_degraded_run_of_two_is_no_ship() -> None:
    noisy = replace(RUN, issues=(make_issue("bench.noisy", "It is."),), validity="degraded")
    for runs in ((noisy, RUN), (RUN, noisy)):
        verdict, reasons = judge_comparison(
            quality(Interval(0.1, -0.3, 0.5)), replace(BENCH, runs=runs)
        )
        assert verdict == "check"
        assert reasons[-1].startswith("the latency figures are degraded: ")
        assert reasons[-1].endswith(" [bench.noisy]")


def test_older_records_tell_the_device_with_their_latencies() -> None:
    file = FileRef("m.tflite", "", 1)
    data = DataRef("d.npz", "npz", "", 1, has_labels=False)
    comparison = Comparison(file, file, data, quality(None), (), (), 1.0, BENCH, "check", ())
    assert device_of(comparison) == "local"
    assert device_of(replace(comparison, bench=None)) is None
    assert device_of(replace(comparison, device="pi")) == "pi"


def test_an_emulated_latency_is_compared_with_nothing() -> None:
    with pytest.raises(UsageError) as caught:
        require_comparable(with_run(issues=(EMULATED,), validity="invalid"))
    assert str(caught.value) == (
        "Latencies measured on local cannot be compared: This device is emulated (QEMU): its "
        "latency is meaningless. [bench.emulated] Measure on a healthy board; size and accuracy "
        "need no latency (tune --objective size, compare --no-latency)."
    )


def test_an_invalid_latency_gives_no_speed_up_and_no_ship() -> None:
    invalid = replace(RUN, issues=(EMULATED,), validity="invalid")
    bench = replace(BENCH, runs=(invalid, invalid), speedups=())
    verdict, reasons = judge_comparison(quality(Interval(0.1, -0.3, 0.5)), bench)
    assert verdict == "check"
    assert reasons[-1] == (
        "no speed-up, the latency figures are invalid: the processor is emulated [bench.emulated]"
    )


# ---------------------------------------------------------------- what two outputs agree on


@pytest.mark.parametrize(
    ("scores", "agreement"),
    [
        ([[0.6, 0.4], [0.3, 0.7]], 100.0),
        ([[0.61, 0.4], [0.3, 0.7]], 100.0),  # sums to 1 as rounded integers do
        ([[0.63, 0.4], [0.33, 0.7]], None),
        ([[0.6, 0.4], [1.1, -0.1]], None),
        ([[1.0], [1.0]], None),
    ],
)
def test_without_labels_agreement_is_of_probabilities(
    scores: list[list[float]], agreement: float | None
) -> None:
    four = np.array(scores * 2)
    assert measure(four, None, baseline=four).agreement_percent == agreement


def test_agreement_is_of_all_samples_or_not_given() -> None:
    """The fourth sample is a batch of its own, which looks like probabilities."""
    scores = np.array([[0.63, 0.4], [0.3, 0.7], [0.63, 0.4], [0.3, 0.7]])
    assert measure(scores, None, baseline=scores).agreement_percent is None
    assert measure(scores[::-1], None, baseline=scores[::-1]).agreement_percent is None


def test_agreement_is_of_the_class_either_way() -> None:
    turned = SCORES[:, [1, 0, 2]]
    for ours, theirs in ((SCORES, turned), (turned, SCORES)):
        assert measure(theirs, None, baseline=ours).agreement_percent == 25.0


def test_an_image_of_scores_is_no_vector() -> None:
    image = np.full((4, 2, 2, 3), 1 / 12)
    assert measure(image, None, baseline=image).agreement_percent is None
    row = SCORES.reshape(4, 1, 1, 3)
    assert measure(row, [0, 1, 2, 1], baseline=row).agreement_percent == 100.0


def test_one_score_has_two_classes_with_a_threshold_of_one_half() -> None:
    ours, theirs = np.array([[0.6], [0.5], [0.9], [0.1]]), np.array([[0.6], [0.6], [0.4], [0.2]])
    found = measure(theirs, [1, 0, 1, 1], baseline=ours)
    assert (found.class_count, found.scored_output, found.agreement_percent) == (2, "out", 50.0)
    assert (found.baseline_accuracy_percent, found.candidate_accuracy_percent) == (75.0, 25.0)
    assert found.paired == PairedCounts(1, 2, 0, 1)


def test_without_samples_there_is_no_error() -> None:
    assert QualityMeter(OUT).result(is_held_out=True) == Quality(
        0, True, (OutputQuality("out", float("inf"), 0.0, 0.0),), None, None, None, None, None
    )


def test_nothing_makes_a_no_better() -> None:
    lost = quality(Interval(3.0, 2.0, 4.0))
    invalid = replace(BENCH, runs=(replace(RUN, issues=(EMULATED,), validity="invalid"),),
                      speedups=())  # fmt: skip
    degraded = replace(BENCH, runs=(replace(RUN, validity="degraded"),))
    doubt = make_issue("compare.baseline_quantized", "The first model is quantized itself.")
    for bench, issues in ((invalid, ()), (degraded, ()), (None, [doubt])):
        assert judge_comparison(lost, bench, issues)[0] == "no"
    good = quality(Interval(0.1, -0.3, 0.5))
    remark = replace(doubt, severity="info")
    assert judge_comparison(good, None, [remark]) == judge_comparison(good, None)


# ---------------------------------------------------------------- parts


def parted(*parts: PartQuality, labels: bool = False) -> Quality:
    output = OutputQuality("y", 41.0, 1.0, 1.0, parts)
    counts = PairedCounts(900, 0, 0, 100)
    if labels:
        return Quality(1000, True, (output,), 100.0, 90.0, 90.0, counts,
                       Interval(0.0, -0.1, 0.1), "y", 10)  # fmt: skip
    return Quality(1000, True, (output,), None, None, None, None, None)


BOXES, SCORES_LOST = (
    PartQuality("y[:, 0:4]", 45.0, 180.0, 2.5, True),
    PartQuality("y[:, 4:7]", -1.9, 0.462, 0.004, True),
)
CLASS_LOST = PartQuality("y", 31.0, 0.2, 0.004, True, (LostColumn("y[:, 3]", -0.5, 0.1),))


@pytest.mark.parametrize("labels", [False, True])
def test_a_lost_part_or_column_is_no_whatever_the_rest_is(labels: bool) -> None:
    verdict, reasons = judge_comparison(parted(BOXES, SCORES_LOST, labels=labels), None)
    assert (verdict, reasons[0]) == (
        "no", "y[:, 4:7] is lost: its values vary by 0.462, the error is 0.575 (-1.9 dB)"
    )  # fmt: skip
    verdict, reasons = judge_comparison(parted(CLASS_LOST, labels=labels), None)
    assert (verdict, reasons[0]) == (
        "no", "y[:, 3] is lost: its values vary by 0.1, the error is 0.106 (-0.5 dB)"
    )  # fmt: skip
    assert judge_comparison(parted(BOXES, labels=True), None)[0] == "ship"


def test_labels_tell_more_of_a_whole_output_than_its_figure() -> None:
    low = PartQuality("y", 8.0, 0.2, 0.004, True)
    assert judge_comparison(parted(low, labels=True), None)[0] == "ship"
    assert judge_comparison(parted(low), None)[0] == "no"


def test_the_worst_part_is_the_figure() -> None:
    quality = parted(BOXES, SCORES_LOST)
    assert worst_part(quality) == SCORES_LOST
    assert (worst_sqnr_db(quality), total_sqnr_db(quality)) == (-1.9, 41.0)
    constant = parted(PartQuality("y", None, 0.0, 0.0, True))
    assert worst_part(constant) is None
    assert worst_sqnr_db(constant) == 41.0
    assert worst_sqnr_db(parted()) == 41.0  # a record of 0.1


def test_the_figure_of_an_output_is_that_of_its_worst_part() -> None:
    constant = PartQuality("y[:, 7]", None, 0.0, 0.0, True)
    for parts, figure in (
        ((BOXES, SCORES_LOST, constant), -1.9), ((SCORES_LOST, BOXES), -1.9), ((constant,), None),
        ((), 41.0),
    ):  # fmt: skip
        (output,) = parted(*parts).outputs
        assert output_sqnr_db(output) == figure


def test_what_is_lost_most_is_named_first() -> None:
    columns = (LostColumn("y[:, 1]", 3.0, 0.1), LostColumn("y[:, 2]", -INF, 0.1))
    found = find_lost(parted(replace(CLASS_LOST, where="y[:, 0:4]", lost=columns), SCORES_LOST))
    assert [text.partition(" is lost: ")[0] for text in found] == [
        "y[:, 2]",
        "y[:, 4:7]",
        "y[:, 1]",
    ]
    assert found[0].endswith("vary by 0.1, and the candidate's are NaN or infinite")


@pytest.mark.parametrize(
    ("part", "why"),
    [
        (PartQuality("y", None, 0.0, 0.0, True), "do not vary on these samples"),
        (PartQuality("y", 5.0, 1.0, 0.1, False), "samples are too few to know how far"),
    ],
)
def test_what_is_not_known_is_no_verdict(part: PartQuality, why: str) -> None:
    verdict, reasons = judge_comparison(parted(part, labels=True), None)
    assert verdict == "check"
    assert any(why in reason for reason in reasons)
    assert judge_comparison(parted(part), None)[0] == "check"


def test_steps_and_numbers_are_counted() -> None:
    spec = TensorSpec("out", (1, 3), "int8", (0.1,), (0,))
    meter = QualityMeter(OUT, candidates={"out": spec})
    ours = np.array([[0.0, 0.1, 0.3], [math.nan, 0.1, math.inf]])
    meter.add({"out": ours}, {"out": np.array([[0.0, 0.1, 0.3], [0.3, 0.1, 0.2]])}, None)
    (output,) = meter.result(is_held_out=True).outputs
    assert (output.steps_used, output.step_count, output.not_finite) == (4, 256, 2)
    few = QualityMeter(OUT, candidates={"out": spec})
    few.add({"out": ours[:1]}, {"out": np.array([[0.1, 0.1, 0.2]])}, None)
    assert few.result(is_held_out=True).outputs[0].steps_used == 2  # 0 is not among them
    for dtype in ("float32", "int32"):  # without a scale
        plain = QualityMeter(OUT, candidates={"out": TensorSpec("out", (1, 3), dtype)})
        plain.add({"out": ours}, {"out": ours}, None)
        (output,) = plain.result(is_held_out=True).outputs
        assert (output.steps_used, output.step_count) == (None, None)
    doubt = doubt_of_parts(plain.result(is_held_out=True))
    assert doubt == "2 of the float model's values of out are NaN or infinite"
