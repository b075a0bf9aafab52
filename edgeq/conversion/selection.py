"""Select the ranges and corrections of the INT8 file by the outputs of candidate files.

No statistic is best for every model, and no correction helps every model. So several files are made
and run on calibration samples that did not correct them, and the file whose outputs are closest to
the float model's is kept. If memory allows, its layers are then corrected again with all
calibration samples. `--effort fast` makes one file only.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from edgeq.conversion.calibrated_models import calibrated_models
from edgeq.conversion.plan import Job, SamplePlan
from edgeq.conversion.range_candidates import (
    FEWEST,
    LARGE_BYTES,
    LARGE_ROWS,
    CalibratedModel,
    RangeCandidate,
    activation_bytes,
    choose_corrections,
    choose_judges,
    choose_statistics,
    is_large,
    make_candidates,
)
from edgeq.conversion.scoring import Scorer
from edgeq.conversion.ties import settle_ties
from edgeq.converters.calibration.calibrate import FloatRun
from edgeq.converters.calibration.histograms import compact
from edgeq.converters.corrections.correct import MOST_ROWS, OF_LAYERS, Corrector
from edgeq.converters.samples.open_samples import spread
from edgeq.values import Candidate, FloatModel, Histogram, Issue, LayerCorrection, Ranges

_MOST_BYTES = 3 << 28  # of activations that one correction may see
_AT_ONCE = min(4, os.cpu_count() or 1)  # corrections
_MOST_CORRECTED = 4  # of each float model
_MOST_CORRECTED_LARGE = 2  # with `best`; one in all with `balanced`

# If two candidates differ by less, the simpler one is kept.
_BETTER_DB = 0.1

# Each correction was accepted on separate samples, layer by layer. The outputs of a few hundred
# samples vary more, so an uncorrected file must be better by this much.
_TRUST_DB = 1.0


@dataclass(frozen=True)
class Quantized:
    """A quantized model and how it was made; `TfliteModel` documents the other attributes.

    Attributes:
        source: the float model that it was made from, perhaps equalized; None for the job's.
    """

    content: bytes
    ranges: Ranges | None = None
    candidates: tuple[Candidate, ...] = ()
    corrections: tuple[LayerCorrection, ...] = ()
    correction_samples: int = 0
    histograms: tuple[Histogram, ...] = ()
    source: FloatModel | None = None


def quantize_best(
    job: Job, model: FloatModel, plan: SamplePlan, run: FloatRun, issues: list[Issue]
) -> Quantized:
    """Quantize with the requested statistic and corrections, or with the best of several.

    Args:
        run: the calibration pass over the float model.
        issues: receives notes about the selection.

    Raises:
        DataError: too few samples for the statistic.
        QuantizationError: the quantizer or a correction failed.
    """
    names = choose_corrections(job, model, plan, issues)
    statistics = choose_statistics(job, model, plan)
    judges = choose_judges(job, model, plan)
    scorer = Scorer(job, model, plan, run, judges)
    models = calibrated_models(job, model, plan, run, names, scorer, issues)
    candidates = make_candidates(job, models, statistics, names, issues)
    later = tuple(name for name in names if name in OF_LAYERS)

    def finish(content: bytes) -> bytes:
        has_ties = "ties" in names
        return settle_ties(job, model, plan, judges, content, issues) if has_ties else content

    if len(candidates) == 1 and not later:
        only = _model_of(models, candidates[0])
        issues += only.notes
        return Quantized(
            finish(candidates[0].content),
            candidates[0].ranges,
            histograms=compact(only.run.statistics, candidates[0].ranges),
            source=only.model,
        )
    job.on_progress("choose", 0, None)
    with ExitStack() as stack:
        ready = None
        if later and is_large(job, model):  # one candidate will be corrected
            ready = stack.enter_context(_start_corrector(job, 1))
        scores = scorer.score([item.content for item in candidates])
        if later:
            fits = [index for index in plan.chosen if index not in set(judges)]
            corrected = _correct(job, plan, _select(job, candidates, scores), later, fits, ready)
            candidates += corrected
            scores += scorer.score([item.content for item in corrected])
    best = _best(candidates, scores)
    tried = [
        Candidate(item.ranges.statistic, item.is_equalized, item.is_corrected, score)
        for item, score in zip(candidates, scores, strict=True)
    ]
    order = [best, *(place for place in range(len(tried)) if place != best)]
    chosen = _refit(job, plan, candidates, best, later)
    own = _model_of(models, chosen)
    issues += own.notes
    return Quantized(
        finish(chosen.content),
        chosen.ranges,
        tuple(tried[place] for place in order),
        chosen.corrections,
        chosen.correction_samples,
        compact(own.run.statistics, chosen.ranges),
        own.model,
    )


def _model_of(models: Sequence[CalibratedModel], chosen: RangeCandidate) -> CalibratedModel:
    """Return the float model that the chosen file was made from."""
    return next(item for item in models if item.is_equalized == chosen.is_equalized)


# ---------------------------------------------------------------- judging them


def _best(candidates: Sequence[RangeCandidate], scores: Sequence[float]) -> int:
    """Return the index of the highest score; of equal ones the first, which is the simplest."""
    trusted = [
        score + (_TRUST_DB if item.is_corrected else 0.0)
        for item, score in zip(candidates, scores, strict=True)
    ]
    highest = max(trusted)
    return next(place for place, score in enumerate(trusted) if score >= highest - _BETTER_DB)


# ---------------------------------------------------------------- correcting them


def _select(
    job: Job, candidates: Sequence[RangeCandidate], scores: Sequence[float]
) -> list[RangeCandidate]:
    """Return the best few of each float model, or only the best one for a large model."""
    order = sorted(range(len(candidates)), key=lambda place: -scores[place])
    if is_large(job, candidates[0].model):
        return [candidates[order[0]]]
    is_small = activation_bytes(candidates[0].model) <= LARGE_BYTES
    most = _MOST_CORRECTED if is_small else _MOST_CORRECTED_LARGE
    chosen: list[RangeCandidate] = []
    for is_equalized in (False, True):
        own = [
            candidates[place] for place in order if candidates[place].is_equalized == is_equalized
        ]
        chosen += own[:most]
    return chosen


def _refit(
    job: Job,
    plan: SamplePlan,
    candidates: Sequence[RangeCandidate],
    best: int,
    names: Sequence[str],
) -> RangeCandidate:
    """Return the best candidate; if it is corrected, correct it again with all samples.

    After the selection, twice the samples are worth more than separate ones; each layer still
    checks its correction on a quarter of them.
    """
    chosen = candidates[best]
    if not chosen.is_corrected or _affordable(chosen.model) < len(plan.chosen):
        return chosen
    plain = next(
        item
        for item in candidates
        if item.ranges == chosen.ranges and item.is_equalized == chosen.is_equalized
    )
    return _correct(job, plan, [plain], names, plan.chosen)[0]


def _start_corrector(job: Job, at_once: int) -> Corrector:
    folder = Path(tempfile.mkdtemp(prefix="correction-", dir=job.folder))
    # The float and the quantized model run side by side.
    return Corrector(folder, max(1, (os.cpu_count() or 1) // (2 * at_once)))


def _affordable(model: FloatModel) -> int:
    """Return the number of samples whose activations fit into one correction."""
    return max(FEWEST, _MOST_BYTES // activation_bytes(model))


def _correct(
    job: Job,
    plan: SamplePlan,
    chosen: Sequence[RangeCandidate],
    names: Sequence[str],
    fits: Sequence[int],
    ready: Corrector | None = None,
) -> list[RangeCandidate]:
    """Correct each candidate, several at a time.

    Args:
        ready: corrects the first one.
    """
    assert plan.samples is not None
    count = min(len(fits), _affordable(chosen[0].model))
    samples = [sample.inputs for sample in plan.samples.iterate(spread(fits, count))]

    def work(number: int) -> RangeCandidate:
        item = chosen[number]
        started = ready if number == 0 else None
        with started or _start_corrector(job, at_once) as corrector:
            content, done = corrector.correct(item.model, item.content, samples, names, most_rows)
        return replace(item, content=content, corrections=done, correction_samples=count)

    most_rows = LARGE_ROWS if is_large(job, chosen[0].model) else MOST_ROWS
    job.on_progress("correct", 0, None)
    at_once = min(len(chosen), _AT_ONCE)
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(work, range(len(chosen))))
