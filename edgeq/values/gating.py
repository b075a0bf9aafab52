"""The result of a policy: rules and the figures of records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edgeq.values.bounds import SOME, Judgement
from edgeq.values.files import FileRef
from edgeq.values.showing import Shown, bounded


@bounded
@dataclass(frozen=True)
class Origin:
    """The place of a figure in a record.

    Attributes:
        record: path of the record, as the user wrote it.
        sha256: of the record's bytes.
        json_path: of the figure, e.g. "$.quality.drop_points".
    """

    record: str
    sha256: str
    json_path: str


@bounded
@dataclass(frozen=True)
class Finding:
    """One figure compared with its limit.

    Attributes:
        subject: the measured device, or the digest of the data set; a rule needs one reliable
            figure for each subject; "" when there is only one.
        verdict: "pass", "fail" or "cannot-tell".
        reason: of the verdict, half a sentence.
        figure: as text with its unit; "" without one.
        value: None without a figure, or when it is not a number.
        low, high: 95 % interval, None without one.
        unit: "points", "dB", "bytes", "ms", "x" (times), "percent", "count" or "version".
        origins: of the figure; of a regression the candidate's first, then the baseline's.
        accepted: codes of issues that the policy accepts.
        remedy: what to do, None when the finding passes.
        is_sound: False when the figure is missing, has an issue or is not comparable.
    """

    subject: str
    verdict: Judgement
    reason: str
    figure: str
    value: float | None
    low: float | None
    high: float | None
    unit: str
    origins: tuple[Origin, ...]
    accepted: tuple[str, ...]
    remedy: str | None
    is_sound: bool


@bounded
@dataclass(frozen=True)
class RuleVerdict:
    """The verdict on one rule of a policy, from the records.

    Attributes:
        rule: its name with its table, e.g. "devices.pi4.max_p50_ms".
        limit: as text, e.g. "at most 12 ms".
        line: in the policy's file; None when it is unknown.
        verdict: "pass", "fail" or "cannot-tell": the worst of the reliable findings.
        findings: all of them, the one that decides first.
    """

    rule: str
    limit: str
    line: int | None
    verdict: Judgement
    findings: Annotated[tuple[Finding, ...], SOME]


@bounded
@dataclass(frozen=True)
class GateResult(Shown):
    """A policy applied to the records of one model.

    Attributes:
        policy: the file with the rules.
        candidate: the model that the policy is applied to.
        records: path and digest of the records that were read.
        baseline: the model that regressions are measured against, None without `--baseline`.
        baseline_records: path and digest of the baseline's records.
        unused: paths of records without a figure that a gate reads.
        verdict: "fail" when a rule fails, otherwise "cannot-tell" when one cannot be judged,
            otherwise "pass".
        rules: in the order of the policy.
    """

    policy: FileRef
    candidate: FileRef
    records: tuple[tuple[str, str], ...]
    baseline: FileRef | None
    baseline_records: tuple[tuple[str, str], ...]
    unused: tuple[str, ...]
    verdict: Judgement
    rules: tuple[RuleVerdict, ...]
