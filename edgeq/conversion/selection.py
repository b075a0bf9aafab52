"""Which ranges and corrections make the best INT8 file: candidates, judged by their outputs.

No statistic is best everywhere, and no correction helps every model. So several files are made, run
on calibration samples that took no part in correcting them, and the one whose outputs are nearest
to the float model's is kept. Then, where memory allows, the layers of that one are corrected anew
with all calibration samples. `--effort fast` makes one file and asks nothing.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from edgeq.conversion.plan import Job, SamplePlan
from edgeq.conversion.range_candidates import (
    FEWEST,
    LARGE_BYTES,
    Calibrated,
    Variant,
    activation_bytes,
    calibrated_models,
    choose_corrections,
    choose_judges,
    choose_statistics,
    is_large,
    make_variants,
)
from edgeq.conversion.scoring import score_files
from edgeq.converters.calibration.calibrate import FloatRun
from edgeq.converters.calibration.histograms import compact
from edgeq.converters.corrections.correct import BEFORE, correct
from edgeq.values import Candidate, FloatModel, Histogram, Issue, LayerCorrection, Ranges

_MOST_BYTES = 3 << 28  # of activations that one correction may see
_AT_ONCE = min(4, os.cpu_count() or 1)  # corrections
_MOST_CORRECTED = 4  # of each float model
_MOST_CORRECTED_LARGE = 2  # with `best`; one in all with `balanced`

# Below this two candidates are equal, and the simpler one is kept.
_BETTER_DB = 0.1

# Each correction has proved itself on samples of its own, layer by layer; outputs of some hundred
# samples vary more than that, so an uncorrected file has to be better by this much.
_TRUST_DB = 1.0


@dataclass(frozen=True)
class Made:
    """A quantized model and how it came about; see `TfliteModel` for the attributes."""

    content: bytes
    ranges: Ranges | None = None
    candidates: tuple[Candidate, ...] = ()
    corrections: tuple[LayerCorrection, ...] = ()
    correction_samples: int = 0
    histograms: tuple[Histogram, ...] = ()


def quantize_best(
    job: Job, model: FloatModel, plan: SamplePlan, run: FloatRun, issues: list[Issue]
) -> Made:
    """Quantize with the statistic and the corrections asked for, or with the best of several.

    Args:
        run: the calibration pass over the float model.
        issues: receives what is worth knowing about the choice.

    Raises:
        DataError: too few samples for the statistic.
        QuantizationError: the quantizer or a correction failed.
    """
    names = choose_corrections(job, model, plan, issues)
    statistics = choose_statistics(job, model, plan)
    models = calibrated_models(job, model, plan, run, names, issues)
    variants = make_variants(job, models, statistics, names, issues)
    later = tuple(name for name in names if name not in BEFORE)
    if len(variants) == 1 and not later:
        return Made(
            variants[0].content,
            variants[0].ranges,
            histograms=_histograms(models, variants[0]),
        )
    job.on_progress("choose", 0, None)
    judges = choose_judges(job, model, plan)
    scores = score_files(job, model, plan, run, [item.content for item in variants], judges)
    if later:
        fits = [index for index in plan.chosen if index not in set(judges)]
        corrected = _correct(job, plan, _select(job, variants, scores), later, fits)
        variants += corrected
        scores += score_files(job, model, plan, run, [item.content for item in corrected], judges)
    best = _best(variants, scores)
    tried = [
        Candidate(item.ranges.statistic, item.is_equalized, item.is_corrected, score)
        for item, score in zip(variants, scores, strict=True)
    ]
    order = [best, *(place for place in range(len(tried)) if place != best)]
    chosen = _refit(job, plan, variants, best, later)
    return Made(
        chosen.content,
        chosen.ranges,
        tuple(tried[place] for place in order),
        chosen.corrections,
        chosen.correction_samples,
        _histograms(models, chosen),
    )


def _histograms(models: Sequence[Calibrated], chosen: Variant) -> tuple[Histogram, ...]:
    """Of the float model that the chosen file was made from."""
    own = next(item for item in models if item.is_equalized == chosen.is_equalized)
    return compact(own.run.statistics, chosen.ranges)


# ---------------------------------------------------------------- judging them


def _best(variants: Sequence[Variant], scores: Sequence[float]) -> int:
    """The place of the highest score; among equals the first, which is the simplest."""
    trusted = [
        score + (_TRUST_DB if item.is_corrected else 0.0)
        for item, score in zip(variants, scores, strict=True)
    ]
    highest = max(trusted)
    return next(place for place, score in enumerate(trusted) if score >= highest - _BETTER_DB)


# ---------------------------------------------------------------- correcting them


def _select(job: Job, variants: Sequence[Variant], scores: Sequence[float]) -> list[Variant]:
    """The best few of each float model, or the best of all for a large one."""
    order = sorted(range(len(variants)), key=lambda place: -scores[place])
    if is_large(job, variants[0].model):
        return [variants[order[0]]]
    is_small = activation_bytes(variants[0].model) <= LARGE_BYTES
    most = _MOST_CORRECTED if is_small else _MOST_CORRECTED_LARGE
    chosen: list[Variant] = []
    for is_equalized in (False, True):
        own = [variants[place] for place in order if variants[place].is_equalized == is_equalized]
        chosen += own[:most]
    return chosen


def _refit(
    job: Job, plan: SamplePlan, variants: Sequence[Variant], best: int, names: Sequence[str]
) -> Variant:
    """The best one; a corrected one corrected once more, with the samples that judged, too.

    Twice the samples are worth more than keeping them apart once nothing is left to choose; each
    layer still checks its correction on a quarter of them.
    """
    chosen = variants[best]
    if not chosen.is_corrected or _affordable(chosen.model) < len(plan.chosen):
        return chosen
    plain = next(
        item
        for item in variants
        if item.ranges == chosen.ranges and item.is_equalized == chosen.is_equalized
    )
    return _correct(job, plan, [plain], names, plan.chosen)[0]


def _affordable(model: FloatModel) -> int:
    """Samples whose activations one correction may see."""
    return max(FEWEST, _MOST_BYTES // activation_bytes(model))


def _correct(
    job: Job,
    plan: SamplePlan,
    chosen: Sequence[Variant],
    names: Sequence[str],
    fits: Sequence[int],
) -> list[Variant]:
    """Each of them corrected, several at a time."""
    assert plan.samples is not None
    count = min(len(fits), _affordable(chosen[0].model))
    samples = [sample.inputs for sample in plan.samples.iterate(fits[:count])]

    def work(number: int) -> Variant:
        item = chosen[number]
        folder = Path(tempfile.mkdtemp(prefix="correction-", dir=job.folder))
        threads = max(1, (os.cpu_count() or 1) // at_once)
        content, done = correct(item.model, item.content, samples, names, folder, threads)
        return replace(item, content=content, corrections=done, correction_samples=count)

    job.on_progress("correct", 0, None)
    at_once = min(len(chosen), _AT_ONCE)
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(work, range(len(chosen))))
