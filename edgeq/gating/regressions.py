"""The change of a figure since the baseline; only figures measured the same way are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Literal

from edgeq import timing
from edgeq.accuracy import verdict
from edgeq.errors import UsageError
from edgeq.gating.facts import BenchFact, QualityFact, inside
from edgeq.gating.figures import (
    Figure,
    Find,
    find_p50s,
    find_p90s,
    find_p90s_apart,
    find_sqnrs,
    find_total_sqnrs,
    knows_parts,
    run_of,
    show,
)
from edgeq.gating.intervals import Estimate, growth_since_percent
from edgeq.gating.judges import Judge, Scene, cannot_tell, judge_figure
from edgeq.gating.policy import Limit
from edgeq.values import BenchRun, Finding

Change = Callable[[Estimate, Estimate], Estimate]
Quantile = Literal["p50_ms", "p90_ms"]
# Quantile of a run, to the figures of one measurement, and those to compare with another one.
_FIND: dict[Quantile, tuple[Find, Find]] = {
    "p50_ms": (find_p50s, find_p50s),
    "p90_ms": (find_p90s, find_p90s_apart),
}
_APART = (
    f"measured apart, so with {100 * timing.BETWEEN_RUNS:g} % for the time between the two runs"
)
_OF_ONE_PROCESS = (
    f"with {100 * timing.ONE_PROCESS:g} % for a record of one process, by edgeq 0.1 or a phone's "
    "benchmark_model"
)
_NO_BASELINE = (
    "Pass the baseline's records with --baseline; for edgeq run, in [run] baseline_records."
)


def regression(find: Find, change: Change, unit: str, form: str) -> Judge:
    """Make a judge of a change, subject by subject (a device, a data set).

    Every figure is compared with each of the baseline's for the same subject. A pair that was not
    measured the same way is a finding without a figure; any other pair outweighs it.

    Args:
        find: the figures of one side.
        change: from now and before to the change.
        form: of the change, with its unit.
    """

    def judge(limit: Limit, scene: Scene) -> Iterator[Finding]:
        if scene.before is None:
            yield cannot_tell("", "there is no baseline", _NO_BASELINE)
            return
        before, now = list(find(scene.before, None)), list(find(scene.now, None))
        for figure in now:
            twins = [other for other in before if other.subject == figure.subject]
            if not twins:
                yield _without_twin(figure, before)
            for other in twins:
                yield _judge_pair(limit, scene, figure, other)
        yield from _gone(now, before)

    def _judge_pair(limit: Limit, scene: Scene, figure: Figure, other: Figure) -> Finding:
        origins = (*figure.origins, *other.origins)
        reason = _why_not_comparable(figure, other)
        if reason is not None:
            return cannot_tell(figure.subject, reason, "Measure both in the same way.", *origins)
        assert figure.estimate is not None and other.estimate is not None  # no speed-ups here
        estimate = change(figure.estimate, other.estimate)
        changed = replace(
            figure, estimate=estimate, unit=unit, shown=show(estimate, form), origins=origins,
            issues=(*figure.issues, *other.issues),
        )  # fmt: skip
        policy = scene.policy
        is_timed = isinstance(figure.context, BenchFact)
        proof = policy.speed_must_be if is_timed else policy.drop_must_be
        return judge_figure(scene, changed, limit.value, is_upper=True, proof=proof)

    return judge


def sqnr_regression(change: Change, unit: str, form: str) -> Judge:
    """Make a judge of the SQNR's change: of the worst part, if both sides have parts."""
    by_parts = regression(find_sqnrs, change, unit, form)
    of_outputs = regression(find_total_sqnrs, change, unit, form)

    def judge(limit: Limit, scene: Scene) -> Iterator[Finding]:
        sides = {knows_parts(side) for side in (scene.before, scene.now) if side is not None}
        if sides != {True, False}:
            yield from by_parts(limit, scene)
            return
        for finding in of_outputs(limit, scene):
            reason = f"{finding.reason}, of whole outputs: a record of edgeq 0.1 has no parts"
            yield replace(finding, reason=reason)

    return judge


def latency_regression(quantile: Quantile) -> Judge:
    """Make a judge of the growth of a quantile of the latency.

    Where the records measured the baseline's file alternating with this one, the rounds' ratios
    decide, and a change of the machine since the baseline's own records does not matter.
    """
    find, find_apart = _FIND[quantile]
    apart = regression(find_apart, growth_since_percent, "percent", "{:+.2f} %")

    def judge(limit: Limit, scene: Scene) -> Iterator[Finding]:
        known = set()
        for figure in [] if scene.before is None else find(scene.now, None):
            finding = _judge_alternating(limit, scene, figure, quantile)
            if finding is not None:
                yield finding
                known |= {finding.subject} if finding.is_sound else set()
        for finding in apart(limit, scene):
            if finding.subject not in known:
                sides = (scene.before, scene.now)
                benches = [fact for side in sides if side is not None for fact in side.benches]
                is_old = finding.is_sound and not all(run_of(fact).rounds for fact in benches)
                more = f"{_OF_ONE_PROCESS}; " if is_old else ""
                reason = f"{finding.reason}, {more}{_APART}" if finding.is_sound else finding.reason
                yield replace(finding, reason=reason)

    return judge


def _judge_alternating(
    limit: Limit, scene: Scene, figure: Figure, quantile: Quantile
) -> Finding | None:
    """Against the baseline's file in the same measurement; None where it has no such rounds."""
    assert isinstance(figure.context, BenchFact) and scene.before is not None
    result, index = figure.context.result, figure.context.index
    digests = [run.model.sha256 for run in result.runs]
    if scene.before.candidate.sha256 not in digests:
        return None
    place = digests.index(scene.before.candidate.sha256)
    now, before = (_of_rounds(result.runs[number], quantile) for number in (index, place))
    if place == index or not now or len(now) != len(before):
        return None
    ratio = timing.ratio_of_rounds(now, before)
    estimate = Estimate(*(100 * (value - 1) for value in (ratio.value, ratio.low, ratio.high)))
    changed = replace(
        figure, estimate=estimate, unit="percent", shown=show(estimate, "{:+.2f} %"),
        issues=(*figure.issues, *result.runs[place].issues),
        origins=tuple(
            inside(figure.context.origin, f".runs[{number}].rounds") for number in (index, place)
        ),
    )  # fmt: skip
    proof = scene.policy.speed_must_be
    finding = judge_figure(scene, changed, limit.value, is_upper=True, proof=proof)
    if not finding.is_sound:
        return finding
    return replace(
        finding, reason=f"{finding.reason}, measured alternating with the baseline's file"
    )


def _of_rounds(run: BenchRun, quantile: Quantile) -> list[float]:
    """The p50 or p90 of each round; none if one is not known."""
    found = [getattr(own, quantile) for own in run.rounds]
    known = [value for value in found if value]
    return known if len(known) == len(found) else []


def _without_twin(figure: Figure, before: Sequence[Figure]) -> Finding:
    if not before:
        return cannot_tell(
            figure.subject, "the baseline's records have no such figure",
            "Give the baseline's record of the same kind.", *figure.origins,
        )  # fmt: skip
    what = "of the data" if isinstance(figure.context, QualityFact) else "measured on"
    theirs = ", ".join(dict.fromkeys(_name(other) for other in before))
    return cannot_tell(
        figure.subject, f"it is {what} {_name(figure)}, the baseline's {what} {theirs}",
        "Measure both on the same device and data.", *figure.origins,
    )  # fmt: skip


def _gone(now: Sequence[Figure], before: Sequence[Figure]) -> Iterator[Finding]:
    """A device or data set that the baseline has, and that was not measured again."""
    there = {figure.subject for figure in now}
    for other in before:
        # Without any figure there is one finding for all.
        if now and other.subject not in there:
            there.add(other.subject)
            yield cannot_tell(
                other.subject, f"the baseline has it of {_name(other)}, the records do not",
                "Measure there again, or leave it out of the baseline.", *other.origins,
            )  # fmt: skip


def _name(figure: Figure) -> str:
    if isinstance(figure.context, QualityFact):
        return f"{figure.context.data.source} ({figure.subject[:12]})"
    return figure.subject


def _why_not_comparable(figure: Figure, other: Figure) -> str | None:
    """Why two figures of one subject cannot be compared, None when they can."""
    ours, theirs = figure.context, other.context
    for side, name in ((figure, "it"), (other, "the baseline")):
        if side.estimate is None:
            return f"{name} has no value: {side.shown}"
    if isinstance(ours, BenchFact) and isinstance(theirs, BenchFact):
        try:
            # The policy decides about doubts; here only the conditions count.
            verdict.require_comparable(
                *(
                    replace(fact.result, runs=(replace(run_of(fact), issues=()),))
                    for fact in (ours, theirs)
                )
            )
        except UsageError as error:
            return error.message.rstrip(".")
    if isinstance(ours, QualityFact) and isinstance(theirs, QualityFact):
        counts = ours.quality.sample_count, theirs.quality.sample_count
        if counts[0] != counts[1]:
            return f"it has {counts[0]} samples, the baseline's has {counts[1]}"
        fed = [", ".join(fact.preprocessing) or "nothing" for fact in (ours, theirs)]
        if fed[0] != fed[1]:
            return f"it is with the preprocessing {fed[0]}, the baseline's with {fed[1]}"
        if None not in (ours.device, theirs.device) and ours.device != theirs.device:
            return f"it is measured on {ours.device}, the baseline's on {theirs.device}"
    return None
