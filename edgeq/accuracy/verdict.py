"""The verdict on FP32 against INT8, from measured numbers; nothing is run."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence

from edgeq.accuracy.parts import LOST_DB
from edgeq.errors import UsageError
from edgeq.issues import ISSUE_KINDS, make_issue
from edgeq.metrics.catalogue import ACCURACY
from edgeq.metrics.intervals import wilson_interval
from edgeq.timing import direction, show_ends
from edgeq.values import (
    BenchResult,
    BenchRun,
    Comparison,
    DeviceFacts,
    Interval,
    Issue,
    LostColumn,
    MetricLoss,
    OutputQuality,
    PartQuality,
    Quality,
)
from edgeq.wording import signed

# An accuracy drop that engineers accept without a second look, in percentage points.
SMALL_DROP_POINTS = 1.0
# Metrics without a unit whose best value is 1: 0.01 of it is a percentage point.
_SHARES = ("r2", "auc")


def worst_part(quality: Quality) -> PartQuality | None:
    """Return the part with the lowest SQNR; None if no output varies, or for records of 0.1."""
    parts = [part for output in quality.outputs for part in output.parts]
    return min(
        (part for part in parts if part.sqnr_db is not None),
        key=lambda part: math.inf if part.sqnr_db is None else part.sqnr_db,
        default=None,
    )


def worst_sqnr_db(quality: Quality) -> float:
    """Return the lowest SQNR over the parts of the outputs, in dB.

    If no part varies, and for records of edgeq 0.1, which have no parts, it is that of whole
    outputs.
    """
    worst = worst_part(quality)
    if worst is None or worst.sqnr_db is None:
        return total_sqnr_db(quality)
    return worst.sqnr_db


def output_sqnr_db(output: OutputQuality) -> float | None:
    """Return the SQNR of the worst part of an output, in dB; None if it does not vary."""
    found = [part.sqnr_db for part in output.parts if part.sqnr_db is not None]
    if found:
        return min(found)
    return None if output.parts else output.sqnr_db


def total_sqnr_db(quality: Quality) -> float:
    """Return the lowest SQNR over whole outputs, in dB, as in edgeq 0.1: it misses small parts.

    A NaN, which records may contain, is the lowest.
    """
    found = [output.sqnr_db for output in quality.outputs]
    return -math.inf if any(map(math.isnan, found)) else min(found)


def find_lost(quality: Quality) -> tuple[str, ...]:
    """Return the lost parts and columns as sentences without a full stop, the worst first.

    A part or a column is lost below `parts.LOST_DB`. The whole output that labels score is left
    out, because its accuracy is measured.
    """
    found: list[tuple[float, str]] = []
    for part in (part for output in quality.outputs for part in output.parts):
        is_low = part.sqnr_db is not None and part.sqnr_db < LOST_DB and part.is_known
        if part.sqnr_db is not None and is_low and part.where != quality.scored_output:
            found.append((part.sqnr_db, f"{part.where} is lost: {_beside(part)}"))
        else:
            found += [
                (column.sqnr_db, f"{column.where} is lost: {_beside(column)}")
                for column in part.lost
            ]
    return tuple(text for _, text in sorted(found, key=lambda item: item[0]))


def _beside(lost: PartQuality | LostColumn) -> str:
    assert lost.sqnr_db is not None
    if lost.sqnr_db == -math.inf:
        return f"its values vary by {lost.spread:.3g}, and the candidate's are NaN or infinite"
    error = lost.spread * 10 ** (-lost.sqnr_db / 20)
    return f"its values vary by {lost.spread:.3g}, the error is {error:.3g} ({lost.sqnr_db:.1f} dB)"


def doubt_of_parts(quality: Quality) -> str | None:
    """Return why the SQNR of the parts is not meaningful; None if it is."""
    for output in quality.outputs:
        if output.not_finite:
            return (
                f"{output.not_finite} of the float model's values of {output.name} are NaN or "
                "infinite"
            )
    parts = [part for output in quality.outputs for part in output.parts]
    if parts and all(part.sqnr_db is None for part in parts):
        return "the float model's outputs do not vary on these samples, so nothing is measured"
    if any(not part.is_known for part in parts):
        return f"{quality.sample_count} samples are too few to know how far the outputs vary"
    return None


def device_of(value: Comparison) -> str | None:
    """Return the device that the samples ran on; older records state it with latencies only."""
    if value.device is None and value.bench is not None:
        return value.bench.facts.device
    return value.device


def judge_comparison(
    quality: Quality,
    bench: BenchResult | None,
    issues: Sequence[Issue] = (),
    is_int8: bool = True,
) -> tuple[str, tuple[str, ...]]:
    """Return the verdict, "ship", "check" or "no", and its reasons as sentences.

    "no": a paired interval proves a loss above 1 point of accuracy or of another metric, a part or
    column of an output is lost, or the SQNR is below 10 dB without labels. "check": anything that
    is not proven.

    Args:
        bench: baseline first, then candidate.
        issues: warnings among them become reasons.
        is_int8: whether the candidate computes in INT8; a missing speed-up is explained by it.
    """
    losses = [pair.loss for pair in quality.metrics if pair.loss is not None]
    reasons = list(find_lost(quality))
    verdict = "no" if reasons else "ship"
    drop = quality.drop_points
    judged = [
        (loss, point)
        for loss in losses
        if loss.name != ACCURACY and (point := _point_of(loss)) is not None
    ]
    for loss, point in judged:
        found, reason = _judge_interval(f"{loss.name} loss", loss.loss, point)
        verdict = _worse(verdict, found)
        reasons.append(reason)
    if drop is not None:
        found, reason = _judge_interval("accuracy drop", drop, 1.0)
        verdict = _worse(verdict, found)
        reasons.append(reason)
        for issue in float_doubts(quality):
            verdict = _worse(verdict, "check")
            reasons.append(issue.message.removesuffix("."))
    elif not judged:
        sqnr = worst_sqnr_db(quality)
        is_low = sqnr == -math.inf or (sqnr < LOST_DB and doubt_of_parts(quality) is None)
        verdict = _worse(verdict, "no" if is_low else "check")
        reasons.append(
            f"no class labels, so accuracy is unknown; the outputs' SQNR is {sqnr:.1f} dB"
            + (f", below {LOST_DB:g} dB" if is_low else "")
        )
    if (doubt := doubt_of_parts(quality)) is not None:
        verdict = _worse(verdict, "check")
        reasons.append(doubt)
    if bench is not None:
        verdict, more = _judge_speed(verdict, bench, is_int8)
        reasons += more
    codes = [issue.code for issue in issues if issue.severity == "warning"]
    codes += [] if quality.is_held_out else ["convert.not_held_out"]
    if codes:
        verdict = _worse(verdict, "check")
    reasons += [f"{ISSUE_KINDS[code].title} [{code}]" for code in dict.fromkeys(codes)]
    return verdict, tuple(reasons)


def _worse(one: str, other: str) -> str:
    order = ("ship", "check", "no")
    return max(one, other, key=order.index)


def float_doubts(quality: Quality) -> tuple[Issue, ...]:
    """Return doubts about the float model's own accuracy.

    A drop of 0 between two models that are both wrong proves nothing. Twice chance counts as better
    than chance even with few samples; the interval of the drop shows that they are few.
    """
    accuracy, classes = quality.baseline_accuracy_percent, quality.class_count
    if accuracy is None or classes is None:
        return ()
    found = []
    if quality.renamed_accuracy_percent is not None:
        text = (
            f"The float model is right for {accuracy:.2f} % of the samples, and for "
            f"{quality.renamed_accuracy_percent:.2f} % if its classes are renamed: the labels have "
            "another order of classes; give the model's class indices as labels, or number the "
            "class folders."
        )
        found.append(make_issue("convert.class_order", text))
    right = round(accuracy * quality.sample_count / 100)
    low, _ = wilson_interval(right, quality.sample_count)
    if low <= 100 / classes and accuracy < 200 / classes:
        text = (
            f"The float model's own accuracy, {accuracy:.2f} %, is not proven to be above chance "
            f"({100 / classes:.3g} % for {classes} classes): check the order of the classes, "
            "and the colours and the scale (--preprocess channels=bgr, scale=1/255)."
        )
        found.append(make_issue("convert.float_at_chance", text))
    return tuple(found)


def in_points(loss: MetricLoss) -> Interval:
    """Return a loss as a budget counts it.

    A point is one of a metric in per cent, 0.01 of `r2` and `auc`, and one unit of an error.
    """
    point, found = _point_of(loss) or 1.0, loss.loss
    return Interval(found.value / point, found.low / point, found.high / point)


def budget_drop(quality: Quality) -> Interval | None:
    """Return the loss that a budget limits, in points; None if it was not measured.

    It is the loss of the first metric of the task, or the accuracy drop without metrics.
    """
    if not quality.metrics:
        return quality.drop_points
    loss = quality.metrics[0].loss
    return None if loss is None else in_points(loss)


def budget_name(quality: Quality) -> str:
    """Return what `budget_drop` is the loss of."""
    return quality.metrics[0].baseline.name if quality.metrics else "accuracy"


def unproven_budget(quality: Quality, budget: float | None) -> str | None:
    """Return a sentence if the interval of the budget's loss exceeds it, or None."""
    drop = budget_drop(quality)
    if budget is None or drop is None or drop.high <= budget:
        return None
    what = "drop" if not quality.metrics else f"loss of {budget_name(quality)}"
    return (
        f"The {what} is {drop.value:.2f} points on {quality.sample_count} samples, with a 95 % "
        f"interval up to {drop.high:.2f}: more samples are needed to prove {budget:g}."
    )


def _point_of(loss: MetricLoss) -> float | None:
    """Return what is as much as a percentage point; None for errors in the outputs' own units."""
    if loss.unit == "percent":
        return 1.0
    return 0.01 if loss.name in _SHARES else None


def _judge_interval(what: str, found: Interval, point: float) -> tuple[str, str]:
    """Judge a loss: is it proven above or within `SMALL_DROP_POINTS`?

    Args:
        point: the value of a percentage point in the loss's unit, see `_point_of`.
    """
    limit = SMALL_DROP_POINTS * point
    form, unit = (".2f", " points") if point == 1 else (".4f", "")
    value, low, high = (signed(each, form) for each in (found.value, found.low, found.high))
    shown_limit = f"{limit:g}{' point' if point == 1 else ''}"
    shown = f"{what} {value}{unit} (95 % interval {low} to {high})"
    if found.low > limit:
        return "no", f"{shown}: proven above {shown_limit}"
    if found.high <= limit:
        return "ship", f"{shown}: proven within {shown_limit}"
    return "check", f"{shown}: more labelled samples are needed to compare it with {shown_limit}"


def require_comparable(*results: BenchResult) -> None:
    """Refuse latencies that cannot be compared.

    Args:
        results: the runs of all of them are compared.

    Raises:
        UsageError: a run is invalid (an emulated device, too low a supply voltage), or two differ
            in device, processor, runtime, threads or cores.
    """
    runs = [(result.facts, run) for result in results for run in result.runs]
    for facts, run in runs:
        for issue in run.issues:
            if issue.severity == "error":
                raise UsageError(
                    f"Latencies measured on {facts.device} cannot be compared: {issue.message} "
                    f"[{issue.code}]",
                    hint="Measure on a healthy board; size and accuracy need no latency "
                    "(tune --objective size, compare --no-latency).",
                )
    for facts, run in runs[1:]:
        ours, theirs = measuring_conditions(*runs[0]), measuring_conditions(facts, run)
        for what, value in ours.items():
            if theirs[what] != value:
                raise UsageError(
                    f"The latencies of {runs[0][1].model.path} and {run.model.path} cannot be "
                    f"compared: {what} {value} against {theirs[what]}.",
                    hint="Measure both in one edgeq bench.",
                )


def measuring_conditions(facts: DeviceFacts, run: BenchRun) -> dict[str, str]:
    """Return the conditions that two comparable latencies share."""
    return {
        "device": facts.device,
        "processor": facts.processor,
        "runtime": f"{run.runtime.name} {run.runtime.version}",
        "threads": str(run.threads),
        "cores": ", ".join(map(str, run.cores)) or "as scheduled",
        "run": "in bursts" if run.sustained is None else "sustained",
    }


def _why_not_faster(bench: BenchResult, is_int8: bool) -> str:
    """The processor's reason, or the command that finds one."""
    facts = bench.facts
    if is_int8 and facts.has_dot_product is False:
        missing = "VNNI or AMX" if "ssse3" in facts.cpu_features else "asimddp"
        return (
            f"the processor has no dot product instructions ({missing}): without them INT8 is "
            "not much faster than FP32, and often slower; measure on the device that will run it"
        )
    first, last = bench.runs[0].model.path, bench.runs[-1].model.path
    words = ["edgeq", "profile", last, *([first] if first.endswith(".tflite") else [])]
    words += [] if facts.device == "local" else ["--device", facts.device]
    return f"the operators that take the time: {shlex.join(words)}"


def _judge_speed(verdict: str, bench: BenchResult, is_int8: bool) -> tuple[str, list[str]]:
    reasons = []
    if not bench.speedups:
        codes = {i.code for run in bench.runs for i in run.issues if i.severity == "error"}
        why = ", ".join(f"{ISSUE_KINDS[code].title} [{code}]" for code in sorted(codes))
        reasons.append(f"no speed-up, the latency figures are invalid: {why}")
        return "check" if verdict == "ship" else verdict, reasons
    ratio = bench.speedups[0]
    value, low, high = show_ends(ratio)
    shown = f"{value}x (95 % interval {low} to {high})"
    if direction(ratio) < 0:
        reasons.append(f"the candidate is slower on this device: {shown}")
        verdict = "check" if verdict == "ship" else verdict
    else:
        reasons.append(f"{'speed-up' if direction(ratio) else 'no difference in latency:'} {shown}")
    if direction(ratio) <= 0:
        reasons.append(_why_not_faster(bench, is_int8))
    if any(run.validity != "valid" for run in bench.runs):
        codes = {i.code for run in bench.runs for i in run.issues if i.severity == "warning"}
        why = ", ".join(f"{ISSUE_KINDS[code].title} [{code}]" for code in sorted(codes))
        reasons.append(f"the latency figures are degraded: {why}")
        verdict = "check" if verdict == "ship" else verdict
    return verdict, reasons
