"""How each rule judges the figures that records hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from edgeq import flatbuffer, judging
from edgeq.errors import UsageError
from edgeq.gating.facts import Facts, inside
from edgeq.gating.figures import (
    Figure,
    find_benches,
    find_drops,
    find_latencies,
    find_memories,
    find_sizes,
    find_speedups,
    find_sqnrs,
    run_of,
    show,
)
from edgeq.gating.intervals import Estimate, hold_against
from edgeq.gating.policy import PROVEN, Limit, Policy
from edgeq.values import Finding, Issue, Origin


@dataclass(frozen=True)
class Scene:
    """What every rule may look at.

    Attributes:
        now: the facts of the model that is judged.
        before: of the baseline, None without one.
    """

    policy: Policy
    now: Facts
    before: Facts | None


Judge = Callable[[Limit, Scene], Iterable[Finding]]


# ---------------------------------------------------------------- findings


def _doubts(scene: Scene, issues: Iterable[Issue]) -> tuple[tuple[Issue, ...], tuple[str, ...]]:
    """What makes a figure unfit to be judged, and the codes that the policy accepts instead."""
    serious = [issue for issue in issues if issue.severity in ("warning", "error")]
    accepted = [
        issue
        for issue in serious
        if issue.severity == "warning" and issue.code in scene.policy.accept
    ]
    rest = tuple(issue for issue in serious if issue not in accepted)
    return rest, tuple(dict.fromkeys(issue.code for issue in accepted))


def _hold(
    scene: Scene, figure: Figure, limit: float, *, is_upper: bool, proof: str = PROVEN
) -> Finding:
    doubts, accepted = _doubts(scene, figure.issues)
    estimate = figure.estimate
    verdict, reason = hold_against(estimate, limit, is_upper=is_upper, proof=proof)
    remedy = None if verdict == "pass" else "Measure with more samples or runs."
    if verdict == "fail":
        remedy = "Mend the model, or change the limit."
    if doubts:
        codes = ", ".join(dict.fromkeys(issue.code for issue in doubts))
        verdict, reason = "cannot-tell", f"the figure is doubted: {doubts[0].message} [{codes}]"
        remedy = "Measure again where that does not hold, or accept the code in the policy."
    return Finding(
        subject=figure.subject, verdict=verdict, reason=reason, figure=figure.shown,
        value=estimate.value, low=estimate.low, high=estimate.high, unit=figure.unit,
        origins=figure.origins, accepted=accepted, remedy=remedy, is_sound=not doubts,
    )  # fmt: skip


def cannot_tell(subject: str, reason: str, remedy: str, *origins: Origin) -> Finding:
    """Without a figure."""
    return Finding(
        subject=subject, verdict="cannot-tell", reason=reason, figure="", value=None, low=None,
        high=None, unit="", origins=origins, accepted=(), remedy=remedy, is_sound=False,
    )  # fmt: skip


# ---------------------------------------------------------------- quality


def judge_drop(limit: Limit, scene: Scene) -> Iterator[Finding]:
    """Accuracy lost against FP32."""
    for figure in find_drops(scene.now):
        proof = scene.policy.drop_must_be
        yield _hold(scene, figure, limit.value, is_upper=True, proof=proof)


def judge_sqnr(limit: Limit, scene: Scene) -> Iterator[Finding]:
    """Of the worst output."""
    for figure in find_sqnrs(scene.now):
        yield _hold(scene, figure, limit.value, is_upper=False)


# ---------------------------------------------------------------- the file


def judge_size(limit: Limit, scene: Scene) -> Iterator[Finding]:
    """Of the file."""
    for figure in find_sizes(scene.now):
        yield _hold(scene, figure, limit.value, is_upper=True)


def judge_islands(limit: Limit, scene: Scene) -> Iterator[Finding]:
    """Groups of float operators."""
    for fact in scene.now.certificates[:1]:
        count = fact.certificate.float_islands
        noun = "float island" if count == 1 else "float islands"
        figure = Figure(
            "", Estimate(float(count)), "count", f"{count} {noun}",
            (inside(fact.origin, ".float_islands"),),
        )  # fmt: skip
        yield _hold(scene, figure, limit.value, is_upper=True)


def judge_runtime(limit: Limit, scene: Scene) -> Iterator[Finding]:
    """The oldest runtime that can load the file."""
    for fact in scene.now.certificates[:1]:
        origin = inside(fact.origin, ".min_runtime_version")
        needed = fact.certificate.min_runtime_version
        if needed is None:
            reason = "the file does not say which runtime it needs"
            yield cannot_tell("", reason, "Convert it with edgeq.", origin)
            continue
        # "2.14" stands for all of its patch releases.
        fits = flatbuffer.release(needed) <= (*flatbuffer.release(limit.text), math.inf)
        yield Finding(
            subject="", verdict="pass" if fits else "fail",
            reason="within the limit" if fits else "newer than the limit", figure=needed,
            value=None, low=None, high=None, unit="version", origins=(origin,), accepted=(),
            remedy=None if fits else "Convert with --granularity tensor or another --scheme.",
            is_sound=True,
        )  # fmt: skip


# ---------------------------------------------------------------- devices


def judge_latency(share: float) -> Judge:
    """What judges a quantile of the latency."""
    find = find_latencies(share)

    def judge(limit: Limit, scene: Scene) -> Iterator[Finding]:
        for figure in find(scene.now, limit.device):
            proof = scene.policy.speed_must_be
            yield _hold(scene, figure, limit.value, is_upper=True, proof=proof)

    return judge


def judge_memory(limit: Limit, scene: Scene) -> Iterator[Finding]:
    """Peak memory."""
    for figure in find_memories(scene.now, limit.device):
        yield _hold(scene, figure, limit.value, is_upper=True)


def judge_speedup(limit: Limit, scene: Scene) -> Iterator[Finding]:
    """Against the first model of the same measurement."""
    for figure in find_speedups(scene.now, limit.device):
        proof = scene.policy.speed_must_be
        yield _hold(scene, figure, limit.value, is_upper=False, proof=proof)


# ---------------------------------------------------------------- regressions

Figures = Callable[[Facts], Iterable[Figure]]
Change = Callable[[Estimate, Estimate], Estimate]
_NO_BASELINE = "Pass the baseline's records with --baseline."


def regression(
    find: Figures, change: Change, unit: str, form: str, *, is_timed: bool = False
) -> Judge:
    """Judge how a figure has changed since the baseline, subject by subject."""

    def judge(limit: Limit, scene: Scene) -> Iterator[Finding]:
        if scene.before is None:
            yield cannot_tell("", "there is no baseline", _NO_BASELINE)
            return
        before = {figure.subject: figure for figure in find(scene.before)}
        figures = list(find(scene.now))
        for figure in figures:
            other = before.get(figure.subject)
            if other is None:
                yield _without_twin(figure, before)
                continue
            reason = _why_not_comparable(scene, figure) if is_timed else None
            if reason is not None:
                yield cannot_tell(figure.subject, reason, "Measure both alike.", *figure.origins)
                continue
            estimate = change(figure.estimate, other.estimate)
            changed = replace(
                figure, estimate=estimate, unit=unit, shown=show(estimate, form),
                origins=(*figure.origins, *other.origins), issues=(*figure.issues, *other.issues),
            )  # fmt: skip
            proof = scene.policy.speed_must_be if is_timed else scene.policy.drop_must_be
            yield _hold(scene, changed, limit.value, is_upper=True, proof=proof)

    return judge


def _without_twin(figure: Figure, before: dict[str, Figure]) -> Finding:
    if not before:
        return cannot_tell(
            figure.subject, "the baseline's records have no such figure",
            "Give the baseline's record of the same kind.", *figure.origins,
        )  # fmt: skip
    what = "measured on" if figure.unit in ("ms", "bytes") else "of the data"
    theirs = ", ".join(name[:12] if what != "measured on" else name for name in before)
    ours = figure.subject[:12] if what != "measured on" else figure.subject
    return cannot_tell(
        figure.subject, f"it is {what} {ours}, the baseline's {what} {theirs}",
        "Measure both on the same device and data.", *figure.origins,
    )  # fmt: skip


def _why_not_comparable(scene: Scene, figure: Figure) -> str | None:
    """Why a latency cannot be held against the baseline's on the device of that name."""
    assert scene.before is not None
    pair = [
        replace(fact.result, runs=(replace(run_of(fact), issues=()),))
        for facts in (scene.now, scene.before)
        for fact in list(find_benches(facts, figure.subject))[:1]
    ]
    try:
        judging.require_comparable(*pair)
    except UsageError as error:
        return error.message.rstrip(".")
    return None


def on_all(find: Callable[[Facts, str | None], Iterator[Figure]]) -> Figures:
    """Figures of every device."""
    return lambda facts: find(facts, None)


def lost_db(now: Estimate, before: Estimate) -> Estimate:
    """By how much an SQNR has fallen."""
    same = now.value == before.value  # two infinities have no difference
    return Estimate(0.0 if same else before.value - now.value)
