"""`edgeq gate`: a policy applied to records; reads numbers, runs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeq.errors import UsageError
from edgeq.gating.facts import Facts, FailedDevice, gather
from edgeq.gating.judges import Scene, cannot_tell
from edgeq.gating.parsing import read_policy
from edgeq.gating.policy import Limit, Policy
from edgeq.gating.rules import RULES
from edgeq.records.reading import Record, read_all
from edgeq.values import JUDGEMENTS, Finding, GateResult, RuleVerdict


def gate(
    records: Any,
    policy: str | Path = "edgeq.toml",
    *,
    baseline: Any = (),
) -> GateResult:
    """Compare the records of one model with the policy of a file.

    Args:
        records: what `convert`, `tune`, `compare`, `bench`, `eval` and `fit` wrote or returned:
            one or several paths or results; see `read_all`.
        policy: path of the `edgeq.toml`.
        baseline: the same of the baseline model, for regressions.

    Raises:
        UsageError: the policy has a mistake.
        RecordError: a record cannot be read, or they are about different models or another file.
    """
    return apply_policy(read_policy(Path(policy)), read_all(records), read_all(baseline))


def apply_policy(
    policy: Policy, records: Sequence[Record], baseline: Sequence[Record] = ()
) -> GateResult:
    """Judge each rule by the records.

    A rule that fails decides over one that cannot be judged: whatever the missing figure is, the
    model does not ship.

    Args:
        records: of one model.
        baseline: of the baseline model, for regressions.

    Raises:
        RecordError: the records are about different models, or no model.
        UsageError: there is a baseline, and no rule about it.
    """
    if baseline and not any(limit.rule[0] == "regression" for limit in policy.limits):
        raise UsageError(
            f"--baseline {baseline[0].path} is given, and {policy.file.path} has no rule about it.",
            hint="Add [policy.regression], such as max_size_percent = 2, or remove --baseline.",
        )
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
    if rule.place == "any":  # a rule about every device, so also about those that failed
        there = {finding.subject for finding in findings}
        findings += [_failed(item) for item in scene.now.failures if item.device not in there]
    findings = [
        replace(item, remedy=rule.improve)
        if item.verdict != "pass" and item.remedy is None
        else item
        for item in findings
    ]
    weighed = _outweigh(findings)
    verdict = _worst(finding.verdict for finding in weighed)
    order = sorted(findings, key=lambda item: (item not in weighed, JUDGEMENTS.index(item.verdict)))
    return RuleVerdict(limit.name, limit.shown, limit.line, verdict, tuple(order))


def _outweigh(findings: Sequence[Finding]) -> list[Finding]:
    """Sound findings outweigh doubted ones about the same subject."""
    sound = {finding.subject for finding in findings if finding.is_sound}
    return [item for item in findings if item.is_sound or item.subject not in sound]


def _missing(limit: Limit, facts: Facts) -> Finding:
    rule = RULES[limit.rule]
    for failure in facts.failures:
        if failure.device == limit.device:
            return _failed(failure)
    if limit.rule[0] == "metrics":
        return cannot_tell("", f"no record has the metric {limit.device}", rule.missing)
    if limit.device is not None:
        there = sorted({fact.result.facts.device for fact in facts.benches})
        others = f"; there are records of {', '.join(there)}" if there else ""
        reason = f"no record has such a figure of {limit.device}{others}"
        return cannot_tell(limit.device, reason, rule.missing)
    return cannot_tell("", "no record has such a figure", rule.missing)


def _failed(failure: FailedDevice) -> Finding:
    reason = f"{failure.device} gave no result: {failure.error.rstrip('.')}"
    return cannot_tell(
        failure.device, reason, "Repair the device and measure again.", failure.origin
    )


def weigh(result: GateResult) -> str:
    """The verdict that follows from the findings: the gate's own, unless somebody changed it."""
    return _worst(
        _worst(finding.verdict for finding in _outweigh(rule.findings)) for rule in result.rules
    )


def _worst(verdicts: Iterable[str]) -> str:
    found = set(verdicts)
    return next((verdict for verdict in JUDGEMENTS if verdict in found), "cannot-tell")
