"""The facts about one model from its records; no figure is judged here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgeq.accuracy.verdict import device_of, float_doubts
from edgeq.conversion.feeding import inherited_doubts
from edgeq.errors import RecordError
from edgeq.issues import make_issue
from edgeq.records.parts import Part, models_of, split
from edgeq.records.reading import Record
from edgeq.values import (
    BenchResult,
    Certificate,
    DataRef,
    Evaluation,
    FileRef,
    Fit,
    Issue,
    MetricLoss,
    MetricValue,
    Origin,
    Quality,
)

# Warnings about the model, or that repeat what an interval shows: no reason to distrust a quality
# figure.
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
# Warnings of a comparison whose speed-up is not that of INT8 over FP32.
_SPEED_DOUBTS = frozenset({"compare.batches_differ", "compare.baseline_quantized"})


@dataclass(frozen=True)
class QualityFact:
    """Outputs and accuracy against the float model.

    Attributes:
        is_compared: by `compare`, on data that the user chose for it; not by `convert` or `tune`.
        issues: doubts about it.
        device: that the samples ran on, None where the record does not have it.
        metrics: of the candidate, each with its place in the record.
        losses: of the same metrics, in the same way.
    """

    quality: Quality
    data: DataRef
    preprocessing: tuple[str, ...]
    is_compared: bool
    issues: tuple[Issue, ...]
    origin: Origin
    device: str | None = None
    metrics: tuple[tuple[MetricValue, Origin], ...] = ()
    losses: tuple[tuple[MetricLoss, Origin], ...] = ()


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
    """The certificate of the exported file."""

    certificate: Certificate
    origin: Origin


@dataclass(frozen=True)
class SizeFact:
    """The file's size."""

    size_bytes: int
    origin: Origin


@dataclass(frozen=True)
class FitFact:
    """Whether the file fits boards."""

    fit: Fit
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
    fits: tuple[FitFact, ...]
    failures: tuple[FailedDevice, ...]
    unused: tuple[str, ...]


def inside(origin: Origin, path: str) -> Origin:
    """A field below: `path` is appended, e.g. ".latency.p50_ms"."""
    return replace(origin, json_path=f"{origin.json_path}{path}")


def gather(records: Sequence[Record], what: str) -> Facts:
    """The facts of the one model that all records are about.

    Args:
        what: to call the records in errors, e.g. "records".

    Raises:
        RecordError: they are about different models, or do not say which model is meant.
    """
    parts = split(records)
    candidate = _find_candidate([part for part in parts if part.value is not None], what)
    makers = [part.value for part in parts if part.kind in ("convert", "tune")]
    found: dict[type, list[Any]] = {}
    used = set()
    for part in parts:
        if part.value is None:
            assert part.device is not None
            failed = FailedDevice(part.device, part.error or "", part.origin())
            facts: Iterable[Fact] = [failed]
        elif part.kind in _READERS:
            facts = _READERS[part.kind](part, candidate, makers)
        else:
            continue
        for fact in facts:
            found.setdefault(type(fact), []).append(fact)
            used.add(part.record.path)
    return Facts(
        candidate=candidate,
        qualities=tuple(found.get(QualityFact, ())),
        evaluations=tuple(found.get(EvalFact, ())),
        benches=tuple(found.get(BenchFact, ())),
        certificates=tuple(found.get(CertificateFact, ())),
        sizes=tuple(found.get(SizeFact, ())),
        fits=tuple(found.get(FitFact, ())),
        failures=tuple(found.get(FailedDevice, ())),
        unused=tuple(record.path for record in records if record.path not in used),
    )


# ---------------------------------------------------------------- which model


def _find_candidate(parts: Sequence[Part], what: str) -> FileRef:
    roles = ("convert", "tune", "compare", "debug", "parity", "inspect", "fit")
    named = [(p.record.path, models_of(p)[0]) for p in parts if p.kind in roles]
    measured = [(p.record.path, models_of(p)) for p in parts if p.kind in ("bench", "eval")]
    if not named:
        named = _measured_alone(measured, what)
    first_record, first = named[0]
    for record, model in named:
        if model.sha256 != first.sha256:
            raise _different(what, (first_record, first), (record, model))
    for record, models in measured:
        if first.sha256 not in {model.sha256 for model in models}:
            raise _different(what, (first_record, first), (record, models[0]))
    return first


def _measured_alone(
    measured: Sequence[tuple[str, list[FileRef]]], what: str
) -> list[tuple[str, FileRef]]:
    """The model that was measured alone, where no record names one as the candidate."""
    if not measured:
        raise RecordError(
            f"The {what} have no figure of a model that could be judged.",
            hint="Give the record of convert, tune, inspect, fit, compare, bench or eval.",
        )
    alone = [(record, own) for record, own in measured if len({m.sha256 for m in own}) == 1]
    if alone:
        return [(record, own[0]) for record, own in alone]
    record, several = measured[0]
    names = ", ".join(model.path for model in reversed(several))
    raise RecordError(
        f"{record} has several models, {names}, and does not say which one the gate judges.",
        hint="Give the record of convert or compare beside it.",
    )


def _different(what: str, one: tuple[str, FileRef], other: tuple[str, FileRef]) -> RecordError:
    names = [f"{record} of {model.path} ({model.sha256[:12]})" for record, model in (one, other)]
    return RecordError(
        f"The {what} are about different models: {names[0]}, and {names[1]}.",
        hint="Pass records of one model only. If the model has changed, make its records again.",
    )


# ---------------------------------------------------------------- what each kind holds

Fact = QualityFact | EvalFact | BenchFact | CertificateFact | SizeFact | FitFact | FailedDevice


Makers = Sequence[Any]  # results of `convert` and `tune`


def _read_made(part: Part, candidate: FileRef, makers: Makers) -> Iterator[Fact]:
    value = part.value
    yield CertificateFact(value.certificate, part.origin(".certificate"))
    yield SizeFact(value.model.file.size_bytes, part.origin(".model.file.size_bytes"))
    data = value.test_data or value.data
    if value.quality is not None and data is not None:
        issues = _with_doubts(value.quality, value.issues)
        origin = part.origin(".quality")
        pairs = [
            (pair, part.origin(f".quality.metrics[{place}]"))
            for place, pair in enumerate(value.quality.metrics)
        ]
        metrics = tuple((pair.candidate, inside(at, ".candidate")) for pair, at in pairs)
        losses = tuple((pair.loss, inside(at, ".loss")) for pair, at in pairs if pair.loss)
        yield QualityFact(value.quality, data, (), False, issues, origin, None, metrics, losses)


def _read_inspection(part: Part, candidate: FileRef, makers: Makers) -> Iterator[Fact]:
    yield CertificateFact(part.value.certificate, part.origin(".certificate"))
    yield SizeFact(part.value.model.size_bytes, part.origin(".model.size_bytes"))


def _read_fit(part: Part, candidate: FileRef, makers: Makers) -> Iterator[Fact]:
    yield FitFact(part.value, part.origin())
    yield SizeFact(part.value.model.size_bytes, part.origin(".model.size_bytes"))


def _read_comparison(part: Part, candidate: FileRef, makers: Makers) -> Iterator[Fact]:
    value = part.value
    yield SizeFact(value.candidate.size_bytes, part.origin(".candidate.size_bytes"))
    inherited = inherited_doubts(value.data, value.preprocessing, makers)
    issues = tuple(dict.fromkeys((*_with_doubts(value.quality, value.issues), *inherited)))
    metrics, losses = (
        tuple((item, part.origin(f".{field}[{place}]")) for place, item in enumerate(items))
        for field, items in (
            ("metrics_candidate", value.metrics_candidate),
            ("losses", value.losses),
        )
    )
    yield QualityFact(
        value.quality, value.data, value.preprocessing, True, issues, part.origin(".quality"),
        device_of(value), metrics, losses,
    )  # fmt: skip
    if value.bench is not None:
        doubts = tuple(issue for issue in value.issues if issue.code in _SPEED_DOUBTS)
        # The candidate is the second; the first may be the same file.
        yield BenchFact(value.bench, 1, doubts, part.origin(".bench"))


def _read_bench(part: Part, candidate: FileRef, makers: Makers) -> Iterator[Fact]:
    for index, run in enumerate(part.value.runs):
        if run.model.sha256 == candidate.sha256:
            yield BenchFact(part.value, index, (), part.origin())
            origin = part.origin(f".runs[{index}].model.size_bytes")
            yield SizeFact(run.model.size_bytes, origin)


def _read_evaluations(part: Part, candidate: FileRef, makers: Makers) -> Iterator[Fact]:
    for place, item in enumerate(part.value):
        if item.model.sha256 == candidate.sha256:
            inherited = inherited_doubts(item.data, item.preprocessing, makers)
            issues = tuple(dict.fromkeys((*item.issues, *inherited)))
            yield EvalFact(item, item.data, issues, part.origin(f"[{place}]"))


def _with_doubts(quality: Quality, issues: tuple[Issue, ...]) -> tuple[Issue, ...]:
    """Issues of a quality, also those that `compare` has as sentences only."""
    found = [issue for issue in issues if issue.code not in _NO_DOUBTS]
    codes = {issue.code for issue in issues}
    found += [issue for issue in float_doubts(quality) if issue.code not in codes]
    if not quality.is_held_out and not codes & {"convert.not_held_out", "tune.same_samples"}:
        found.append(make_issue("convert.not_held_out", "Measured on calibration samples."))
    return tuple(found)


_READERS: dict[str, Callable[[Part, FileRef, Makers], Iterator[Fact]]] = {
    "convert": _read_made,
    "tune": _read_made,
    "inspect": _read_inspection,
    "fit": _read_fit,
    "compare": _read_comparison,
    "bench": _read_bench,
    "eval": _read_evaluations,
}
