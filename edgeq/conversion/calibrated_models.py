"""The float models that quantized files are made from: as it was lowered, and equalized."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgeq.conversion.calibration_pass import feed
from edgeq.conversion.input_ranges import choose_input_limits, find_mask_limits
from edgeq.conversion.plan import CHECK_SAMPLES, Job, SamplePlan
from edgeq.conversion.range_candidates import (
    TRIED_LARGE,
    CalibratedModel,
    choose_statistics,
    is_large,
    make_candidates,
)
from edgeq.conversion.scoring import Scorer
from edgeq.converters.calibration import calibrate
from edgeq.converters.calibration.calibrate import FloatRun
from edgeq.converters.calibration.equalization import (
    PLAIN,
    Equalized,
    Way,
    equalize,
    scale_statistics,
)
from edgeq.files import storage
from edgeq.issues import make_issue
from edgeq.values import FloatModel, Issue

# A model with normalizations tries these beside the plain one.
_WORTH_DB = 1.0  # that the inserted operators must gain, because they cost time
_OPEN = tuple(Way(strength, is_open=True) for strength in (0.25, 0.5, 0.75, 1.0))


def calibrated_models(
    job: Job,
    model: FloatModel,
    plan: SamplePlan,
    run: FloatRun,
    names: Sequence[str],
    scorer: Scorer,
    issues: list[Issue],
) -> tuple[CalibratedModel, ...]:
    """Return the float model and, if requested and possible, the one with equalized channels.

    Args:
        scorer: on the samples of `choose_judges`.
        issues: receives notes about their inputs.
    """
    limits = find_mask_limits(model, plan)
    if len(choose_statistics(job, model, plan)) > 1:
        limits |= choose_input_limits(job, model, run, scorer, limits, issues)
    plain = CalibratedModel(model, run, False, limits)
    if "equalize" not in names:
        return (plain,)
    made, notes = _best_way(job, plain, names, scorer)
    if not made.factors:
        return (plain,)
    other = _store(job, model, made)
    if is_large(job, model) and set(choose_statistics(job, model, plan)) <= set(TRIED_LARGE):
        # A second pass over the samples would cost more than it gains.
        return plain, replace(_scaled(plain, other, made), notes=notes)
    fed = feed(job, other, plan, "calibrate equalized")
    again = calibrate.run_float_model(other, fed, job.folder, CHECK_SAMPLES)
    return plain, CalibratedModel(other, again, True, limits, notes)


def _best_way(
    job: Job, plain: CalibratedModel, names: Sequence[str], scorer: Scorer
) -> tuple[Equalized, tuple[Issue, ...]]:
    """Equalize a model so that it loses least on the samples that score the candidates."""
    content, channels = Path(plain.model.file.path).read_bytes(), plain.run.statistics.channels
    made = [equalize(content, channels, PLAIN)]
    made += [item for way in _OPEN if (item := equalize(content, channels, way)).copies]
    if len(made) == 1:
        return made[0], ()
    models = [
        _scaled(plain, _store(job, plain.model, item, f"equalized-{number}"), item)
        for number, item in enumerate(made)
    ]
    files = make_candidates(job, models, ("minmax",), names, [])
    scores = scorer.score([item.content for item in files])
    best = max(range(len(made)), key=lambda place: scores[place])
    gain = scores[best] - scores[0]
    if gain < _WORTH_DB:
        return made[0], ()
    others = ",".join(name for name in names if name != "equalize") or "none"
    message = (
        f"{len(made[best].copies)} MUL in INT16 were inserted around normalizations, so that all "
        f"channels between them use the whole range: {gain:.1f} dB before other corrections; "
        f"--corrections {others} leaves them out"
    )
    return made[best], (make_issue("convert.norm_scales", message),)


def _store(job: Job, model: FloatModel, made: Equalized, name: str = "equalized") -> FloatModel:
    path = job.folder / f"{name}.tflite"
    path.write_bytes(made.content)
    return replace(model, file=storage.refer(path))


def _scaled(plain: CalibratedModel, model: FloatModel, made: Equalized) -> CalibratedModel:
    statistics = scale_statistics(plain.run.statistics, made)
    run = replace(plain.run, statistics=statistics)
    return CalibratedModel(model, run, True, plain.input_limits)
