"""Which of two sets of ranges to quantize with: the outputs on calibration samples decide."""

from __future__ import annotations

from pathlib import Path

from edgeq.converters import quantization
from edgeq.converters.range_sharing import share_ranges
from edgeq.device_runners.device import resolve_device
from edgeq.evaluation import measure_quality
from edgeq.issues import make_issue
from edgeq.judging import worst_sqnr_db
from edgeq.planning import Job, SamplePlan, kept_operators
from edgeq.values import FloatModel, Issue, Ranges

CHOICE_SAMPLES = 64

# Below this the two are equal, and the true ranges are kept.
_BETTER_DB = 0.1


def quantize_best(
    job: Job, model: FloatModel, plan: SamplePlan, ranges: Ranges
) -> tuple[bytes, Ranges, tuple[Issue, ...]]:
    """Quantize with the calibrated ranges, or with shared ones where they give better outputs.

    `--effort fast` takes the calibrated ranges as they are; so does a model without element-wise
    operators that work in place, for which the two are the same.

    Returns:
        The flatbuffer, the ranges it was made with, and a note when they are the shared ones.
    """
    shared = None
    if job.options.effort != "fast":
        shared = share_ranges(Path(model.file.path).read_bytes(), ranges)
    plain = _quantize(job, model, ranges)
    if shared is None:
        return plain, ranges, ()
    other = _quantize(job, model, shared)
    job.on_progress("choose ranges", 0, None)
    before = _sqnr_db(job, model, plan, plain)
    after = _sqnr_db(job, model, plan, other)
    if after <= before + _BETTER_DB:
        return plain, ranges, ()
    message = (
        f"Operands of in-place ADD, SUB and MUL share their result's range: {after:.1f} dB SQNR "
        f"instead of {before:.1f} on calibration samples."
    )
    return other, shared, (make_issue("convert.shared_ranges", message),)


def _quantize(job: Job, model: FloatModel, ranges: Ranges) -> bytes:
    shape = (job.scheme, job.io, job.options.granularity, job.process, job.folder)
    return quantization.quantize(model, ranges, *shape, kept_operators(job, model))


def _sqnr_db(job: Job, model: FloatModel, plan: SamplePlan, content: bytes) -> float:
    assert plan.samples is not None
    candidate = job.folder / "candidate.tflite"
    candidate.write_bytes(content)
    few = plan.chosen[:CHOICE_SAMPLES]
    pairs = ((sample.inputs, None) for sample in plan.samples.iterate(few))
    device = resolve_device("local")
    return worst_sqnr_db(measure_quality(Path(model.file.path), candidate, pairs, device))
