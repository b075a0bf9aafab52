"""What each layer costs, and what would help."""

from __future__ import annotations

from dataclasses import dataclass

from edgeq.values.data import DataRef
from edgeq.values.files import FileRef, Issue
from edgeq.values.judging import Quality


@dataclass(frozen=True)
class LayerReport:
    """One operator of a quantized model held against its float twin.

    Attributes:
        name: of its first result in the float model.
        quantized_name: in the quantized model.
        operator: e.g. "CONV_2D".
        own_sqnr_db: of its result, run on the float model's inputs, quantized as it wants them.
        accumulated_sqnr_db: of its result in the quantized model.
        effect_sqnr_db: of the model's outputs, before a final activation, with its error alone;
            None where that was not tried.
        changed_percent: samples whose top-1 class its error alone changes; None without classes.
        lost_points: accuracy that its error alone costs; None without class labels.
        range_use: share of its results' quantized range that float values fill.
        saturation_share: share of float results beyond that range.
        weight_spread: range of the widest channel of the weights over the median channel's.
        is_per_channel: whether its weights have one scale per channel; None without scales.
        input_spread: the same of the input's channels, which share one scale.
        output_spread: of the output's channels.
        outlier_ratio: largest magnitude of the input over its 99.9th percentile.
        bias_share: share of its own squared error that is a constant shift of each channel.
        cause: why, in half a sentence.
        remedy: options that helped most when they were tried; empty where none did.
        position: in execution order, from 0; None in records of before it was kept.
        gain_db: what the remedy added to the outputs' worst part; None where none did, and in
            records of edgeq 0.1, whose remedies were not tried.
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


@dataclass(frozen=True)
class Remedy:
    """A conversion with other options, tried against the same one without them.

    Attributes:
        options: what is changed, as flags.
        sqnr_db: of the outputs' worst part; None where no file came of it.
        gain_db: what the change added to that; None where no file came of it.
        command: what to type for the whole conversion.
    """

    options: str
    sqnr_db: float | None
    gain_db: float | None
    command: str


@dataclass(frozen=True)
class DebugReport:
    """The culprits of a quantized model.

    Attributes:
        baseline: the float model.
        candidate: the quantized one.
        sample_count: samples that everything is measured on.
        quality: of the whole candidate on them.
        layers: worst first.
        unmatched: names of operators of the float model that have no quantized twin.
        remedies: those tried, what gained most first.
        untried: why none was tried; None where some were, or none was wanted.
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
