"""`edgeq gate`: a policy applied to records; reads numbers, runs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgeq.gating.facts import Facts, gather
from edgeq.gating.judges import Scene, cannot_tell
from edgeq.gating.policy import Limit, Policy
from edgeq.gating.rules import RULES
from edgeq.records import Record
from edgeq.values import Finding, GateResult, RuleVerdict

_WORST_FIRST = ("fail", "cannot-tell", "pass")


def apply_policy(
    policy: Policy, records: Sequence[Record], baseline: Sequence[Record] = ()
) -> GateResult:
    """What the records say about each rule.

    A rule that fails decides over one that cannot be judged: whatever the missing figure is, the
    model does not ship.

    Args:
        records: of one model.
        baseline: of the model that regressions are against.

    Raises:
        RecordError: the records are of different models, or of none.
    """
    now = gather(records, "records")
    before = gather(baseline, "baseline's records") if baseline else None
    scene = Scene(policy, now, before)
    rules = tuple(_judge(limit, scene) for limit in policy.limits)
    return GateResult(
        policy=policy.file,
        candidate=now.candidate,
        records=_named(records),
        baseline=None if before is None else before.candidate,
        baseline_records=_named(baseline),
        unused=now.unused,
        verdict=_worst(rule.verdict for rule in rules),
        rules=rules,
    )


def _named(records: Sequence[Record]) -> tuple[tuple[str, str], ...]:
    return tuple((record.path, record.sha256) for record in records)


def _judge(limit: Limit, scene: Scene) -> RuleVerdict:
    rule = RULES[limit.rule]
    findings = list(rule.judge(limit, scene)) or [_missing(limit, scene.now)]
    weighed = _outweigh(findings)
    verdict = _worst(finding.verdict for finding in weighed)
    order = sorted(
        findings, key=lambda item: (item not in weighed, _WORST_FIRST.index(item.verdict))
    )
    return RuleVerdict(limit.name, limit.shown, limit.line, verdict, tuple(order))


def _outweigh(findings: Sequence[Finding]) -> list[Finding]:
    """Sound findings outweigh doubted ones about the same subject."""
    sound = {finding.subject for finding in findings if finding.is_sound}
    return [item for item in findings if item.is_sound or item.subject not in sound]


def _missing(limit: Limit, facts: Facts) -> Finding:
    rule = RULES[limit.rule]
    for failure in facts.failures:
        if failure.device == limit.device:
            reason = f"{failure.device} gave no result: {failure.error}"
            return cannot_tell("", reason, "Mend the device and measure again.", failure.origin)
    if limit.device is not None:
        there = sorted({fact.result.facts.device for fact in facts.benches})
        others = f"; there are records of {', '.join(there)}" if there else ""
        reason = f"no record has such a figure of {limit.device}{others}"
        return cannot_tell(limit.device, reason, rule.missing)
    return cannot_tell("", "no record has such a figure", rule.missing)


def _worst(verdicts: Iterable[str]) -> str:
    found = set(verdicts)
    return next(verdict for verdict in _WORST_FIRST if verdict in found)
