"""Which ranges and corrections make the best INT8 file: candidates, judged by their outputs.

No statistic is best everywhere, and no correction helps every model. So several files are made, run
on calibration samples that took no part in correcting them, and the one whose outputs are nearest
to the float model's is kept. `--effort fast` makes one file and asks nothing.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgeq import flatbuffer, storage
from edgeq.converters import calibration, equalization, quantization
from edgeq.converters.calibration import FloatRun
from edgeq.converters.corrections import BEFORE, correct, parse_corrections
from edgeq.converters.range_mending import mend_ranges
from edgeq.converters.range_sharing import share_ranges
from edgeq.converters.saturation import limit_ranges
from edgeq.converters.squashing import seen_limits, unsquash
from edgeq.converters.statistics import Statistics, choose_ranges
from edgeq.device_runners.device import resolve_device
from edgeq.errors import DataError
from edgeq.evaluation import run_pairs
from edgeq.float_pass import feed
from edgeq.inference import read_interface
from edgeq.issues import make_issue
from edgeq.judging import QualityMeter, worst_sqnr_db
from edgeq.planning import CHECK_SAMPLES, Job, SamplePlan, choose_mix
from edgeq.values import Candidate, FloatModel, Issue, LayerCorrection, Ranges

# What "auto" tries; the others are there for those who ask.
_TRIED = ("minmax", "mse", "percentile:99.99", "percentile:99.999")
_TRIED_LARGE = _TRIED[:2]
_JUDGES = 2  # every second calibration sample judges, the others correct
_FEWEST = 8  # calibration samples that a choice can rest on
_MOST_JUDGES = 128
_MOST_JUDGES_LARGE = 32
_MOST_BYTES = 3 << 28  # of activations that one correction may see

# A model with more activations is large: less is tried on it, so that `--effort balanced` stays
# faster than the stock converter, and `best` within twice its time (benchmarks/convert.py).
_LARGE_BYTES = 8 << 20
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


@dataclass(frozen=True)
class _Variant:
    """A float model with ranges, and the file made of them."""

    model: FloatModel
    ranges: Ranges
    is_equalized: bool
    content: bytes
    corrections: tuple[LayerCorrection, ...] = ()
    is_corrected: bool = False


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
    names = _corrections(job, model, plan, issues)
    statistics = _statistics(job, model, plan)
    variants = _variants(job, model, run, statistics, names, issues, is_equalized=False)
    if "equalize" in names and (other := _equalized(job, model, plan, run)) is not None:
        variants += _variants(job, *other, statistics, names, [], is_equalized=True)
    later = tuple(name for name in names if name not in BEFORE)
    if len(variants) == 1 and not later:
        return Made(variants[0].content, variants[0].ranges)
    job.on_progress("choose", 0, None)
    judges = _judges(plan, _MOST_JUDGES_LARGE if _is_large(job, model) else _MOST_JUDGES)
    limits = seen_limits(Path(model.file.path).read_bytes(), run.statistics.needed)
    scores = _score(job, model, plan, limits, [item.content for item in variants], judges)
    if later:
        fits = [index for index in plan.chosen if index not in set(judges)]
        corrected = _correct(job, plan, _select(job, variants, scores), later, fits)
        variants += corrected
        scores += _score(job, model, plan, limits, [item.content for item in corrected], judges)
    best = _best(variants, scores)
    tried = [
        Candidate(item.ranges.statistic, item.is_equalized, item.is_corrected, score)
        for item, score in zip(variants, scores, strict=True)
    ]
    order = [best, *(place for place in range(len(tried)) if place != best)]
    chosen = variants[best]
    return Made(
        chosen.content,
        chosen.ranges,
        tuple(tried[place] for place in order),
        chosen.corrections,
    )


# ---------------------------------------------------------------- what to try


def _corrections(
    job: Job, model: FloatModel, plan: SamplePlan, issues: list[Issue]
) -> tuple[str, ...]:
    """Corrections to make: those asked for; none by default with `--effort fast`."""
    asked = job.options.corrections
    if asked == "auto" and job.options.effort == "fast":
        return ()
    names = parse_corrections(asked)
    reason = None
    if len(plan.chosen) < _FEWEST:
        reason = f"{len(plan.chosen)} samples are too few to tell whether they help"
    elif any(-1 in spec.shape for spec in model.inputs):
        reason = "its shape is dynamic"
    if names and reason is not None:
        issues.append(make_issue("convert.no_corrections", f"no corrections made: {reason}"))
        return ()
    return names


def _statistics(job: Job, model: FloatModel, plan: SamplePlan) -> tuple[str, ...]:
    """Statistics to try; clipping a 16-bit range gains nothing."""
    asked = job.options.statistic
    if asked != "auto":
        return (asked,)
    is_fast = job.options.effort == "fast" or len(plan.chosen) < _FEWEST
    if is_fast or job.scheme.name != "int8":
        return _TRIED[:1]
    return _TRIED_LARGE if _is_large(job, model) else _TRIED


def _is_large(job: Job, model: FloatModel) -> bool:
    return job.options.effort != "best" and _activation_bytes(model) > _LARGE_BYTES


def _variants(
    job: Job,
    model: FloatModel,
    run: FloatRun,
    statistics: Sequence[str],
    names: Sequence[str],
    issues: list[Issue],
    *,
    is_equalized: bool,
) -> list[_Variant]:
    """One file per set of ranges that differs from those before it."""
    content = Path(model.file.path).read_bytes()
    found: dict[str, Ranges] = {}
    for statistic in statistics:
        chosen = _choose_ranges(run.statistics, statistic, is_asked=len(statistics) == 1)
        if chosen is None:
            continue
        ranges, mended = mend_ranges(content, chosen)
        found.setdefault(ranges.sha256, ranges)
        if mended and statistic == statistics[0]:
            issues.append(
                make_issue(
                    "convert.constant_tensors",
                    f"{len(mended)} tensors stayed at zero over all samples ({mended[0]} first); "
                    "their range is an estimate from their operands",
                )
            )
    sets = list(found.values())
    if len(statistics) > 1 and (shared := share_ranges(content, sets[0])) is not None:
        sets.append(shared)
    if "saturate" in names:
        sets = [limit_ranges(content, item, run.statistics.needed) for item in sets]
    return [_Variant(model, item, is_equalized, _quantize(job, model, item)) for item in sets]


def _choose_ranges(seen: Statistics, statistic: str, *, is_asked: bool) -> Ranges | None:
    """Ranges; None for a percentile that nobody asked for and that needs more samples."""
    try:
        return choose_ranges(seen, statistic)
    except DataError:
        if is_asked:
            raise
        return None


def _quantize(job: Job, model: FloatModel, ranges: Ranges) -> bytes:
    job.on_progress("quantize", 0, None)
    shape = (job.scheme, job.io, job.options.granularity, job.process, job.folder)
    return quantization.quantize(model, ranges, *shape, choose_mix(job, model))


def _equalized(
    job: Job, model: FloatModel, plan: SamplePlan, run: FloatRun
) -> tuple[FloatModel, FloatRun] | None:
    """The float model with equalized channels and its own calibration; None without such pairs."""
    content = Path(model.file.path).read_bytes()
    changed, count = equalization.equalize(content, run.statistics.channels)
    if count == 0:
        return None
    path = job.folder / "equalized.tflite"
    path.write_bytes(changed)
    other = replace(model, file=storage.refer(path))
    fed = feed(job, other, plan, "calibrate equalized")
    return other, calibration.run_float_model(other, fed, job.folder, CHECK_SAMPLES)


# ---------------------------------------------------------------- judging them


def _judges(plan: SamplePlan, most: int) -> tuple[int, ...]:
    """Calibration samples that take no part in corrections."""
    return plan.chosen[_JUDGES - 1 :: _JUDGES][:most] or plan.chosen


def _score(
    job: Job,
    model: FloatModel,
    plan: SamplePlan,
    limits: Mapping[str, tuple[float, float]],
    contents: Sequence[bytes],
    judges: Sequence[int],
) -> list[float]:
    """SQNR of each file's worst output in dB, all in one run.

    Args:
        limits: output name to the range that its final activation can tell apart.
    """
    assert plan.samples is not None
    paths = [job.folder / f"candidate-{number}.tflite" for number in range(len(contents) + 1)]
    for path, content in zip(paths, (Path(model.file.path).read_bytes(), *contents), strict=True):
        path.write_bytes(unsquash(content))
    leader = read_interface(paths[0])
    models = [(path, read_interface(path, leader)) for path in paths]
    meters = [QualityMeter(leader.outputs) for _ in contents]
    pairs = ((sample.inputs, None) for sample in plan.samples.iterate(judges))
    for outputs, _ in run_pairs(models, pairs, resolve_device("local")):
        seen = [
            {
                name: np.clip(values, *limits[name]) if name in limits else values
                for name, values in own.items()
            }
            for own in outputs
        ]
        for meter, own in zip(meters, seen[1:], strict=True):
            meter.add(seen[0], own, None)
    found = [worst_sqnr_db(meter.result(is_held_out=True)) for meter in meters]
    return [-math.inf if math.isnan(value) else value for value in found]


def _best(variants: Sequence[_Variant], scores: Sequence[float]) -> int:
    """The place of the highest score; among equals the first, which is the simplest."""
    trusted = [
        score + (_TRUST_DB if item.is_corrected else 0.0)
        for item, score in zip(variants, scores, strict=True)
    ]
    highest = max(trusted)
    return next(place for place, score in enumerate(trusted) if score >= highest - _BETTER_DB)


# ---------------------------------------------------------------- correcting them


def _select(job: Job, variants: Sequence[_Variant], scores: Sequence[float]) -> list[_Variant]:
    """The best few of each float model, or the best of all for a large one."""
    order = sorted(range(len(variants)), key=lambda place: -scores[place])
    if _is_large(job, variants[0].model):
        return [variants[order[0]]]
    is_small = _activation_bytes(variants[0].model) <= _LARGE_BYTES
    most = _MOST_CORRECTED if is_small else _MOST_CORRECTED_LARGE
    chosen: list[_Variant] = []
    for is_equalized in (False, True):
        own = [variants[place] for place in order if variants[place].is_equalized == is_equalized]
        chosen += own[:most]
    return chosen


def _correct(
    job: Job,
    plan: SamplePlan,
    chosen: Sequence[_Variant],
    names: Sequence[str],
    fits: Sequence[int],
) -> list[_Variant]:
    """Each of them corrected, several at a time."""
    assert plan.samples is not None
    count = min(len(fits), max(_FEWEST, _MOST_BYTES // _activation_bytes(chosen[0].model)))
    samples = [sample.inputs for sample in plan.samples.iterate(fits[:count])]

    def work(number: int) -> _Variant:
        item = chosen[number]
        folder = job.folder / f"correction-{number}"
        folder.mkdir()
        threads = max(1, (os.cpu_count() or 1) // at_once)
        content, done = correct(item.model, item.content, samples, names, folder, threads)
        return replace(item, content=content, corrections=done, is_corrected=True)

    job.on_progress("correct", 0, None)
    at_once = min(len(chosen), _AT_ONCE)
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(work, range(len(chosen))))


def _activation_bytes(model: FloatModel) -> int:
    """Bytes of all float activations of one inference, and of the INT8 ones beside them."""
    tree = flatbuffer.parse(Path(model.file.path).read_bytes(), "the float model")
    sizes = [
        math.prod(flatbuffer.indices(tensor.shape))
        for tensor in tree.subgraphs[0].tensors
        if not flatbuffer.is_constant(tree, tensor)
    ]
    return max(1, 5 * sum(sizes))
