"""The records of a report, by what a section needs from them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgeq.accuracy.verdict import SMALL_DROP_POINTS, device_of
from edgeq.conversion.feeding import inherited_doubts
from edgeq.records.parts import Part, split
from edgeq.records.reading import Record
from edgeq.reporting.subject import Subject, find_subject
from edgeq.timing import speedup_interval
from edgeq.values import BenchResult, BenchRun, Certificate, DeviceFacts, Issue, Quality, Ratio
from edgeq.wording import file_name

CANDIDATE, BASELINE, OTHER = "candidate", "baseline", "other"


@dataclass(frozen=True)
class Judged:
    """A quality, and where it was measured.

    Attributes:
        label: verb and device, e.g. "compare on pi4".
        samples: e.g. "2000 of fashion_mnist_test.npz".
    """

    label: str
    samples: str
    quality: Quality
    part: Part


@dataclass(frozen=True)
class Measured:
    """Models whose runs alternate on one device.

    Attributes:
        label: the device, and the verb where several measured on it.
        roles: of the runs, in their order.
        speedup: of the candidate against the baseline; None when they were not both measured, or
            not soundly.
    """

    device: str
    label: str
    result: BenchResult
    roles: tuple[str, ...]
    speedup: Ratio | None
    part: Part

    def run(self, role: str) -> BenchRun | None:
        """The first run of a role."""
        return next((run for run, own in self.runs() if own == role), None)

    def runs(self) -> list[tuple[BenchRun, str]]:
        """Each run with its role."""
        return list(zip(self.result.runs, self.roles, strict=True))


@dataclass(frozen=True)
class Gathered:
    """Everything that the sections are made from."""

    records: tuple[Record, ...]
    parts: tuple[Part, ...]
    subject: Subject

    def of(self, kind: str) -> list[Part]:
        """Results of a kind; devices that failed are not among them."""
        return [part for part in self.parts if part.kind == kind and part.value is not None]

    def role(self, sha256: str) -> str:
        """The role of the model with this digest."""
        if self.subject.candidate is not None and sha256 == self.subject.candidate.sha256:
            return CANDIDATE
        return BASELINE if sha256 in self.subject.baseline_digests else OTHER

    def made(self) -> list[Any]:
        """How the candidate was made: results of `convert` and `tune`."""
        found = [*self.of("convert"), *self.of("tune")]
        return [part.value for part in found if not part.is_float_copy]

    def inherited(self, part: Part) -> list[Issue]:
        """Doubts about a measurement of the candidate that only the conversion's record has."""
        values = part.value if part.kind == "eval" else [part.value]
        if part.kind not in ("compare", "debug", "eval") or part.value is None:
            return []
        return [
            issue
            for value in values
            if part.kind != "eval" or self.role(value.model.sha256) == CANDIDATE
            for issue in inherited_doubts(value.data, value.preprocessing, self.made())
            if issue not in value.issues
        ]

    def drop_limit(self) -> float:
        """Points that may be lost: by a gate's policy, without one what `compare` calls small."""
        for part in self.of("gate"):
            for rule in part.value.rules:
                number = re.search(r"[\d.]+", rule.limit)
                if rule.rule == "max_drop_points" and number is not None:
                    return float(number[0])
        return SMALL_DROP_POINTS

    def certificate(self) -> Certificate | None:
        """The candidate's certificate."""
        proofs = [value.certificate for value in self.made()]
        proofs += [
            part.value.certificate
            for part in self.of("inspect")
            if self.role(part.value.model.sha256) == CANDIDATE
        ]
        return proofs[0] if proofs else None

    def judged(self) -> list[Judged]:
        """All qualities; those of `compare` first, since they come from the machine that counts."""
        found = []
        for part in self.of("compare"):
            value, device = part.value, part.device or device_of(part.value)
            label = "compare" if device is None else f"compare on {device}"
            samples = f"{value.quality.sample_count} of {file_name(value.data.source)}"
            found.append(Judged(label, samples, value.quality, part))
        for part in [*self.of("tune"), *self.of("convert")]:
            value, quality = part.value, part.value.quality
            if quality is None or part.is_float_copy:
                continue
            data = value.test_data or value.data
            source = "given samples" if data is None else file_name(data.source)
            use = "kept apart"
            if not quality.is_held_out:
                use = "which calibrated too"
            elif part.kind == "tune" and not value.is_confirmed:
                use = "which the search looked at too"
            samples = f"{quality.sample_count} of {source}, {use}"
            found.append(Judged(part.kind, samples, quality, part))
        counts = Counter((item.label, item.samples) for item in found)
        return [
            replace(item, label=f"{item.label} in {file_name(item.part.record.path)}")
            if counts[item.label, item.samples] > 1
            else item
            for item in found
        ]

    def measured(self) -> list[Measured]:
        """All latencies, device by device."""
        found = []
        for part in self.parts:
            if part.kind == "compare" and part.value is not None and part.value.bench is not None:
                bench = part.value.bench
                roles: tuple[str, ...] = (BASELINE, CANDIDATE)
            elif part.kind == "bench" and part.value is not None:
                bench = part.value
                roles = tuple(self.role(run.model.sha256) for run in bench.runs)
            else:
                continue
            device = part.device or bench.facts.device
            found.append(Measured(device, device, bench, roles, _speedup(bench, roles), part))
        for name in ("kind", "record"):  # as much as it takes to tell them apart
            counts = Counter(item.label for item in found)
            for place, item in enumerate(found):
                if counts[item.label] > 1:
                    more = item.part.kind if name == "kind" else file_name(item.part.record.path)
                    found[place] = replace(item, label=f"{item.label}, {more}")
        return found

    def facts(self) -> dict[str, DeviceFacts]:
        """Every device that something ran on, by the name the user gave it."""
        found: dict[str, DeviceFacts] = {}
        for part in self.parts:
            value = part.value
            own = getattr(value, "facts", None) or getattr(
                getattr(value, "bench", None), "facts", None
            )
            if own is not None:
                found.setdefault(part.device or own.device, own)
        return found


def gather(records: Sequence[Record]) -> Gathered:
    """The records of one model.

    Raises:
        RecordError: they are about different models.
    """
    parts = split(records)
    return Gathered(tuple(records), parts, find_subject(parts))


def _speedup(bench: BenchResult, roles: Sequence[str]) -> Ratio | None:
    """A bench keeps the first run's latency over that of each later one."""
    if not bench.speedups or CANDIDATE not in roles or BASELINE not in roles:
        return None
    ours, theirs = roles.index(CANDIDATE), roles.index(BASELINE)
    if theirs == 0:
        return speedup_interval(bench, ours - 1)
    if ours == 0:
        ratio = speedup_interval(bench, theirs - 1)
        return Ratio(1 / ratio.value, 1 / ratio.high, 1 / ratio.low)
    return None
