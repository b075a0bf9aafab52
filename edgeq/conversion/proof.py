"""Prove a conversion: read the file, run it beside the float model, and check the budgets."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgeq.accuracy.class_names import unclear_names
from edgeq.accuracy.paired_runs import (
    Pair,
    make_scorers,
    measure_quality,
)
from edgeq.accuracy.verdict import (
    budget_drop,
    budget_name,
    float_doubts,
    judge_comparison,
    unproven_budget,
    worst_sqnr_db,
)
from edgeq.conversion.feeding import find_doubt
from edgeq.conversion.file_metadata import joined_file
from edgeq.conversion.plan import CHECK_SAMPLES, MAX_UNHELD, Job, SamplePlan
from edgeq.converters.lowering import lower
from edgeq.converters.proof import certificate
from edgeq.converters.quantization.selectors import Mix
from edgeq.converters.samples.open_samples import spread
from edgeq.errors import CertificateError, DataError, DeviceError, GateError, QuantizationError
from edgeq.issues import make_issue
from edgeq.tflite import lstm
from edgeq.tflite.model_file import read_model
from edgeq.values import Certificate, Conversion, FloatModel, Issue, Quality


def prove(job: Job, target: Path, model: FloatModel, mix: Mix, issues: list[Issue]) -> Certificate:
    """Certify the file; a difference from the options is an error, unless the user allowed it.

    Args:
        mix: operators with another precision than the scheme's.
        issues: receives the differences that were allowed, and notes.

    Raises:
        CertificateError: lists the differences.
    """
    proof = certificate.judge(
        certificate.certify(target),
        job.scheme,
        job.io,
        job.options.granularity,
        model.inputs,
        model.outputs,
        mix,
    )
    if proof.problems and not job.options.allow_float:
        raise CertificateError(
            f"The result is not --scheme {job.scheme.name}: {' '.join(proof.problems)}",
            hint="Pass --allow-float to accept it as it is, or try another --scheme.",
        )
    issues += [make_issue("convert.not_as_asked", problem) for problem in proof.problems]
    computed = {op.precision for op in proof.operators}
    if mix.keep_float and not computed & {"int8", "int16x8"}:
        message = f"--keep-float selects all {len(mix.keep_float)} operators: nothing is quantized."
        issues.append(make_issue("convert.all_float", message))
    for spec in proof.inputs:
        if spec.dtype not in {job.io, "float32"}:
            issues.append(
                make_issue(
                    "convert.input_kept",
                    f"input {spec.name!r} stays {spec.dtype}: integers are not quantized",
                )
            )
    if names := lstm.keeping_state(read_model(target).tree):
        message = (
            f"LSTM operators ({', '.join(names)}) keep their states from call to call: reset the "
            "variables of the interpreter before each sample, as Keras does"
        )
        issues.append(make_issue("convert.lstm_state", message))
    return proof


def measure_result(
    job: Job, model: FloatModel, plan: SamplePlan, target: Path, issues: list[Issue]
) -> Quality | None:
    """Compare the float and the quantized file on samples that did not calibrate.

    Args:
        issues: receives the issues of the labels and of the quality.

    Raises:
        DeviceError: the float file cannot be run.
        QuantizationError: the quantized file cannot be run.
    """
    job.on_progress("compare with float", 0, None)
    float_file = joined_file(model, job.folder)
    if plan.samples is None and plan.test is None:
        drawn = lower.random_samples(model.inputs, CHECK_SAMPLES, job.options.seed)
        _measure(job, float_file, target, ((inputs, None) for inputs in drawn))
        return None  # random inputs prove that it runs, but cannot measure its quality
    used, indices = plan.test, plan.tested
    if used is None:
        used = plan.samples
        # On calibration samples the quality is too good: a few show only whether it works.
        indices = plan.held_out or spread(plan.chosen, MAX_UNHELD)
    assert used is not None
    unclear = unclear_names(used, model.outputs) if plan.test is None else None
    if unclear is not None:
        issues.append(make_issue("data.labels_unclear", f"{unclear[0]} They are not used."))
    pairs = (
        (sample.inputs, sample.label if unclear is None else None)
        for sample in used.iterate(indices)
    )
    scorers = None
    if plan.has_task and (used.has_labels or job.options.metrics):
        scorers = make_scorers(job.options.metrics, job.options.decode, model.inputs)
    quality = _measure(
        job, float_file, target, pairs, is_held_out=plan.is_held_out, scorers=scorers
    )
    issues += _doubts(quality, job.options.max_drop_points, find_doubt(issues))
    return quality


def _measure(
    job: Job, float_file: Path, target: Path, pairs: Iterable[Pair], **options: Any
) -> Quality:
    """Compare two files; a quantized one that cannot be run has no name that the user knows."""
    try:
        return measure_quality(float_file, target, pairs, job.device, **options)
    except DeviceError as error:
        beginning, _, reason = error.message.partition(": ")
        if str(target) not in beginning:
            raise
        raise QuantizationError(
            f"The quantized file cannot be run: {reason}",
            hint="--scheme dynamic and fp16 keep all activations in float.",
            details=error.details,
        ) from error


def _doubts(quality: Quality, budget: float | None, fed: Issue | None) -> list[Issue]:
    """Return the warnings about the quality.

    Args:
        budget: the value of `--max-drop`, in points.
        fed: a doubt about how the model is fed.
    """
    found = []
    if (unproven := unproven_budget(quality, budget)) is not None:
        found.append(make_issue("convert.few_samples", unproven))
    found += float_doubts(quality)
    verdict, reasons = judge_comparison(quality, None)
    if verdict == "no":
        way = "`edgeq compare` on more samples measures it"
        if fed is not None:
            way = f"first correct how the samples are fed [{fed.code}]"
        lost = f"The quality is low: {reasons[0]}; {way}."
        found.append(make_issue("convert.low_quality", lost))
    return found


def _judged_on(finished: Conversion) -> str:
    used = finished.test_data or finished.data
    return "the data" if used is None else used.source


def _way_out(finished: Conversion, least_db: float) -> str | None:
    """Return the command of a tried conversion that meets the budget, if there is one."""
    for way in finished.ways_out:
        if way.keeps and way.sqnr_db is not None and way.sqnr_db >= least_db:
            return f"Tried on this model, it keeps everything: {way.command}"
    return None


def check_gates(finished: Conversion) -> None:
    """Check the measured quality against the user's budgets.

    Raises:
        GateError: a budget is missed.
        DataError: it cannot be judged without class labels.
    """
    options, quality = finished.options, finished.quality
    if options.min_sqnr_db is not None and quality is not None:
        found = worst_sqnr_db(quality)
        if found < options.min_sqnr_db:
            raise GateError(
                f"SQNR is {found:.1f} dB, below the required {options.min_sqnr_db:g} dB; "
                "nothing was written.",
                hint=_way_out(finished, options.min_sqnr_db),
            )
    if options.max_drop_points is not None:
        drop = None if quality is None else budget_drop(quality)
        if quality is None or drop is None:
            raise DataError(
                "--max-drop needs labelled samples, and "
                f"{_judged_on(finished)} has no class labels.",
                hint="Put labels into the data (y in an .npz, a folder per class), or --labels.",
            )
        if drop.value > options.max_drop_points:
            verb = "gets worse" if quality.metrics else "drops"
            name = budget_name(quality)
            raise GateError(
                f"{name[:1].upper()}{name[1:]} {verb} by {drop.value:.2f} points (95 % interval "
                f"{drop.low:.2f} to {drop.high:.2f}), more than the allowed "
                f"{options.max_drop_points:g}; nothing was written."
            )
