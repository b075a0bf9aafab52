"""The records of a report, by what a section asks of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgeq.accuracy.verdict import SMALL_DROP_POINTS
from edgeq.records.reading import Record
from edgeq.reporting.subject import Part, Subject, find_subject, is_float_copy, split
from edgeq.reporting.text import base
from edgeq.timing import speedup_interval
from edgeq.values import BenchResult, BenchRun, Certificate, DeviceFacts, Issue, Quality, Ratio

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
    """Models measured in turns on one device.

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
        return next((r for r, own in zip(self.result.runs, self.roles, strict=True)
                     if own == role), None)  # fmt: skip


@dataclass(frozen=True)
class Material:
    """Everything that the sections are made from."""

    records: tuple[Record, ...]
    parts: tuple[Part, ...]
    subject: Subject

    def of(self, kind: str) -> list[Part]:
        """Results of a kind; devices that failed are not among them."""
        return [part for part in self.parts if part.kind == kind and part.value is not None]

    def role(self, sha256: str) -> str:
        """Which of the models a digest is."""
        if self.subject.candidate is not None and sha256 == self.subject.candidate.sha256:
            return CANDIDATE
        return BASELINE if sha256 in self.subject.baseline_digests else OTHER

    def made(self) -> list[Any]:
        """How the candidate was made: results of `convert` and `tune`."""
        found = [*self.of("convert"), *self.of("tune")]
        return [part.value for part in found if not is_float_copy(part)]

    def drop_limit(self) -> float:
        """Points that may be lost: the policy's, where a gate has one, else what `compare` takes
        for small.
        """
        rules = [rule for part in self.of("gate") for rule in part.value.rules]
        for rule in rules:
            number = re.search(r"[\d.]+", rule.limit)
            if rule.rule == "max_drop_points" and number is not None:
                return float(number[0])
        return SMALL_DROP_POINTS

    def certificate(self) -> Certificate | None:
        """Of the candidate."""
        proofs = [value.certificate for value in self.made()]
        proofs += [
            part.value.certificate
            for part in self.of("inspect")
            if self.role(part.value.model.sha256) == CANDIDATE
        ]
        return proofs[0] if proofs else None

    def judged(self) -> list[Judged]:
        """All qualities; those of `compare` first, since they come from the machine that counts."""
        found = self._judged()
        counts = Counter((item.label, item.samples) for item in found)
        return [
            replace(item, label=f"{item.label} in {base(item.part.record.path)}")
            if counts[item.label, item.samples] > 1
            else item
            for item in found
        ]

    def _judged(self) -> list[Judged]:
        found = [
            Judged(
                _on("compare", _compared_on(part)),
                f"{part.value.quality.sample_count} of {base(part.value.data.source)}",
                part.value.quality,
                part,
            )
            for part in self.of("compare")
        ]
        for part in [*self.of("tune"), *self.of("convert")]:
            if part.value.quality is not None and not is_float_copy(part):
                data = part.value.test_data or part.value.data
                source = "given samples" if data is None else base(data.source)
                kept = _apartness(part)
                label = f"{part.value.quality.sample_count} of {source}{kept}"
                found.append(Judged(part.kind, label, part.value.quality, part))
        return found

    def measured(self) -> list[Measured]:
        """All latencies, device by device."""
        found = [item for part in self.parts for item in self._measured(part)]
        for name in ("kind", "record"):  # as much as it takes to tell them apart
            counts = Counter(item.label for item in found)
            found = [
                item if counts[item.label] == 1 else replace(item, label=_longer(item, name))
                for item in found
            ]
        return found

    def _measured(self, part: Part) -> Iterator[Measured]:
        if part.value is None:
            return
        if part.kind == "compare" and part.value.bench is not None:
            bench = part.value.bench
            roles: tuple[str, ...] = (BASELINE, CANDIDATE)
        elif part.kind == "bench":
            bench = part.value
            roles = tuple(self.role(run.model.sha256) for run in bench.runs)
        else:
            return
        device = part.device or bench.facts.device
        yield Measured(device, device, bench, roles, _speedup(bench, roles), part)

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


def _apartness(part: Part) -> str:
    """Whether the samples that quality was measured on served for anything else."""
    if not part.value.quality.is_held_out:
        return ", which calibrated too"
    if part.kind == "tune" and not part.value.is_confirmed:
        return ", which the search looked at too"
    return ", kept apart"


def gather(records: Sequence[Record]) -> Material:
    """Records of one model.

    Raises:
        RecordError: they are of different models.
    """
    parts = split(records)
    return Material(tuple(records), parts, find_subject(parts))


def part_issues(part: Part) -> Iterator[Issue]:
    """Everything that makes a result less trustworthy."""
    from edgeq.files import storage

    if part.value is not None:
        yield from storage.find_issues(part.value)


def _longer(item: Measured, name: str) -> str:
    more = item.part.kind if name == "kind" else base(item.part.record.path)
    return f"{item.label}, {more}"


def _compared_on(part: Part) -> str | None:
    """As the user names it; None in records of before it was kept."""
    bench = part.value.bench
    return part.device or part.value.device or (None if bench is None else bench.facts.device)


def _on(verb: str, device: str | None) -> str:
    return verb if device is None else f"{verb} on {device}"


def _speedup(bench: BenchResult, roles: Sequence[str]) -> Ratio | None:
    """The first run's latency over each later one's is what a bench keeps."""
    if not bench.speedups or CANDIDATE not in roles or BASELINE not in roles:
        return None
    ours, theirs = roles.index(CANDIDATE), roles.index(BASELINE)
    if theirs == 0:
        return speedup_interval(bench, ours - 1)
    if ours == 0:
        ratio = speedup_interval(bench, theirs - 1)
        return Ratio(1 / ratio.value, 1 / ratio.high, 1 / ratio.low)
    return None
