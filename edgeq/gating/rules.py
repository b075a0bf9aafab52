"""The rules a policy can have: one table, and how each judges the figures that records hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from edgeq import flatbuffer, judging
from edgeq.errors import UsageError
from edgeq.gating import policy as reading
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
from edgeq.gating.intervals import Estimate, growth_percent, hold_against, increase
from edgeq.gating.policy import PROVEN, Limit, Policy, Reader
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


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        key: in the policy.
        place: "", "devices" or "regression": the tables it may stand in; "any" is the policy itself
            (for every device that was measured) or a device's.
        read: from the file's value to a number.
        unit: of a bare number, behind it.
        meaning: for the reference.
        example: a value as it is written.
        judge: one finding for each figure; none when no record has one.
        missing: what to do then.
    """

    key: str
    place: str
    read: Reader
    unit: str
    meaning: str
    example: str
    judge: Judge
    missing: str


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


def _judge_drop(limit: Limit, scene: Scene) -> Iterator[Finding]:
    for figure in find_drops(scene.now):
        proof = scene.policy.drop_must_be
        yield _hold(scene, figure, limit.value, is_upper=True, proof=proof)


def _judge_sqnr(limit: Limit, scene: Scene) -> Iterator[Finding]:
    for figure in find_sqnrs(scene.now):
        yield _hold(scene, figure, limit.value, is_upper=False)


# ---------------------------------------------------------------- the file


def _judge_size(limit: Limit, scene: Scene) -> Iterator[Finding]:
    for figure in find_sizes(scene.now):
        yield _hold(scene, figure, limit.value, is_upper=True)


def _judge_islands(limit: Limit, scene: Scene) -> Iterator[Finding]:
    for fact in scene.now.certificates[:1]:
        count = fact.certificate.float_islands
        noun = "float island" if count == 1 else "float islands"
        figure = Figure(
            "", Estimate(float(count)), "count", f"{count} {noun}",
            (inside(fact.origin, ".float_islands"),),
        )  # fmt: skip
        yield _hold(scene, figure, limit.value, is_upper=True)


def _judge_runtime(limit: Limit, scene: Scene) -> Iterator[Finding]:
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


def _judge_latency(share: float) -> Judge:
    find = find_latencies(share)

    def judge(limit: Limit, scene: Scene) -> Iterator[Finding]:
        for figure in find(scene.now, limit.device):
            proof = scene.policy.speed_must_be
            yield _hold(scene, figure, limit.value, is_upper=True, proof=proof)

    return judge


def _judge_memory(limit: Limit, scene: Scene) -> Iterator[Finding]:
    for figure in find_memories(scene.now, limit.device):
        yield _hold(scene, figure, limit.value, is_upper=True)


def _judge_speedup(limit: Limit, scene: Scene) -> Iterator[Finding]:
    for figure in find_speedups(scene.now, limit.device):
        proof = scene.policy.speed_must_be
        yield _hold(scene, figure, limit.value, is_upper=False, proof=proof)


# ---------------------------------------------------------------- regressions

Figures = Callable[[Facts], Iterable[Figure]]
Change = Callable[[Estimate, Estimate], Estimate]
_NO_BASELINE = "Pass the baseline's records with --baseline."


def _regression(
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


def _on_all(find: Callable[[Facts, str | None], Iterator[Figure]]) -> Figures:
    return lambda facts: find(facts, None)


def _lost_db(now: Estimate, before: Estimate) -> Estimate:
    same = now.value == before.value  # two infinities have no difference
    return Estimate(0.0 if same else before.value - now.value)


_COMPARE = "Give the record of edgeq compare with labelled samples."
_CONVERT = "Give the record that convert wrote beside the model."
_BENCH = "Give a record of edgeq bench or compare from that device."

RULES: dict[tuple[str, str], Rule] = {
    (rule.place, rule.key): rule
    for rule in (
        Rule(
            "max_drop_points",
            "",
            reading.read_number,
            " points",
            "accuracy lost against FP32, in points",
            "0.5",
            _judge_drop,
            _COMPARE,
        ),
        Rule(
            "min_sqnr_db",
            "",
            reading.read_number,
            " dB",
            "SQNR of the worst output",
            "25",
            _judge_sqnr,
            _COMPARE,
        ),
        Rule(
            "max_size",
            "",
            reading.read_size,
            "",
            "size of the file",
            '"300 kB"',
            _judge_size,
            _CONVERT,
        ),
        Rule(
            "max_float_islands",
            "",
            reading.read_count,
            "",
            "groups of float operators inside",
            "0",
            _judge_islands,
            _CONVERT,
        ),
        Rule(
            "runs_on",
            "",
            reading.read_version,
            "",
            "TensorFlow Lite release that must be able to load the file",
            '"2.14"',
            _judge_runtime,
            _CONVERT,
        ),
        Rule(
            "max_p50_ms",
            "devices",
            reading.read_positive,
            " ms",
            "median latency",
            "12",
            _judge_latency(0.5),
            _BENCH,
        ),
        Rule(
            "max_p90_ms",
            "devices",
            reading.read_positive,
            " ms",
            "latency of nine in ten inferences",
            "15",
            _judge_latency(0.9),
            _BENCH,
        ),
        Rule(
            "min_speedup",
            "any",
            reading.read_positive,
            "x",
            "latency of the first model (FP32) over this one's, in one measurement",
            "1.5",
            _judge_speedup,
            "Give a record of edgeq compare, or of bench with FP32 first.",
        ),
        Rule(
            "max_peak_memory",
            "any",
            reading.read_size,
            "",
            "memory of the process that ran it",
            '"80 MB"',
            _judge_memory,
            _BENCH,
        ),
        Rule(
            "max_drop_points",
            "regression",
            reading.read_number,
            " points",
            "more accuracy lost than the baseline lost, in points",
            "0.5",
            _regression(find_drops, increase, "points", "{:+.2f} points"),
            _COMPARE,
        ),
        Rule(
            "max_sqnr_loss_db",
            "regression",
            reading.read_number,
            " dB",
            "SQNR below the baseline's",
            "1",
            _regression(find_sqnrs, _lost_db, "dB", "{:+.1f} dB"),
            _COMPARE,
        ),
        Rule(
            "max_size_percent",
            "regression",
            reading.read_number,
            " %",
            "growth of the file",
            "2",
            _regression(find_sizes, growth_percent, "percent", "{:+.1f} %"),
            _CONVERT,
        ),
        Rule(
            "max_p50_percent",
            "regression",
            reading.read_number,
            " %",
            "growth of the median latency",
            "5",
            _regression(
                _on_all(find_latencies(0.5)), growth_percent, "percent", "{:+.1f} %", is_timed=True
            ),
            _BENCH,
        ),
        Rule(
            "max_p90_percent",
            "regression",
            reading.read_number,
            " %",
            "growth of the p90 latency",
            "10",
            _regression(
                _on_all(find_latencies(0.9)), growth_percent, "percent", "{:+.1f} %", is_timed=True
            ),
            _BENCH,
        ),
        Rule(
            "max_peak_memory_percent",
            "regression",
            reading.read_number,
            " %",
            "growth of the peak memory",
            "5",
            _regression(_on_all(find_memories), growth_percent, "percent", "{:+.1f} %"),
            _BENCH,
        ),
    )
}


def rules_in(place: str) -> dict[str, Rule]:
    """The rules that may stand in a table: "", "devices" or "regression"."""
    tables = {place} if place == "regression" else {place, "any"}
    return {rule.key: rule for rule in RULES.values() if rule.place in tables}
