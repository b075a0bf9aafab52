"""A search for the best recipe."""

from __future__ import annotations

from dataclasses import dataclass

from edgeq.values.bounds import Validity
from edgeq.values.conversion import Certificate, ConvertOptions, FloatModel, TfliteModel
from edgeq.values.data import DataRef
from edgeq.values.files import Issue
from edgeq.values.judging import Interval, PairedCounts, Quality
from edgeq.values.running import DeviceFacts, Ratio
from edgeq.values.showing import Shown, bounded

OBJECTIVES = ("latency", "size")


@bounded
@dataclass(frozen=True)
class TuneOptions:
    """Everything the user decided about a search.

    Attributes:
        convert: how the model is read, lowered and calibrated, and the budget
            (`max_drop_points`, `min_sqnr_db`).
        objective: what to minimize within the budget, "latency" or "size".
        jobs: trials at the same time on this machine; None for one per core.
        cluster: address of a Dask scheduler whose workers run the trials instead, e.g.
            "tcp://host:8786".
        max_trials: largest number of trials; None for no limit.
    """

    convert: ConvertOptions = ConvertOptions()  # noqa: RUF009 -- it is frozen
    objective: str = "latency"
    jobs: int | None = None
    cluster: str | None = None
    max_trials: int | None = None


@bounded
@dataclass(frozen=True)
class Recipe:
    """One way to quantize, which always gives the same file.

    Attributes:
        statistic: of the ranges, see `Ranges`.
        is_equalized: whether channels are equalized first.
        granularity: "channel" or "tensor".
        corrections: made afterwards, in the order of `edgeq.values.CORRECTIONS`.
        keep_float: operators that stay float, by the names of their first outputs.
        int16: operators with INT16 activations, in the same way.
        int4: layers with INT4 weights, in the same way.
    """

    statistic: str
    is_equalized: bool
    granularity: str
    corrections: tuple[str, ...] = ()
    keep_float: tuple[str, ...] = ()
    int16: tuple[str, ...] = ()
    int4: tuple[str, ...] = ()


@bounded
@dataclass(frozen=True)
class Trial:
    """A recipe tried on the exported file.

    Attributes:
        sha256: of the file; None when it could not be made or run.
        structure: digest of operators, dtypes and shapes; files that share it are equally fast.
        sqnr_db: of the outputs' worst part, on the samples of the search.
        paired: accuracy against the float model on the same samples, when there are labels.
        drop_points: what the budget limits, with its paired interval: accuracy lost in percentage
            points, or the loss of `Tuning.metric` in points.
        speedup: against the float model on the device; None when it was not measured.
        latency_ms: median on the device; None when it was not measured.
        is_pareto: whether no other trial is at least as good in quality, speed (if measured) and
            size, and better in one of them; trials with `is_refuted` do not count.
        failure: why it gave no file, in one sentence.
        rejected: why it was not chosen; None for the chosen one, and in records of edgeq 0.1.
        is_refuted: whether it was within the budget in the search, but not on the held-out samples.
        dropped_after: samples after which it was certain to miss the budget, so that it ran on no
            more; None if it ran on all of them.
    """

    recipe: Recipe
    sha256: str | None
    size_bytes: int
    structure: str
    sqnr_db: float
    paired: PairedCounts | None
    drop_points: Interval | None
    speedup: Ratio | None = None
    latency_ms: float | None = None
    is_pareto: bool = False
    failure: str | None = None
    rejected: str | None = None
    is_refuted: bool = False
    dropped_after: int | None = None


@bounded
@dataclass(frozen=True)
class LayerEffect:
    """The error from quantizing only this operator.

    Attributes:
        name: of its first output in the float model.
        operator: e.g. "CONV_2D".
        sqnr_db: of the model's outputs (before a final softmax) with only its error.
    """

    name: str
    operator: str
    sqnr_db: float


@bounded
@dataclass(frozen=True)
class Tuning(Shown):
    """A finished search.

    Attributes:
        source: the float model.
        model: the chosen file and how it was made.
        certificate: of the chosen file.
        quality: of the chosen file; on samples that the search did not use if there were enough
            of them (`is_confirmed`).
        trials: all of them, the chosen one first.
        layers: the operators that cost most, worst first; empty when the search needed no mix.
        search_samples: how many samples each trial ran on.
        elapsed_s: time of the trials only.
        resumed_trials: number of trials taken from an interrupted run's journal.
        facts: the device that latency was measured on.
        metric: of the task, that the budget and `drop_points` of all trials are for; None for
            top-1 accuracy.
    """

    options: TuneOptions
    source: FloatModel
    data: DataRef
    test_data: DataRef | None
    model: TfliteModel
    certificate: Certificate
    quality: Quality
    trials: tuple[Trial, ...]
    layers: tuple[LayerEffect, ...]
    search_samples: int
    is_confirmed: bool
    elapsed_s: float
    resumed_trials: int
    facts: DeviceFacts
    validity: Validity
    issues: tuple[Issue, ...]
    versions: tuple[tuple[str, str], ...]
    metric: str | None = None
