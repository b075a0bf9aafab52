"""Rules, and what records say about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edgeq.values.bounds import SOME, Judgement
from edgeq.values.files import FileRef


@dataclass(frozen=True)
class Origin:
    """Where a figure stands.

    Attributes:
        record: path of the record, as the user wrote it.
        sha256: of the record's bytes.
        json_path: inside it, e.g. "$.quality.drop_points".
    """

    record: str
    sha256: str
    json_path: str


@dataclass(frozen=True)
class Finding:
    """One figure held against its limit.

    Attributes:
        subject: what was measured, so that a rule needs one sound figure of each: a device, or the
            digest of a data set; "" where there is one only.
        verdict: "pass", "fail" or "cannot-tell".
        reason: half a sentence.
        figure: as text with its unit; "" without one.
        value: None without a figure, or when it is no number.
        low, high: 95 % interval, None without one.
        unit: "points", "dB", "bytes", "ms", "x" (times), "percent", "count" or "version".
        origins: of the figure; of a regression the candidate's first, then the baseline's.
        accepted: codes of doubts that the policy accepts.
        remedy: what to do, None when the finding passes.
        is_sound: False when the figure is missing, doubted or not comparable.
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


@dataclass(frozen=True)
class RuleVerdict:
    """What the records say about one rule of a policy.

    Attributes:
        rule: its name, with its table, e.g. "devices.pi4.max_p50_ms".
        limit: as text, e.g. "at most 12 ms".
        line: of the policy's file; None when it is not known.
        verdict: "pass", "fail" or "cannot-tell": the worst of the sound findings.
        findings: the one that decides first; those that others outweigh are among them.
    """

    rule: str
    limit: str
    line: int | None
    verdict: Judgement
    findings: Annotated[tuple[Finding, ...], SOME]


@dataclass(frozen=True)
class GateResult:
    """A policy applied to the records of one model.

    Attributes:
        policy: the file with the rules.
        candidate: the model that is judged.
        records: path and digest of those that were read.
        baseline: the model that regressions are against, None without `--baseline`.
        baseline_records: likewise.
        unused: paths of records without a figure that a gate reads.
        verdict: "fail" when a rule fails, else "cannot-tell" when one cannot be judged, else
            "pass".
        rules: in the policy's order.
    """

    policy: FileRef
    candidate: FileRef
    records: tuple[tuple[str, str], ...]
    baseline: FileRef | None
    baseline_records: tuple[tuple[str, str], ...]
    unused: tuple[str, ...]
    verdict: Judgement
    rules: tuple[RuleVerdict, ...]
