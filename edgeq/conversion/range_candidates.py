"""Make candidate files that differ in their ranges, from the plain and the equalized model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgeq.conversion.input_ranges import cut_inputs
from edgeq.conversion.plan import Job, SamplePlan, choose_mix
from edgeq.converters.calibration.calibrate import FloatRun
from edgeq.converters.calibration.masked_ranges import REACH, fit_masks
from edgeq.converters.calibration.saturation import Limit, limit_ranges
from edgeq.converters.calibration.shared_ranges import share_ranges
from edgeq.converters.calibration.statistics import Statistics, choose_ranges
from edgeq.converters.calibration.zero_ranges import estimate_ranges
from edgeq.converters.corrections.correct import parse_corrections
from edgeq.converters.quantization.quantize import make_writer
from edgeq.converters.samples.open_samples import spread
from edgeq.errors import DataError
from edgeq.issues import make_issue
from edgeq.tflite import flatbuffer
from edgeq.tflite.model_file import shared_tree
from edgeq.values import FloatModel, Issue, LayerCorrection, Ranges
from edgeq.values.schemes import Scheme

# The statistics that "auto" tries; the others are used on request only.
_TRIED = ("minmax", "mse", "percentile:99.99", "percentile:99.999")
TRIED_LARGE = _TRIED[:2]

# On the few samples that a large model's correction can hold, these two gain nothing over rounding
# and bias alone, and take more than half of the time.
_LEFT_OUT_LARGE = ("refit", "clip")
LARGE_ROWS = 2048  # positions of a layer that a large model's correction fits on

_JUDGES = 2  # every second calibration sample scores the candidates
_MOST_JUDGES = 128
_MOST_JUDGES_LARGE = 32

FEWEST = 8  # calibration samples that a choice needs

# A model with more bytes of activations is large: fewer candidates are tried, so that `--effort
# balanced` stays faster than the stock converter, and `best` takes at most twice its time
# (benchmarks/convert.py).
LARGE_BYTES = 16 << 20


@dataclass(frozen=True)
class RangeCandidate:
    """A float model with ranges, and the file made from them.

    Attributes:
        correction_samples: samples that corrected its layers; 0 without corrections.
    """

    model: FloatModel
    ranges: Ranges
    is_equalized: bool
    content: bytes
    corrections: tuple[LayerCorrection, ...] = ()
    correction_samples: int = 0

    @property
    def is_corrected(self) -> bool:
        """Whether its layers were corrected after quantization."""
        return self.correction_samples > 0


def choose_judges(job: Job, model: FloatModel, plan: SamplePlan) -> tuple[int, ...]:
    """Return every second calibration sample: they score the files, the others correct them."""
    most = _MOST_JUDGES_LARGE if is_large(job, model) else _MOST_JUDGES
    return spread(plan.chosen[_JUDGES - 1 :: _JUDGES], most) or plan.chosen


def choose_corrections(
    job: Job, model: FloatModel, plan: SamplePlan, issues: list[Issue]
) -> tuple[str, ...]:
    """Return the corrections to make: the requested ones; none by default with `--effort fast`."""
    asked = job.options.corrections
    if asked == "auto" and job.options.effort == "fast":
        return ()
    names = parse_corrections(asked)
    reason = None
    if len(plan.chosen) < FEWEST:
        reason = f"{len(plan.chosen)} samples are too few to measure whether they help"
    elif any(-1 in spec.shape[1:] for spec in model.inputs):
        reason = "its shape is dynamic"
    if names and reason is not None:
        issues.append(make_issue("convert.no_corrections", f"no corrections made: {reason}"))
        return ()
    if asked == "auto" and is_large(job, model):
        return tuple(name for name in names if name not in _LEFT_OUT_LARGE)
    return names


def choose_statistics(job: Job, model: FloatModel, plan: SamplePlan) -> tuple[str, ...]:
    """Return the statistics to try; clipping a 16-bit range gains nothing."""
    asked = job.options.statistic
    if asked != "auto":
        return (asked,)
    is_fast = job.options.effort == "fast" or len(plan.chosen) < FEWEST
    if is_fast or job.scheme.activations != "int8":
        return _TRIED[:1]
    return TRIED_LARGE if is_large(job, model) else _TRIED


def is_large(job: Job, model: FloatModel) -> bool:
    """Return whether fewer candidates are tried for a large model; never with `--effort best`."""
    return job.options.effort != "best" and activation_bytes(model) > LARGE_BYTES


@dataclass(frozen=True)
class CalibratedModel:
    """A float model and its calibration pass.

    Attributes:
        input_limits: tensor name to the limits of its range (see `input_ranges`).
        notes: what a file made from it has to report.
    """

    model: FloatModel
    run: FloatRun
    is_equalized: bool
    input_limits: Mapping[str, Limit]
    notes: tuple[Issue, ...] = ()


def make_candidates(
    job: Job,
    models: Sequence[CalibratedModel],
    statistics: Sequence[str],
    names: Sequence[str],
    issues: list[Issue],
) -> list[RangeCandidate]:
    """Make one file for each distinct set of ranges."""
    found = []
    for item in models:
        shape = (job.scheme, job.io, job.options.granularity, choose_mix(job, item.model))
        writer = make_writer(Path(item.model.file.path).read_bytes(), *shape)
        job.on_progress("quantize", 0, None)
        found += [
            RangeCandidate(item.model, ranges, item.is_equalized, writer.write(ranges))
            for ranges in range_sets(job.scheme, item, statistics, names, issues)
        ]
    return found


def range_sets(
    scheme: Scheme,
    item: CalibratedModel,
    statistics: Sequence[str],
    names: Sequence[str],
    issues: list[Issue],
) -> list[Ranges]:
    """Return the distinct sets of ranges that some statistics give.

    Args:
        names: of the corrections to make.
        issues: receives notes.
    """
    content, seen = Path(item.model.file.path).read_bytes(), item.run.statistics
    found: dict[str, Ranges] = {}
    for statistic in statistics:
        chosen = _choose_ranges(seen, statistic, is_asked=len(statistics) == 1)
        if chosen is None:
            continue
        ranges, estimated = estimate_ranges(content, chosen)
        found.setdefault(ranges.sha256, ranges)
        if estimated and statistic == statistics[0] and not item.is_equalized:
            issues.append(
                make_issue(
                    "convert.constant_tensors",
                    f"{len(estimated)} tensors, e.g. {estimated[0]}, were zero in all samples; "
                    "their ranges are estimated from the inputs of their operators",
                )
            )
    sets = list(found.values())
    reach = REACH if scheme.activations == "int8" else 2 * REACH
    sets = [fit_masks(content, ranges, reach) for ranges in sets]
    if "saturate" in names:
        sets = [limit_ranges(content, ranges, seen.needed) for ranges in sets]
    if len(statistics) > 1 and (shared := share_ranges(content, sets[0])) is not None:
        sets.append(shared)
    return [cut_inputs(ranges, item.input_limits) for ranges in sets]


def _choose_ranges(seen: Statistics, statistic: str, *, is_asked: bool) -> Ranges | None:
    """Return ranges, or None for an optional percentile that needs more samples."""
    try:
        return choose_ranges(seen, statistic)
    except DataError:
        if is_asked:
            raise
        return None


@cache
def activation_bytes(model: FloatModel) -> int:
    """Return the bytes of all float and INT8 activations of one inference."""
    tree = shared_tree(Path(model.file.path).read_bytes(), "the float model")
    sizes = [
        math.prod(flatbuffer.indices(tensor.shape))
        for tensor in tree.subgraphs[0].tensors
        if not flatbuffer.is_constant(tree, tensor)
    ]
    return max(1, 5 * sum(sizes))
