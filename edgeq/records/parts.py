"""The results in records, one for each device, and the models that each is about."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from edgeq.records.reading import Record
from edgeq.values import FileRef, Origin
from edgeq.values.schemes import SCHEMES


@dataclass(frozen=True)
class Part:
    """One result; of a fleet's record, one device's.

    Attributes:
        kind: of the record, without "fleet-".
        value: None for a device that failed; of `eval`, the tuple of evaluations.
        record: that holds it.
        path: of the value in the record's JSON, such as "$.entries[0].result".
        device: of a fleet, as the user names it.
        error: why the device failed.
    """

    kind: str
    value: Any
    record: Record
    path: str
    device: str | None = None
    error: str | None = None

    def origin(self, path: str = "") -> Origin:
        """The place of a field in the record, such as ".latency.p50_ms"."""
        return Origin(self.record.path, self.record.sha256, self.path + path)

    @property
    def is_float_copy(self) -> bool:
        """Whether a conversion only lowered the float model, the baseline of the others."""
        if self.kind != "convert" or self.value is None:
            return False
        return SCHEMES[self.value.model.scheme].weights == "float32"


def split(records: Sequence[Record]) -> tuple[Part, ...]:
    """All results in records."""
    return tuple(part for record in records for part in _split(record))


def _split(record: Record) -> Iterator[Part]:
    if record.kind == "eval":
        yield Part("eval", record.value.evaluations, record, "$.evaluations")
    elif not record.kind.startswith("fleet-"):
        yield Part(record.kind, record.value, record, "$")
    else:
        kind = record.kind.removeprefix("fleet-")
        for number, entry in enumerate(record.value.entries):
            path = f"$.entries[{number}].{'error' if entry.result is None else 'result'}"
            yield Part(kind, entry.result, record, path, entry.device, entry.error)


# The model that a result is about.
_CANDIDATES: dict[str, Callable[[Any], FileRef]] = {
    "convert": lambda value: value.model.file,
    "tune": lambda value: value.model.file,
    "compare": lambda value: value.candidate,
    "debug": lambda value: value.candidate,
    "gate": lambda value: value.candidate,
    "inspect": lambda value: value.model,
    "fit": lambda value: value.model,
    "parity": lambda value: value.model,
}
# Models that a result gives no roles; the one that is probably meant is the first.
_SEVERAL: dict[str, Callable[[Any], list[FileRef]]] = {
    "profile": lambda value: [item.model for item in value.models],
    "bench": lambda value: [run.model for run in reversed(value.runs)],
    "eval": lambda value: [item.model for item in reversed(value)],
    "doctor": lambda value: [] if value.model is None else [value.model],
}


def candidate_of(part: Part) -> FileRef | None:
    """The model that a result is about; None where it names none, or several without roles."""
    known = part.value is not None and part.kind in _CANDIDATES
    return _CANDIDATES[part.kind](part.value) if known else None


def float_files_of(part: Part) -> tuple[FileRef, ...]:
    """The files of the float model, the user's own first; none where a result does not say."""
    if part.kind in ("convert", "tune"):
        return part.value.source.source, part.value.source.file
    return (part.value.baseline,) if part.kind in ("compare", "debug") else ()


def models_of(part: Part) -> list[FileRef]:
    """The model that a result is about, or all where it gives them no roles."""
    if part.value is None:
        return []
    found = candidate_of(part)
    return _SEVERAL[part.kind](part.value) if found is None else [found]


def digests_of(record: Record) -> set[str]:
    """Digests of the models that a record is about."""
    return {model.sha256 for part in split([record]) for model in models_of(part)}
