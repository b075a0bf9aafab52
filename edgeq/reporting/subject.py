"""Which model the records are about, and whether they are about the same one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from edgeq.errors import RecordError
from edgeq.records.reading import Record
from edgeq.values import FileRef, Issue
from edgeq.values.schemes import SCHEMES


@dataclass(frozen=True)
class Part:
    """One result; of a fleet, one device's.

    Attributes:
        kind: of the record, without "fleet-".
        value: None for a device that failed.
        record: it stands in.
        device: of a fleet, as the user names it.
        error: why the device failed.
    """

    kind: str
    value: Any
    record: Record
    device: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Subject:
    """The model of a report.

    Attributes:
        candidate: None when records name no model, as `doctor` does not.
        baseline: the float model as a record names it, None when none does.
        baseline_digests: of all files that are known to be that float model.
        notes: what a reader has to know about their relation.
    """

    candidate: FileRef | None
    baseline: FileRef | None
    baseline_digests: frozenset[str]
    notes: tuple[Issue, ...] = ()


def split(records: Sequence[Record]) -> tuple[Part, ...]:
    """All results in records."""
    return tuple(part for record in records for part in _split(record))


def _split(record: Record) -> Iterator[Part]:
    if not record.kind.startswith("fleet-"):
        yield Part(record.kind, record.value, record)
        return
    kind = record.kind.removeprefix("fleet-")
    for entry in record.value.entries:
        yield Part(kind, entry.result, record, entry.device, entry.error)


# What a record says: the candidate, and the files that are its float model.
_PAIRS: dict[str, Callable[[Any], tuple[FileRef, tuple[FileRef, ...]]]] = {
    "convert": lambda value: (value.model.file, (value.source.source, value.source.file)),
    "tune": lambda value: (value.model.file, (value.source.source, value.source.file)),
    "compare": lambda value: (value.candidate, (value.baseline,)),
    "debug": lambda value: (value.candidate, (value.baseline,)),
    "gate": lambda value: (value.candidate, ()),
}
# Records of models in any role; the one that is probably meant first.
_MODELS: dict[str, Callable[[Any], list[FileRef]]] = {
    "inspect": lambda value: [value.model],
    "parity": lambda value: [value.model],
    "profile": lambda value: [item.model for item in value.models],
    "bench": lambda value: [run.model for run in reversed(value.runs)],
    "eval": lambda value: [item.model for item in reversed(_evaluations(value))],
    "convert": lambda value: [value.model.file],
    "doctor": lambda value: [] if value.model is None else [value.model],
}


def _evaluations(value: Any) -> Sequence[Any]:
    return value if isinstance(value, tuple) else tuple(value.evaluations)


def evaluations(part: Part) -> Sequence[Any]:
    """Of an `eval` record, or of one device of a fleet."""
    return _evaluations(part.value)


def is_float_copy(part: Part) -> bool:
    """Whether a conversion only lowered the float model, which others are held against."""
    return bool(part.kind == "convert" and SCHEMES[part.value.model.scheme].weights == "float32")


def find_subject(parts: Sequence[Part]) -> Subject:
    """The model that all parts are about.

    Raises:
        RecordError: they are of different models.
    """
    known = [part for part in parts if part.value is not None]
    pairs = [part for part in known if part.kind in _PAIRS and not is_float_copy(part)]
    if not pairs:
        return _find_alone(known)
    first, candidate = pairs[0], _PAIRS[pairs[0].kind](pairs[0].value)[0]
    for part in pairs:
        other = _PAIRS[part.kind](part.value)[0]
        if other.sha256 != candidate.sha256:
            raise _different((first, candidate), (part, other))
    copies = [part for part in known if is_float_copy(part)]
    groups = _float_models([*pairs, *copies])
    digests = frozenset(digest for group in groups for digest in group.digests)
    for part in known:
        models = _MODELS.get(part.kind, _no_models)(part.value)
        if models and not {model.sha256 for model in models} & {candidate.sha256, *digests}:
            raise _different((first, candidate), (part, models[0]))
    baseline = groups[0].shown if groups else None
    return Subject(candidate, baseline, digests, _relation(groups))


def digests_of(record: Record) -> set[str]:
    """Of the model that a record is about; of all, where it gives them no roles."""
    found: set[str] = set()
    for part in _split(record):
        if part.value is None:
            continue
        if part.kind in _PAIRS:
            found.add(_PAIRS[part.kind](part.value)[0].sha256)
        else:
            found |= {model.sha256 for model in _MODELS.get(part.kind, _no_models)(part.value)}
    return found


def _no_models(value: Any) -> list[FileRef]:
    return []


def _find_alone(known: Sequence[Part]) -> Subject:
    """Of records that name models in no role: each must share one with those before it."""
    named = [(part, _MODELS.get(part.kind, _no_models)(part.value)) for part in known]
    named = [(part, models) for part, models in named if models]
    if not named:
        return Subject(None, None, frozenset())
    order = list(_MODELS)
    named.sort(key=lambda item: order.index(item[0].kind))
    first, models = named[0]
    digests = {model.sha256 for model in models}
    for part, others in named[1:]:
        own = {model.sha256 for model in others}
        if not own & digests:
            raise _different((first, models[0]), (part, others[0]))
        digests |= own
    return Subject(models[0], None, frozenset(digests - {models[0].sha256}))


@dataclass
class _FloatModel:
    """Files that records say are one float model; `visible` are those that a user named."""

    shown: FileRef
    part: Part
    digests: set[str]
    visible: set[str]


def _float_models(parts: Sequence[Part]) -> list[_FloatModel]:
    """Files of the float model, joined where a record names two of them together.

    Raises:
        RecordError: two files of one format, so that they cannot be the same model.
    """
    groups: list[_FloatModel] = []
    for part in parts:
        made, files = _PAIRS[part.kind](part.value)
        if not files:
            continue
        digests = {file.sha256 for file in files}
        visible = {_format(files[0])}
        if is_float_copy(part):
            digests.add(made.sha256)
            visible.add(_format(made))
        own = _FloatModel(files[0], part, digests, visible)
        joined = [group for group in groups if group.digests & digests]
        for group in joined:
            groups.remove(group)
            own = _FloatModel(
                group.shown, group.part, group.digests | own.digests, group.visible | own.visible
            )
        groups.append(own)
    for number, group in enumerate(groups):
        for other in groups[:number]:
            if group.visible & other.visible:
                raise _different((other.part, other.shown), (group.part, group.shown))
    return groups


def _format(file: FileRef) -> str:
    return PurePath(file.path).suffix.lower()


def _relation(groups: Sequence[_FloatModel]) -> tuple[Issue, ...]:
    if len(groups) < 2:
        return ()
    names = " and ".join(
        f"{group.shown.path} ({group.shown.sha256[:12]}, in {group.part.record.path})"
        for group in groups
    )
    text = f"{names} are both named as the float model; no record proves that they are the same."
    return (Issue("", "note", text),)


def _different(one: tuple[Part, FileRef], other: tuple[Part, FileRef]) -> RecordError:
    names = [
        f"{part.record.path} is about {file.path} (sha256 {file.sha256[:12]})"
        for part, file in (one, other)
    ]
    return RecordError(
        f"The records are of different models: {names[0]}, and {names[1]}.",
        hint="Make one report for each model, from the records of that file.",
    )
