"""Accuracy and output quality of a candidate and its baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from edgeq.values.bounds import SOME, Percent, Positive, Validity, Verdict, require
from edgeq.values.conversion import Certificate, ConvertOptions, FloatModel, TfliteModel
from edgeq.values.data import DataRef
from edgeq.values.files import FileRef, Issue
from edgeq.values.running import BenchResult, RuntimeInfo
from edgeq.values.showing import Shown, bounded


@bounded
@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval, all in the same unit."""

    value: float
    low: float
    high: float


@bounded
@dataclass(frozen=True)
class MetricValue:
    """A task metric with its unit ("percent", "" for a plain number) and direction.

    Attributes:
        interval: in the same unit; None for the user's own function, and in records of edgeq 0.1.
    """

    name: str
    value: float
    unit: str
    is_higher_better: bool
    interval: Interval | None = None


@bounded
@dataclass(frozen=True)
class MetricLoss:
    """How much worse the candidate is than the baseline by a metric, on the same samples.

    Attributes:
        name, unit: of the metric; the loss of one in per cent is in percentage points.
        loss: positive is worse, whatever the metric's direction; the interval is paired.
    """

    name: str
    unit: str
    loss: Interval


@bounded
@dataclass(frozen=True)
class MetricPair:
    """A metric of both models on the same samples.

    Attributes:
        loss: None for the user's own function.
    """

    baseline: MetricValue
    candidate: MetricValue
    loss: MetricLoss | None


@bounded
@dataclass(frozen=True)
class Evaluation(Shown):
    """One model's accuracy on one data set.

    Attributes:
        interval: of the first metric, in its unit; None for the user's own function.
        preprocessing: `--preprocess` texts for its samples.
        decoding: `--decode` text for its outputs; None if they are judged as they are.
        device: that the samples ran on, as the user named it; None in records older than this
            field.
        processor: of that device, see `DeviceFacts`; None in records older than this field.
    """

    model: FileRef
    data: DataRef
    sample_count: int
    runtime: RuntimeInfo
    metrics: tuple[MetricValue, ...]
    interval: Interval | None
    preprocessing: tuple[str, ...] = ()
    issues: tuple[Issue, ...] = ()
    device: str | None = None
    processor: str | None = None
    decoding: str | None = None


@bounded
@dataclass(frozen=True)
class PairedCounts:
    """Samples by which model was right: baseline (FP32), candidate (INT8), both or neither."""

    both_right: int
    only_baseline: int
    only_candidate: int
    both_wrong: int


@bounded
@dataclass(frozen=True)
class LostColumn:
    """A column of a part, or a slice of it, whose variation the candidate has lost.

    Attributes:
        where: the output, indexed as in Python, e.g. "scores[:, 3]"; the batch is the first axis.
        sqnr_db: around the column's mean, see `PartQuality`.
        spread: standard deviation of the baseline's values, in the output's units.
    """

    where: str
    sqnr_db: float
    spread: Annotated[float, Meta(ge=0)]


@bounded
@dataclass(frozen=True)
class PartQuality:
    """Error of a part: values of one output that mean the same and have a similar range.

    Attributes:
        where: the output, indexed as in Python, e.g. "pred[:, 4:7]"; only its name for the whole
            output.
        sqnr_db: 10 log10(S / E), where S is the sum of squared deviations of the baseline from the
            mean of each column, E that of squared errors; inf when identical, None when the
            baseline does not vary.
        spread: root mean square of those deviations, in the output's units.
        step: of an 8-bit tensor with only this part, in the output's units.
        is_known: False when a column has too few values to know its spread.
        lost: columns and slices that vary by more than a step and are lost, the worst first.
    """

    where: str
    sqnr_db: float | None
    spread: Annotated[float, Meta(ge=0)]
    step: float
    is_known: bool
    lost: tuple[LostColumn, ...] = ()


@bounded
@dataclass(frozen=True)
class OutputQuality:
    """Error of one output of the candidate against the baseline's, over all samples.

    Attributes:
        sqnr_db: 10 log10(sum of squares of the baseline / sum of squares of the error) over all
            values; inf when identical. Errors of small parts do not show in it: the verdict is
            based on `parts`.
        mse: mean squared error in the output's units squared.
        max_error: largest absolute error.
        parts: see `edgeq.accuracy.parts`; empty in records of edgeq 0.1.
        steps_used, step_count: number of different values that the candidate gave, and that its
            integers can have; None for float outputs, and in records of 0.1.
        not_finite: values of the baseline that are NaN or infinite.
    """

    name: str
    sqnr_db: float
    mse: float
    max_error: float
    parts: tuple[PartQuality, ...] = ()
    steps_used: int | None = None
    step_count: int | None = None
    not_finite: int = 0


@bounded
@dataclass(frozen=True)
class Quality:
    """The candidate's outputs and accuracy against the baseline's on the same samples.

    Attributes:
        sample_count: samples compared.
        is_held_out: False when the samples also served for calibration.
        outputs: one entry per output.
        agreement_percent: share of samples with the same top-1; None when it does not apply.
        baseline_accuracy_percent, candidate_accuracy_percent: top-1; None without labels.
        paired: samples by which model was right; None without labels.
        drop_points: accuracy lost in percentage points, with its paired interval; None without
            labels.
        scored_output: name of the output that accuracy was measured on.
        class_count: of that output.
        renamed_accuracy_percent: the baseline's accuracy if its classes are renamed one to one;
            None unless it is proven to be higher, so the labels have another order of classes.
        metrics: of the task, in the requested order; empty if none was requested, and in the record
            of `compare`, which has them beside the quality.
    """

    sample_count: Positive
    is_held_out: bool
    outputs: Annotated[tuple[OutputQuality, ...], SOME]
    agreement_percent: float | None
    baseline_accuracy_percent: Percent | None
    candidate_accuracy_percent: Percent | None
    paired: PairedCounts | None
    drop_points: Interval | None
    scored_output: str | None = None
    class_count: Positive | None = None
    renamed_accuracy_percent: Percent | None = None
    metrics: tuple[MetricPair, ...] = ()

    def __post_init__(self) -> None:
        labelled = (
            self.baseline_accuracy_percent, self.candidate_accuracy_percent, self.paired,
            self.drop_points,
        )  # fmt: skip
        require(
            len({part is None for part in labelled}) == 1,
            "both accuracies, their pairs and the drop must all be present or all be missing",
        )


@bounded
@dataclass(frozen=True)
class WayOut:
    """A conversion that was tried because a result had lost a part of the outputs.

    Attributes:
        command: its command line.
        sqnr_db: of the outputs' worst part with it; None when it gave no file.
        keeps: whether no part of the outputs is lost with it.
    """

    command: str
    sqnr_db: float | None
    keeps: bool


@bounded
@dataclass(frozen=True)
class Comparison(Shown):
    """FP32 compared with INT8; reports are made from it.

    Attributes:
        bench: baseline first, then candidate; None when latency was not requested.
        verdict: "ship", "check" or "no", see `edgeq.accuracy.verdict.judge_comparison`.
        reasons: for the verdict, sentences.
        preprocessing: `--preprocess` texts for the samples of both.
        decoding: see `Evaluation`.
        device, processor: that the samples ran on, see `Evaluation`.
        ways_out: conversions that were tried because a part of the outputs is lost, in the order
            tried; only the last one can keep everything.
        losses: of the metrics that have an interval.
    """

    baseline: FileRef
    candidate: FileRef
    data: DataRef
    quality: Quality
    metrics_baseline: tuple[MetricValue, ...]
    metrics_candidate: tuple[MetricValue, ...]
    size_ratio: Annotated[float, Meta(gt=0)]
    bench: BenchResult | None
    verdict: Verdict
    reasons: tuple[str, ...]
    preprocessing: tuple[str, ...] = ()
    issues: tuple[Issue, ...] = ()
    device: str | None = None
    processor: str | None = None
    ways_out: tuple[WayOut, ...] = ()
    losses: tuple[MetricLoss, ...] = ()
    decoding: str | None = None

    def __post_init__(self) -> None:
        names = [
            [metric.name for metric in of] for of in (self.metrics_baseline, self.metrics_candidate)
        ]
        require(names[0] == names[1], "the two models need the same metrics")
        require(self.bench is None or len(self.bench.runs) == 2, "a comparison has two runs")


@bounded
@dataclass(frozen=True)
class Conversion(Shown):
    """A finished conversion: its options, its result and the quality of the result.

    Attributes:
        source: the float model it was made from.
        data: the representative dataset, None for schemes that need none.
        test_data: the separate data set that quality was measured on, if any.
        quality: None without data.
        validity: "valid" or "degraded", from the issues.
        versions: (tool, version) pairs.
        ways_out: see `Comparison`.
    """

    options: ConvertOptions
    source: FloatModel
    data: DataRef | None
    test_data: DataRef | None
    model: TfliteModel
    certificate: Certificate
    quality: Quality | None
    validity: Validity
    issues: tuple[Issue, ...]
    versions: tuple[tuple[str, str], ...]
    ways_out: tuple[WayOut, ...] = ()
