"""Accuracy and output quality, compared in pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from edgeq.values.bounds import SOME, Percent, Positive, Validity, Verdict, require
from edgeq.values.conversion import Certificate, ConvertOptions, FloatModel, TfliteModel
from edgeq.values.data import DataRef
from edgeq.values.files import FileRef, Issue
from edgeq.values.running import BenchResult, RuntimeInfo


@dataclass(frozen=True)
class MetricValue:
    """A task metric with its unit ("percent", "" for a plain number) and direction."""

    name: str
    value: float
    unit: str
    is_higher_better: bool


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval, all in the same unit."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Evaluation:
    """One model's accuracy on one data set.

    Attributes:
        interval: of the first metric when it is a share of samples (Wilson), in the metric's
            unit; None otherwise.
        preprocessing: `--preprocess` texts it was fed with.
        device: that the samples ran on, as the user named it; None in records of before this field.
        processor: of that device, see `DeviceFacts`; likewise.
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


@dataclass(frozen=True)
class PairedCounts:
    """Samples by who got them right: the baseline (FP32) and the candidate (INT8)."""

    both_right: int
    only_baseline: int
    only_candidate: int
    both_wrong: int


@dataclass(frozen=True)
class LostColumn:
    """A column of a part, or a slice of it, that the candidate no longer tells.

    Attributes:
        where: as Python would index the output, e.g. "scores[:, 3]"; the batch goes first.
        sqnr_db: about the column's mean, see `PartQuality`.
        spread: standard deviation of the baseline's values, in the output's units.
    """

    where: str
    sqnr_db: float
    spread: Annotated[float, Meta(ge=0)]


@dataclass(frozen=True)
class PartQuality:
    """How far values that mean the same and have a like range are from the baseline's.

    Attributes:
        where: as Python would index the output, e.g. "pred[:, 4:7]"; its name alone for all of it.
        sqnr_db: 10 log10(S / E), where S is the sum of squared deviations of the baseline from the
            mean of each column, E that of squared errors; inf when identical, None where the
            baseline does not vary.
        spread: root mean square of those deviations, in the output's units.
        step: of an 8-bit tensor that holds this part alone, likewise.
        is_known: False where a column has too few values to know its spread.
        lost: columns and slices that vary by more than a step and are lost, the worst first.
    """

    where: str
    sqnr_db: float | None
    spread: Annotated[float, Meta(ge=0)]
    step: float
    is_known: bool
    lost: tuple[LostColumn, ...] = ()


@dataclass(frozen=True)
class OutputQuality:
    """How far one output of the candidate is from the baseline's, over all samples.

    Attributes:
        sqnr_db: 10 log10(sum of squares of the baseline / sum of squares of the error) over all
            values; inf when identical. It is blind to small parts: `parts` are what is judged.
        mse: mean squared error in the output's units squared.
        max_error: largest absolute error.
        parts: see `edgeq.accuracy.parts`; none in records of edgeq 0.1.
        steps_used, step_count: different values that the candidate gave, and that its integers
            could give; None where they are floats, and in records of 0.1.
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


@dataclass(frozen=True)
class Quality:
    """The candidate's outputs and accuracy against the baseline's on the same samples.

    Attributes:
        sample_count: samples compared.
        is_held_out: False when the samples also served for calibration.
        outputs: per output.
        agreement_percent: share of samples with the same top-1; None where it does not apply.
        baseline_accuracy_percent, candidate_accuracy_percent: top-1, when there are labels.
        paired: when there are labels.
        drop_points: accuracy lost in percentage points, with its paired interval.
        scored_output: name of the output that accuracy was measured on.
        class_count: of that output.
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

    def __post_init__(self) -> None:
        labelled = (
            self.baseline_accuracy_percent, self.candidate_accuracy_percent, self.paired,
            self.drop_points,
        )  # fmt: skip
        require(
            len({part is None for part in labelled}) == 1,
            "with labels there are two accuracies, their pairs and a drop, without none of them",
        )


@dataclass(frozen=True)
class WayOut:
    """A conversion that was tried because a result had lost a part of the outputs.

    Attributes:
        command: what to type for it.
        sqnr_db: of the outputs' worst part with it; None where no file came of it.
        keeps: whether nothing is lost with it.
    """

    command: str
    sqnr_db: float | None
    keeps: bool


@dataclass(frozen=True)
class Comparison:
    """FP32 against INT8: the seed of every report.

    Attributes:
        bench: baseline first, then candidate; None when latency was not asked for.
        verdict: "ship", "check" or "no", see `judging.judge_comparison`.
        reasons: sentences behind the verdict.
        preprocessing: `--preprocess` texts that both were fed with.
        device, processor: that the samples ran on, see `Evaluation`.
        ways_out: conversions that were tried because a part of the outputs is lost, in the order
            tried; the last one keeps everything, or none does.
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

    def __post_init__(self) -> None:
        names = [
            [metric.name for metric in of] for of in (self.metrics_baseline, self.metrics_candidate)
        ]
        require(names[0] == names[1], "the two models need the same metrics")
        require(self.bench is None or len(self.bench.runs) == 2, "a comparison has two runs")


@dataclass(frozen=True)
class Conversion:
    """A finished conversion: what was asked, what came out, and how good it is.

    Attributes:
        source: the float model it was made from.
        data: the representative dataset, None for schemes without.
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
