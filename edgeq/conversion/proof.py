"""Proof of a conversion: the file read back, run beside the float model, and held to its gates."""

from __future__ import annotations

from pathlib import Path

from edgeq.accuracy.paired_runs import measure_quality, require_clear_names, unclear_names
from edgeq.accuracy.verdict import chance_doubt, judge_comparison, unproven_budget, worst_sqnr_db
from edgeq.conversion.plan import CHECK_SAMPLES, MAX_UNHELD, Job, SamplePlan
from edgeq.converters.lowering import lower
from edgeq.converters.proof import certificate
from edgeq.converters.quantization.selectors import Mix
from edgeq.device_runners.devices.addresses import resolve_device
from edgeq.device_runners.devices.device import Device
from edgeq.errors import CertificateError, DataError, GateError
from edgeq.issues import make_issue
from edgeq.values import Certificate, Conversion, FloatModel, Issue, Quality


def prove(job: Job, target: Path, model: FloatModel, mix: Mix, issues: list[Issue]) -> Certificate:
    """Read the file back; what is not as asked stops the work, unless the user allowed it.

    Args:
        mix: operators that were to be something else than the scheme's.
        issues: receives what was allowed, and what is worth knowing.

    Raises:
        CertificateError: with the list of reasons.
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
        message = f"--keep-float means all {len(mix.keep_float)} operators: nothing is quantized."
        issues.append(make_issue("convert.all_float", message))
    for spec in proof.inputs:
        if spec.dtype not in {job.io, "float32"}:
            issues.append(
                make_issue(
                    "convert.input_kept",
                    f"input {spec.name!r} stays {spec.dtype}: integers are not quantized",
                )
            )
    return proof


def measure_result(
    job: Job, model: FloatModel, plan: SamplePlan, target: Path, issues: list[Issue]
) -> Quality | None:
    """Float and quantized file on samples that calibration did not see.

    Args:
        issues: receives what is doubtful about the labels and about the quality.

    Raises:
        DataError: the labels of `--test-data` cannot be tied to classes.
        DeviceError: a file cannot be run.
    """
    job.on_progress("compare with float", 0, None)
    device: Device = resolve_device("local")
    float_file = Path(model.file.path)
    if plan.samples is None and plan.test is None:
        drawn = lower.random_samples(model.inputs, CHECK_SAMPLES, job.options.seed)
        measure_quality(float_file, target, ((inputs, None) for inputs in drawn), device)
        return None  # random inputs prove that it runs; they say nothing about its quality
    used, indices = plan.test, plan.tested
    if used is None:
        used = plan.samples
        # Calibration samples flatter the result: a few show whether it works at all.
        indices = plan.held_out or plan.chosen[:MAX_UNHELD]
    assert used is not None
    reason = unclear_names(used.class_names, model.outputs)
    if reason is not None and plan.test is not None:
        require_clear_names(used.class_names, model.outputs)
    if reason is not None:
        issues.append(make_issue("data.labels_unclear", f"{reason} They are not used."))
    pairs = (
        (sample.inputs, sample.label if reason is None else None)
        for sample in used.iterate(indices)
    )
    quality = measure_quality(float_file, target, pairs, device, is_held_out=plan.is_held_out)
    issues += _doubts(quality, job.options.max_drop_points)
    return quality


def _doubts(quality: Quality, budget: float | None) -> list[Issue]:
    """What a user must not overlook, with a gate of so many points or without one."""
    found = []
    if (unproven := unproven_budget(quality, budget)) is not None:
        found.append(make_issue("convert.few_samples", unproven))
    if (chance := chance_doubt(quality)) is not None:
        found.append(make_issue("convert.float_at_chance", f"{chance[0].upper()}{chance[1:]}."))
    verdict, reasons = judge_comparison(quality, None)
    if verdict == "no":
        lost = (
            f"The result lost much: {reasons[0]}; `edgeq compare` on more samples tells how much."
        )
        found.append(make_issue("convert.low_quality", lost))
    return found


def _judged_on(finished: Conversion) -> str:
    used = finished.test_data or finished.data
    return "the data" if used is None else used.source


def _way_out(finished: Conversion, least_db: float) -> str | None:
    """What to type instead, where a conversion that was tried keeps what this one lost."""
    for way in finished.ways_out:
        if way.keeps and way.sqnr_db is not None and way.sqnr_db >= least_db:
            return f"Tried on this model, it keeps everything: {way.command}"
    return None


def check_gates(finished: Conversion) -> None:
    """Hold the measured quality to the user's budgets.

    Raises:
        GateError: a budget is missed.
        DataError: it cannot be judged without class labels.
    """
    options, quality = finished.options, finished.quality
    if options.min_sqnr_db is not None and quality is not None:
        found = worst_sqnr_db(quality)
        if found < options.min_sqnr_db:
            raise GateError(
                f"SQNR is {found:.1f} dB, below the {options.min_sqnr_db:g} dB asked for; "
                "nothing was written.",
                hint=_way_out(finished, options.min_sqnr_db),
            )
    if options.max_drop_points is not None:
        if quality is None or quality.drop_points is None:
            raise DataError(
                "--max-drop needs labelled samples, and "
                f"{_judged_on(finished)} has no class labels.",
                hint="Put labels into the data (y in an .npz, a folder per class).",
            )
        drop = quality.drop_points
        if drop.value > options.max_drop_points:
            raise GateError(
                f"Accuracy drops by {drop.value:.2f} points (95 % interval {drop.low:.2f} to "
                f"{drop.high:.2f}), more than the {options.max_drop_points:g} asked for; "
                "nothing was written."
            )
