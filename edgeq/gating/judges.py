"""How rules judge the figures that records hold: one finding for each figure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from edgeq.conversion.feeding import find_doubt
from edgeq.gating.facts import BenchFact, Facts, inside
from edgeq.gating.figures import Figure, Find
from edgeq.gating.intervals import Estimate, judge_estimate
from edgeq.gating.policy import PROVEN, Limit, Policy
from edgeq.tflite import flatbuffer
from edgeq.values import Finding, Issue, Origin


@dataclass(frozen=True)
class Scene:
    """Everything that a rule can judge by.

    Attributes:
        now: the facts of the model that is judged.
        before: the facts of the baseline, None without one.
    """

    policy: Policy
    now: Facts
    before: Facts | None


Judge = Callable[[Limit, Scene], Iterable[Finding]]


def judge_figure(
    scene: Scene, figure: Figure, limit: float, *, is_upper: bool, proof: str = PROVEN
) -> Finding:
    """Compare a figure with a limit, unless there are doubts that the policy does not accept."""
    serious = [issue for issue in figure.issues if issue.severity in ("warning", "error")]
    accepted = [
        issue
        for issue in serious
        if issue.severity == "warning" and issue.code in scene.policy.accept
    ]
    doubts = [issue for issue in serious if issue not in accepted]
    estimate = figure.estimate
    remedy: str | None
    if doubts or estimate is None:
        verdict, (reason, remedy) = "cannot-tell", _explain(doubts)
    else:
        verdict, reason = judge_estimate(estimate, limit, is_upper=is_upper, proof=proof)
        is_beyond = estimate.value > limit if is_upper else estimate.value < limit
        more = "--rounds" if isinstance(figure.context, BenchFact) else "samples"
        # The remedy of a value beyond the limit is in the table of rules.
        is_open = verdict == "cannot-tell" and not is_beyond
        remedy = f"Measure with more {more}." if is_open else None
    known = estimate or Estimate(math.nan)
    return Finding(
        subject=figure.subject, verdict=verdict, reason=reason, figure=figure.shown,
        value=None if estimate is None else estimate.value, low=known.low, high=known.high,
        unit=figure.unit, origins=figure.origins, remedy=remedy,
        accepted=tuple(dict.fromkeys(issue.code for issue in accepted)),
        is_sound=not doubts and estimate is not None,
    )  # fmt: skip


def _explain(doubts: list[Issue]) -> tuple[str, str]:
    """Why a figure cannot be judged, and what to do."""
    codes = list(dict.fromkeys(issue.code for issue in doubts))
    reason = "the record has no value for it"
    if doubts:
        first = find_doubt(doubts) or doubts[0]
        reason = f"the figure is doubted: {first.message} [{', '.join(codes)}]"
    if not doubts or any(issue.severity == "error" for issue in doubts):
        return reason, "Measure again where that does not hold; an error cannot be accepted."
    accept = ", ".join(f'"{code}"' for code in codes)
    write = f"write in [policy]: accept = [{accept}]"
    if find_doubt(doubts) is not None or "convert.float_at_chance" in codes:
        # A wrong input makes every figure wrong, and no drop would show it.
        return reason, (
            "Correct the preprocessing or the labels, then convert and compare again; only if "
            f"they are right, {write}"
        )
    return reason, f"Measure again where that does not hold, or {write}"


def cannot_tell(subject: str, reason: str, remedy: str, *origins: Origin) -> Finding:
    """A finding without a figure."""
    return Finding(
        subject=subject, verdict="cannot-tell", reason=reason, figure="", value=None, low=None,
        high=None, unit="", origins=origins, accepted=(), remedy=remedy, is_sound=False,
    )  # fmt: skip


def at_most(find: Find, proof: str = "") -> Judge:
    """Make a judge of figures that must not exceed the limit.

    Args:
        proof: the policy's setting for how certain a figure must be; "" for "proven".
    """
    return _judge_all(find, proof, is_upper=True)


def at_least(find: Find, proof: str = "") -> Judge:
    """Make a judge of figures that must not fall below the limit; see `at_most`."""
    return _judge_all(find, proof, is_upper=False)


def _judge_all(find: Find, proof: str, *, is_upper: bool) -> Judge:
    def judge(limit: Limit, scene: Scene) -> Iterator[Finding]:
        must_be = getattr(scene.policy, proof) if proof else PROVEN
        for figure in find(scene.now, limit.device):
            yield judge_figure(scene, figure, limit.value, is_upper=is_upper, proof=must_be)

    return judge


_OF_FIT = {"fits": "pass", "tight": "cannot-tell", "no": "fail"}


def judge_fit(limit: Limit, scene: Scene) -> Iterator[Finding]:
    """Whether the file fits the board that the rule names."""
    for fact in scene.now.fits:
        for place, found in enumerate(fact.fit.boards):
            if found.board.name != limit.text:
                continue
            verdict = _OF_FIT[found.verdict]
            yield Finding(
                subject=limit.text, verdict=verdict,
                reason="; ".join(found.reasons) or "it fits, with room for your program",
                figure=found.verdict.upper(), value=None, low=None, high=None, unit="",
                origins=(inside(fact.origin, f".boards[{place}].verdict"),), accepted=(),
                # The remedy of a failure is in the table of rules.
                remedy=_MAKE_ROOM if verdict == "cannot-tell" else None, is_sound=True,
            )  # fmt: skip


_MAKE_ROOM = (
    "If your program needs less, give the record of edgeq fit with a smaller --headroom-flash or "
    "--headroom-ram."
)


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
