"""What records say about one model, gathered: pure, no figure is judged here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgeq.accuracy.verdict import chance_doubt, device_of
from edgeq.errors import RecordError
from edgeq.gating.feeding import inherited_doubts
from edgeq.issues import make_issue
from edgeq.records.reading import Record
from edgeq.values import (
    BenchResult,
    Certificate,
    DataRef,
    Evaluation,
    FileRef,
    Issue,
    Origin,
    Quality,
)

# Warnings that are findings about the model, or say what an interval says: no reason to distrust
# a quality figure.
_NO_DOUBTS = frozenset(
    {
        "convert.low_quality",
        "convert.few_samples",
        "convert.not_as_asked",
        "convert.all_float",
        "tune.few_samples",
        "tune.no_gain",
        "compare.batches_differ",
    }
)
# Of a comparison's warnings, those that make its speed-up another thing than INT8's over FP32.
_SPEED_DOUBTS = frozenset({"compare.batches_differ", "compare.baseline_quantized"})


@dataclass(frozen=True)
class QualityFact:
    """Outputs and accuracy against the float model.

    Attributes:
        is_compared: by `compare`, on data that the user chose for it; not by the way, by `convert`
            or `tune`.
        issues: doubts about it.
        device: that the samples ran on, None where the record does not tell.
    """

    quality: Quality
    data: DataRef
    preprocessing: tuple[str, ...]
    is_compared: bool
    issues: tuple[Issue, ...]
    origin: Origin
    device: str | None = None


@dataclass(frozen=True)
class EvalFact:
    """The candidate's own accuracy, without a float model beside it.

    Attributes:
        issues: doubts about it.
    """

    evaluation: Evaluation
    data: DataRef
    issues: tuple[Issue, ...]
    origin: Origin


@dataclass(frozen=True)
class BenchFact:
    """The candidate in a measurement.

    Attributes:
        index: of its run.
        issues: doubts about its speed-up that are not those of the runs.
        origin: of the result, to which fields are added.
    """

    result: BenchResult
    index: int
    issues: tuple[Issue, ...]
    origin: Origin


@dataclass(frozen=True)
class CertificateFact:
    """What the exported file is."""

    certificate: Certificate
    origin: Origin


@dataclass(frozen=True)
class SizeFact:
    """The file's size."""

    size_bytes: int
    origin: Origin


@dataclass(frozen=True)
class FailedDevice:
    """A device of a fleet that gave no result."""

    device: str
    error: str
    origin: Origin


@dataclass(frozen=True)
class Facts:
    """All about one model.

    Attributes:
        unused: paths of records that have nothing of it.
    """

    candidate: FileRef
    qualities: tuple[QualityFact, ...]
    evaluations: tuple[EvalFact, ...]
    benches: tuple[BenchFact, ...]
    certificates: tuple[CertificateFact, ...]
    sizes: tuple[SizeFact, ...]
    failures: tuple[FailedDevice, ...]
    unused: tuple[str, ...]


@dataclass(frozen=True)
class _Part:
    """One result; of a fleet, one device's."""

    kind: str
    value: Any
    origin: Origin


def inside(origin: Origin, path: str) -> Origin:
    """A field below: `path` is appended, e.g. ".latency.p50_ms"."""
    return replace(origin, json_path=f"{origin.json_path}{path}")


def gather(records: Sequence[Record], what: str) -> Facts:
    """The facts of the one model that all records are about.

    Args:
        what: to call the records in errors, e.g. "records".

    Raises:
        RecordError: they are about different models, or do not tell which model is meant.
    """
    parts = [part for record in records for part in _split(record)]
    candidate = _find_candidate(parts, what)
    found: dict[type, list[Any]] = {}
    used = set()
    for part in parts:
        for fact in _READERS.get(part.kind, _read_nothing)(part, candidate):
            found.setdefault(type(fact), []).append(fact)
            used.add(part.origin.record)
    return Facts(
        candidate=candidate,
        qualities=tuple(_inherit(fact, parts) for fact in found.get(QualityFact, ())),
        evaluations=tuple(_doubt(fact, parts) for fact in found.get(EvalFact, ())),
        benches=tuple(found.get(BenchFact, ())),
        certificates=tuple(found.get(CertificateFact, ())),
        sizes=tuple(found.get(SizeFact, ())),
        failures=tuple(found.get(FailedDevice, ())),
        unused=tuple(record.path for record in records if record.path not in used),
    )


def _inherit(fact: QualityFact, parts: Sequence[_Part]) -> QualityFact:
    """With the doubts that other records tell of."""
    if not fact.is_compared:
        return fact
    doubts = inherited_doubts(fact.data, fact.preprocessing, _makers(parts))
    return replace(fact, issues=tuple(dict.fromkeys((*fact.issues, *doubts))))


def _doubt(fact: EvalFact, parts: Sequence[_Part]) -> EvalFact:
    """As `_inherit`."""
    doubts = inherited_doubts(fact.data, fact.evaluation.preprocessing, _makers(parts))
    return replace(fact, issues=tuple(dict.fromkeys((*fact.issues, *doubts))))


def _makers(parts: Sequence[_Part]) -> list[Any]:
    return [part.value for part in parts if part.kind in ("convert", "tune")]


def _split(record: Record) -> Iterator[_Part]:
    top = Origin(record.path, record.sha256, "$")
    if not record.kind.startswith("fleet-"):
        if record.kind == "eval":  # several under a name; a device's are as they are
            yield _Part("eval", record.value.evaluations, inside(top, ".evaluations"))
        else:
            yield _Part(record.kind, record.value, top)
        return
    for number, entry in enumerate(record.value.entries):
        origin = inside(top, f".entries[{number}]")
        if entry.result is None:
            failure = FailedDevice(entry.device, entry.error or "", inside(origin, ".error"))
            yield _Part("failure", failure, origin)
        else:
            kind = record.kind.removeprefix("fleet-")
            yield _Part(kind, entry.result, inside(origin, ".result"))


# ---------------------------------------------------------------- which model


_JUDGED: dict[str, Callable[[Any], FileRef]] = {
    "convert": lambda value: value.model.file,
    "tune": lambda value: value.model.file,
    "compare": lambda value: value.candidate,
    "debug": lambda value: value.candidate,
    "parity": lambda value: value.model,
    "inspect": lambda value: value.model,
}

_MEASURED: dict[str, Callable[[Any], list[FileRef]]] = {
    "bench": lambda value: [run.model for run in value.runs],
    "eval": lambda value: [item.model for item in value],
}


def _find_candidate(parts: Sequence[_Part], what: str) -> FileRef:
    named = [(p.origin.record, _JUDGED[p.kind](p.value)) for p in parts if p.kind in _JUDGED]
    measured = [part for part in parts if part.kind in _MEASURED]
    if not named:
        named = _measured_alone(measured, what)
    first_record, first = named[0]
    for record, model in named:
        if model.sha256 != first.sha256:
            raise _different(what, (first_record, first), (record, model))
    for part in measured:
        models = _MEASURED[part.kind](part.value)
        if first.sha256 not in {model.sha256 for model in models}:
            raise _different(what, (first_record, first), (part.origin.record, models[-1]))
    return first


def _measured_alone(measured: Sequence[_Part], what: str) -> list[tuple[str, FileRef]]:
    """Without another record, the model that was measured alone is the one that is meant."""
    if not measured:
        raise RecordError(
            f"The {what} say nothing about a model that could be judged.",
            hint="Give the record of convert, tune, inspect, compare, bench or eval.",
        )
    models = [(part.origin.record, _MEASURED[part.kind](part.value)) for part in measured]
    alone = [(record, own) for record, own in models if len({m.sha256 for m in own}) == 1]
    if alone:
        return [(record, own[0]) for record, own in alone]
    record, several = models[0]
    names = ", ".join(model.path for model in several)
    raise RecordError(
        f"{record} has several models, {names}, and nothing tells which one is to be judged.",
        hint="Give the record of convert or compare beside it.",
    )


def _different(what: str, one: tuple[str, FileRef], other: tuple[str, FileRef]) -> RecordError:
    names = [f"{record} of {model.path} ({model.sha256[:12]})" for record, model in (one, other)]
    return RecordError(
        f"The {what} are of different models: {names[0]}, and {names[1]}.",
        hint="Gate each model with its own records, and make those of a changed model again.",
    )


# ---------------------------------------------------------------- what each kind holds

Fact = QualityFact | EvalFact | BenchFact | CertificateFact | SizeFact | FailedDevice


def _read_nothing(part: _Part, candidate: FileRef) -> Iterator[Fact]:
    return iter(())


def _read_failure(part: _Part, candidate: FileRef) -> Iterator[Fact]:
    yield part.value


def _read_made(part: _Part, candidate: FileRef) -> Iterator[Fact]:
    """Of convert and tune."""
    value, origin = part.value, part.origin
    yield CertificateFact(value.certificate, inside(origin, ".certificate"))
    yield SizeFact(value.model.file.size_bytes, inside(origin, ".model.file.size_bytes"))
    data = value.test_data or value.data
    if value.quality is not None and data is not None:
        yield QualityFact(
            quality=value.quality,
            data=data,
            preprocessing=(),
            is_compared=False,
            issues=_with_doubts(value.quality, value.issues),
            origin=inside(origin, ".quality"),
        )


def _read_inspection(part: _Part, candidate: FileRef) -> Iterator[Fact]:
    value, origin = part.value, part.origin
    yield CertificateFact(value.certificate, inside(origin, ".certificate"))
    yield SizeFact(value.model.size_bytes, inside(origin, ".model.size_bytes"))


def _read_comparison(part: _Part, candidate: FileRef) -> Iterator[Fact]:
    value, origin = part.value, part.origin
    yield SizeFact(value.candidate.size_bytes, inside(origin, ".candidate.size_bytes"))
    yield QualityFact(
        quality=value.quality,
        data=value.data,
        preprocessing=value.preprocessing,
        is_compared=True,
        issues=_with_doubts(value.quality, value.issues),
        origin=inside(origin, ".quality"),
        device=device_of(value),
    )
    if value.bench is not None:
        doubts = tuple(issue for issue in value.issues if issue.code in _SPEED_DOUBTS)
        # The candidate is the second; the first may be the same file.
        yield BenchFact(value.bench, 1, doubts, inside(origin, ".bench"))


def _read_bench(part: _Part, candidate: FileRef) -> Iterator[Fact]:
    for index, run in enumerate(part.value.runs):
        if run.model.sha256 == candidate.sha256:
            yield BenchFact(part.value, index, (), part.origin)
            origin = inside(part.origin, f".runs[{index}].model.size_bytes")
            yield SizeFact(run.model.size_bytes, origin)


def _read_evaluations(part: _Part, candidate: FileRef) -> Iterator[Fact]:
    for place, evaluation in enumerate(part.value):
        if evaluation.model.sha256 == candidate.sha256:
            origin = inside(part.origin, f"[{place}]")
            yield EvalFact(evaluation, evaluation.data, evaluation.issues, origin)


def _with_doubts(quality: Quality, issues: tuple[Issue, ...]) -> tuple[Issue, ...]:
    """What `compare` says in sentences only, as the issues that `convert` raises for it."""
    found = [issue for issue in issues if issue.code not in _NO_DOUBTS]
    codes = {issue.code for issue in issues}
    doubt = chance_doubt(quality)
    if doubt is not None and "convert.float_at_chance" not in codes:
        found.append(make_issue("convert.float_at_chance", f"{doubt[0].upper()}{doubt[1:]}."))
    if not quality.is_held_out and not codes & {"convert.not_held_out", "tune.same_samples"}:
        found.append(make_issue("convert.not_held_out", "Measured on calibration samples."))
    return tuple(found)


_READERS: dict[str, Callable[[_Part, FileRef], Iterator[Fact]]] = {
    "convert": _read_made,
    "tune": _read_made,
    "inspect": _read_inspection,
    "compare": _read_comparison,
    "bench": _read_bench,
    "eval": _read_evaluations,
    "failure": _read_failure,
}
