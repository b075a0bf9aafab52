"""How rules judge the figures that records hold: one finding for each figure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from edgeq.gating.absolutes import find_accuracies
from edgeq.gating.facts import Facts, inside
from edgeq.gating.figures import (
    Figure,
    find_drops,
    find_latencies,
    find_sizes,
    find_speedups,
    find_sqnrs,
)
from edgeq.gating.intervals import Estimate, hold_against
from edgeq.gating.policy import PROVEN, Limit, Policy
from edgeq.tflite import flatbuffer
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


def hold(
    scene: Scene, figure: Figure, limit: float, *, is_upper: bool, proof: str = PROVEN
) -> Finding:
    """A figure against a limit, unless there are doubts that the policy does not accept."""
    doubts, accepted = _doubts(scene, figure.issues)
    estimate = figure.estimate
    remedy: str | None
    if doubts or estimate is None:
        verdict, reason, remedy = "cannot-tell", _say(doubts), _mend(doubts)
    else:
        verdict, reason = hold_against(estimate, limit, is_upper=is_upper, proof=proof)
        # What mends a failure is in the table of rules.
        remedy = "Measure with more samples or --rounds." if verdict == "cannot-tell" else None
    known = estimate or Estimate(math.nan)
    return Finding(
        subject=figure.subject, verdict=verdict, reason=reason, figure=figure.shown,
        value=None if estimate is None else estimate.value, low=known.low, high=known.high,
        unit=figure.unit, origins=figure.origins, accepted=accepted, remedy=remedy,
        is_sound=not doubts and estimate is not None,
    )  # fmt: skip


def _say(doubts: tuple[Issue, ...]) -> str:
    if not doubts:
        return "the record has no value for it"
    codes = ", ".join(dict.fromkeys(issue.code for issue in doubts))
    return f"the figure is doubted: {doubts[0].message} [{codes}]"


def _mend(doubts: tuple[Issue, ...]) -> str:
    if not doubts or any(issue.severity == "error" for issue in doubts):
        return "Measure again where that does not hold; an error cannot be accepted."
    codes = ", ".join(f'"{code}"' for code in dict.fromkeys(issue.code for issue in doubts))
    return f"Measure again where that does not hold, or write in [policy]: accept = [{codes}]"


def cannot_tell(subject: str, reason: str, remedy: str, *origins: Origin) -> Finding:
    """Without a figure."""
    return Finding(
        subject=subject, verdict="cannot-tell", reason=reason, figure="", value=None, low=None,
        high=None, unit="", origins=origins, accepted=(), remedy=remedy, is_sound=False,
    )  # fmt: skip


# ---------------------------------------------------------------- quality


def judge_drop(limit: Limit, scene: Scene) -> Iterator[Finding]:
    """Accuracy lost on each data set."""
    for figure in find_drops(scene.now):
        proof = scene.policy.drop_must_be
        yield hold(scene, figure, limit.value, is_upper=True, proof=proof)


def judge_accuracy(limit: Limit, scene: Scene) -> Iterator[Finding]:
    """The model's own accuracy on each data set."""
    for figure in find_accuracies(scene.now):
        proof = scene.policy.drop_must_be
        yield hold(scene, figure, limit.value, is_upper=False, proof=proof)


def judge_sqnr(limit: Limit, scene: Scene) -> Iterator[Finding]:
    """The outputs' worst part on each data set."""
    for figure in find_sqnrs(scene.now):
        yield hold(scene, figure, limit.value, is_upper=False)


# ---------------------------------------------------------------- the file


def judge_size(limit: Limit, scene: Scene) -> Iterator[Finding]:
    """The file's size."""
    for figure in find_sizes(scene.now):
        yield hold(scene, figure, limit.value, is_upper=True)


def judge_islands(limit: Limit, scene: Scene) -> Iterator[Finding]:
    """Float operators inside."""
    for fact in scene.now.certificates[:1]:
        count = fact.certificate.float_islands
        noun = "float island" if count == 1 else "float islands"
        figure = Figure(
            "", Estimate(float(count)), "count", f"{count} {noun}",
            (inside(fact.origin, ".float_islands"),),
        )  # fmt: skip
        yield hold(scene, figure, limit.value, is_upper=True)


def judge_runtime(limit: Limit, scene: Scene) -> Iterator[Finding]:
    """Whether a release of TensorFlow Lite can load and run the file."""
    for fact in scene.now.certificates[:1]:
        proof = fact.certificate
        needed = proof.min_runtime_version
        origin = inside(fact.origin, ".min_runtime_version")
        if proof.flex_ops or proof.custom_ops:
            # The release that a file states counts TensorFlow Lite's own operators only.
            names = ", ".join((*proof.flex_ops, *proof.custom_ops))
            field = inside(fact.origin, ".flex_ops" if proof.flex_ops else ".custom_ops")
            reason = f"no release has all of its operators: {names} must be brought along"
            yield cannot_tell("", reason, "Replace these operators in the model.", field)
        elif needed is None:
            reason = "the file does not say which runtime it needs"
            yield cannot_tell("", reason, "Convert it with edgeq.", origin)
        else:
            # "2.14" stands for all of its patch releases.
            fits = flatbuffer.release(needed) <= (*flatbuffer.release(limit.text), math.inf)
            yield Finding(
                subject="", verdict="pass" if fits else "fail",
                reason="within the limit" if fits else "newer than the limit", figure=needed,
                value=None, low=None, high=None, unit="version", origins=(origin,), accepted=(),
                remedy=None, is_sound=True,
            )  # fmt: skip


# ---------------------------------------------------------------- devices


def judge_time(find: Callable[[Facts, str | None], Iterator[Figure]]) -> Judge:
    """What judges a time in each measurement."""

    def judge(limit: Limit, scene: Scene) -> Iterator[Finding]:
        for figure in find(scene.now, limit.device):
            proof = scene.policy.speed_must_be
            yield hold(scene, figure, limit.value, is_upper=True, proof=proof)

    return judge


def judge_latency(share: float) -> Judge:
    """What judges a quantile of the latency in each measurement."""
    return judge_time(find_latencies(share))


def judge_memory(find: Callable[[Facts, str | None], Iterator[Figure]]) -> Judge:
    """What judges a size of memory in each measurement."""

    def judge(limit: Limit, scene: Scene) -> Iterator[Finding]:
        for figure in find(scene.now, limit.device):
            yield hold(scene, figure, limit.value, is_upper=True)

    return judge


def judge_speedup(limit: Limit, scene: Scene) -> Iterator[Finding]:
    """Against the first model of each measurement."""
    for figure in find_speedups(scene.now, limit.device):
        proof = scene.policy.speed_must_be
        yield hold(scene, figure, limit.value, is_upper=False, proof=proof)
