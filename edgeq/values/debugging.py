"""The accuracy that each layer loses, and remedies."""

from __future__ import annotations

from dataclasses import dataclass

from edgeq.values.data import DataRef
from edgeq.values.files import FileRef, Issue
from edgeq.values.judging import Quality
from edgeq.values.showing import Shown, bounded


@bounded
@dataclass(frozen=True)
class LayerReport:
    """One operator of a quantized model, compared with its float twin.

    Attributes:
        name: of its first output in the float model.
        quantized_name: the same in the quantized model.
        operator: e.g. "CONV_2D".
        own_sqnr_db: of its output when it runs on the float model's inputs, which are quantized for
            it.
        accumulated_sqnr_db: of its output in the quantized model.
        effect_sqnr_db: of the model's outputs, before a final activation, with only its error;
            None when that was not tried.
        changed_percent: samples whose top-1 class changes with only its error; None without
            classes.
        lost_points: what is lost with only its error: accuracy in percentage points, or
            `DebugReport.metric` in points; None without labels.
        range_use: share of its output's quantized range that the float values use.
        saturation_share: share of the float output's values beyond that range.
        weight_spread: range of the widest channel of the weights divided by the median channel's.
        is_per_channel: whether its weights have one scale per channel; None without scales.
        input_spread: the same of the input's channels, which share one scale.
        output_spread: of the output's channels.
        outlier_ratio: largest magnitude of the input divided by the 99.9th percentile.
        bias_share: share of its squared error that is a constant shift of each channel.
        cause: the reason for its error, in half a sentence.
        remedy: options that helped most when they were tried; empty when none helped.
        position: in execution order, from 0; None in records older than this field.
        gain_db: SQNR that the remedy adds to the outputs' worst part; None without a remedy, and
            in records of edgeq 0.1, which did not try remedies.
    """

    name: str
    quantized_name: str
    operator: str
    own_sqnr_db: float
    accumulated_sqnr_db: float
    effect_sqnr_db: float | None
    changed_percent: float | None
    lost_points: float | None
    range_use: float
    saturation_share: float
    weight_spread: float | None
    is_per_channel: bool | None
    input_spread: float
    output_spread: float
    outlier_ratio: float
    bias_share: float
    cause: str
    remedy: str
    position: int | None = None
    gain_db: float | None = None


@bounded
@dataclass(frozen=True)
class Remedy:
    """A conversion with other options, compared with the same conversion without them.

    Attributes:
        options: the changed options, as flags.
        sqnr_db: of the outputs' worst part; None when it gave no file.
        gain_db: SQNR that the change adds to it; None when it gave no file.
        command: the command line of the whole conversion.
    """

    options: str
    sqnr_db: float | None
    gain_db: float | None
    command: str


@bounded
@dataclass(frozen=True)
class DebugReport(Shown):
    """The layers of a quantized model that lose accuracy.

    Attributes:
        baseline: the float model.
        candidate: the quantized one.
        sample_count: samples that all figures are measured on.
        quality: of the whole candidate on these samples.
        layers: worst first.
        unmatched: names of operators of the float model that have no quantized twin.
        remedies: those that were tried, the largest gain first.
        metric: of the task, that `lost_points` of the layers is for; None for top-1 accuracy.
        untried: why no remedy could be tried; None when some were tried, or none was requested.
    """

    baseline: FileRef
    candidate: FileRef
    data: DataRef
    sample_count: int
    quality: Quality
    layers: tuple[LayerReport, ...]
    unmatched: tuple[str, ...]
    preprocessing: tuple[str, ...]
    issues: tuple[Issue, ...]
    remedies: tuple[Remedy, ...] = ()
    untried: str | None = None
    metric: str | None = None
