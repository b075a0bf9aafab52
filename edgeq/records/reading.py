"""Read records, the JSON files of all measuring commands, back into values.

The envelope of a record has its type (`schema`, `kind`), its origin (`provenance`) and its
trustworthiness (`validity`, `reason_codes`); the rest is the command's result, field by field as in
`edgeq.values`. The JSON Schema of records, `record.schema.json`, is made from those classes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import msgspec

from edgeq.comparison.parity import Parity
from edgeq.devices.fleet import Fleet
from edgeq.errors import RecordError, UsageError, nearest_path
from edgeq.files import storage
from edgeq.files.kinds import FileKind, find_kind, find_kind_of
from edgeq.files.reading import listed, read_file
from edgeq.issues import is_known, judge
from edgeq.values import (
    BenchResult,
    Checkup,
    Comparison,
    Conversion,
    DataRef,
    DebugReport,
    Evaluation,
    FileRef,
    Fit,
    GateResult,
    Inspection,
    Profile,
    Provenance,
    TfliteModel,
    Tuning,
)
from edgeq.values.showing import Shown, bounded

SCHEMA_PREFIX = "edgeq.record/"
MOST_BYTES = 1 << 30
_MODEL = ".tflite"
NEWEST = int(storage.RECORD_SCHEMA.removeprefix(SCHEMA_PREFIX))


@bounded
@dataclass(frozen=True)
class Evaluations(Shown):
    """The result of `edgeq eval`, model by model."""

    evaluations: Annotated[tuple[Evaluation, ...], msgspec.Meta(min_length=1)]


# The class of each kind of record.
KINDS: dict[str, type] = {
    "convert": Conversion,
    "tune": Tuning,
    "bench": BenchResult,
    "eval": Evaluations,
    "compare": Comparison,
    "debug": DebugReport,
    "profile": Profile,
    "parity": Parity,
    "doctor": Checkup,
    "gate": GateResult,
    "inspect": Inspection,
    "fit": Fit,
}
# The same run on several devices; an entry's result is the verb's own.
FLEET_KINDS = ("fleet-bench", "fleet-eval", "fleet-compare")


@bounded
@dataclass(frozen=True)
class Record(Shown):
    """One record.

    Attributes:
        path: as the user wrote it.
        sha256: of the file's bytes.
        kind: a key of `KINDS`, or one of `FLEET_KINDS`.
        provenance: None in records of before 0.1.0.
        validity: "valid", "degraded" or "invalid".
        reason_codes: why, codes of `issues.ISSUE_KINDS`; notes are among them.
        value: of the kind's class; a `Fleet` of results for several devices.
    """

    path: str
    sha256: str
    kind: str
    provenance: Provenance | None
    validity: str
    reason_codes: tuple[str, ...]
    value: Any


def read_record(path: str | Path) -> Record:
    """Read a record file.

    Args:
        path: of the record, or of a `.tflite`: that is the record beside it.

    Raises:
        RecordError: unreadable, truncated, not a record, of a newer schema than this
            version knows, or with a field that is missing or of another type; or it is not about
            the `.tflite` as it is now.
    """
    return open_record(Path(path))[0]


def list_given(given: Any) -> list[Any]:
    """Return several paths and results as a list; the tuple of `evaluate` is one result."""
    return [given] if _is_evaluations(given) else listed(given)


def _is_evaluations(given: Any) -> bool:
    return isinstance(given, tuple) and any(isinstance(item, Evaluation) for item in given)


def open_given(given: Any) -> tuple[Record, bytes]:
    """Read what a Python caller gives as a record, and its bytes; see `read_all`."""
    if isinstance(given, (str, os.PathLike)):
        return open_record(Path(given))
    value = given
    if isinstance(given, Evaluation):
        value = Evaluations((given,))
    elif _is_evaluations(given):
        value = Evaluations(given)
    kind = next((kind for kind, own in KINDS.items() if type(value) is own), None)
    if kind is None:
        raise UsageError(
            f"A record is needed, not an object of type {type(given).__name__}.",
            hint="Give the path of a record, or what convert, compare, bench or evaluate returned.",
        )
    content = storage.record_bytes(kind, value)
    return parse_record(content, f"<{type(value).__name__}>"), content


def open_record(path: Path, most: int = MOST_BYTES) -> tuple[Record, bytes]:
    """Read a record and its bytes; see `read_record`.

    Args:
        most: the most bytes that it may have.
    """
    source = record_file(path)
    if source != path:
        _require_both(path, source)
    try:
        content = read_file(source, most)
    except OSError as error:
        if path.is_dir() and (kind := find_kind(path)) is not None:
            raise _refuse(str(path), kind) from error
        raise RecordError(
            f"{source} cannot be read: {error.strerror or error}.",
            hint=nearest_path(source).strip() or None,
        ) from error
    record = parse_record(content, str(source))
    if source != path:
        _require_same(path, record)
    return record, content


def record_file(path: Path) -> Path:
    """Return the record that a path names: the one beside a `.tflite`, or the path itself."""
    return storage.record_beside(path) if path.suffix.lower() == _MODEL else path


def _require_both(model: Path, record: Path) -> None:
    if not model.is_file():
        raise RecordError(
            f"{model} does not exist.", hint=f"To read only its record, name {record}."
        )
    if not record.exists():
        made = shlex.join(["edgeq", "inspect", str(model), "-o", str(record)])
        raise RecordError(
            f"{model} has no record: there is no {record}.",
            hint=f"convert and tune write it. For a file of another tool: {made}",
        )


def _require_same(model: Path, record: Record) -> None:
    value, found = record.value, storage.hash_file(model)
    own = getattr(value, "model", None) or getattr(value, "candidate", None)
    own = own.file if isinstance(own, TfliteModel) else own
    if own is None:
        raise RecordError(
            f"{record.path} is a record of {record.kind}, which is not about one model.",
            hint=f"Name it: it is not the record of how {model} was made.",
        )
    if own.sha256 != found:
        raise RecordError(
            f"{model} is not the file that {record.path} is about: its SHA-256 begins with "
            f"{found[:12]}, not {own.sha256[:12]}.",
            hint="Convert again, so that the file and its record belong together.",
        )


def parse_record(content: bytes, shown_as: str) -> Record:
    """Parse the bytes of a record; raises as `read_record`."""
    plain = _parse_json(content, shown_as)
    _require_schema(plain, shown_as)
    kind = str(plain.get("kind"))
    if kind not in KINDS and kind not in FLEET_KINDS:
        known = ", ".join((*KINDS, *FLEET_KINDS))
        raise RecordError(f"{shown_as} is a record of the unknown kind {kind!r}; known: {known}.")
    try:
        value = _read_body(kind, plain)
        _require_64_bits(value)
        provenance = msgspec.convert(plain.get("provenance"), Provenance | None)
    except ValueError as error:  # also invalid texts such as "\\ud800"
        raise RecordError(
            f"{shown_as} is not a {kind} record that this version of edgeq can read: {error}.",
            hint="Make it again with this version, or upgrade edgeq if the record is newer.",
        ) from error
    issues = storage.find_issues(value)
    unknown = next((issue.code for issue in issues if not is_known(issue)), None)
    if unknown is not None:
        raise RecordError(
            f"{shown_as} has an issue with the code {unknown!r}, which this version of edgeq does "
            "not know.",
            hint="Upgrade edgeq: pip install -U edgeq",
        )
    return Record(
        path=shown_as,
        sha256=hashlib.sha256(content).hexdigest(),
        kind=kind,
        provenance=provenance,
        validity=judge(issues),
        reason_codes=tuple(dict.fromkeys(issue.code for issue in issues)),
        value=value,
    )


# Kinds of files that may be a damaged record.
_OF_RECORDS = ("record", "json", "text")
_WRITERS = "convert writes a record beside the model, other commands write one with -o."
_REPORT = "If it is a report, name the records that it was made from."


def _refuse(shown_as: str, kind: FileKind) -> RecordError:
    hint = _REPORT if kind.key == "page" else kind.hint(shown_as)
    return RecordError(
        f"{shown_as} is not an edgeq record: it is {kind.what}.", hint=hint or _WRITERS
    )


def _parse_json(content: bytes, shown_as: str) -> dict[str, Any]:
    try:
        plain = json.loads(content)
    except (ValueError, RecursionError) as error:
        kind = find_kind_of(content, shown_as)
        if kind is not None and kind.key not in _OF_RECORDS:
            raise _refuse(shown_as, kind) from error
        if isinstance(error, UnicodeDecodeError):
            raise RecordError(f"{shown_as} is not an edgeq record: it is not text.") from error
        raise RecordError(
            f"{shown_as} is not an edgeq record: it is not JSON, or is truncated ({error})."
        ) from error
    if not isinstance(plain, dict) or not str(plain.get("schema", "")).startswith(SCHEMA_PREFIX):
        raise RecordError(
            f"{shown_as} is not an edgeq record: it has no schema {SCHEMA_PREFIX}N.",
            hint=_WRITERS,
        )
    return plain


def _require_64_bits(value: Any) -> None:
    """Refuse whole numbers that neither a float nor a database can hold.

    Raises:
        ValueError: there is one.
    """
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, int) and not -(1 << 63) <= item < 1 << 63:
            raise ValueError("a whole number has more than 64 bits")
        if dataclasses.is_dataclass(item):
            pending += [getattr(item, field.name) for field in dataclasses.fields(item)]
        elif isinstance(item, dict):
            pending += item.values()
        elif isinstance(item, tuple) and item and not isinstance(item[0], (float, str)):
            pending += item


def _require_schema(plain: Mapping[str, Any], shown_as: str) -> None:
    number = str(plain["schema"]).removeprefix(SCHEMA_PREFIX)
    if not re.fullmatch(r"[1-9]\d{0,5}", number):
        raise RecordError(f"{shown_as} has the unknown schema {plain['schema']!r}.")
    if int(number) > NEWEST:
        raise RecordError(
            f"{shown_as} has the schema {plain['schema']}, and this version of "
            f"edgeq reads {storage.RECORD_SCHEMA} and older.",
            hint="Upgrade edgeq: pip install -U edgeq",
        )


def _read_body(kind: str, plain: Mapping[str, Any]) -> Any:
    if kind in KINDS:
        return msgspec.convert(plain, KINDS[kind], strict=False)  # infinities are texts
    fleet = msgspec.convert(plain, Fleet, strict=False)
    own = KINDS[kind.removeprefix("fleet-")]
    inner: Any = tuple[Evaluation, ...] if own is Evaluations else own
    entries = tuple(
        entry
        if entry.result is None
        else replace(entry, result=msgspec.convert(entry.result, inner, strict=False))
        for entry in fleet.entries
    )
    return replace(fleet, entries=entries)


def walk(value: Any) -> Iterator[Any]:
    """Every value inside a result, itself first, in the order of its fields."""
    yield value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from walk(getattr(value, field.name))
    elif isinstance(value, tuple) and value and not isinstance(value[0], (int, float, str)):
        for item in value:
            yield from walk(item)


def find_files(value: Any) -> Iterator[FileRef | DataRef]:
    """All files and data sets anywhere in a result, in the order of its fields."""
    return (item for item in walk(value) if isinstance(item, (FileRef, DataRef)))


def read_all(given: Any) -> tuple[Record, ...]:
    """Several records, each once.

    Args:
        given: a path, a result such as a `Conversion`, or a `Record`; or several of them. The
            path of a `.tflite` means the record beside it.

    Raises:
        RecordError: see `read_record`.
        UsageError: an object is neither a path nor a result.
    """
    found: dict[str, Record] = {}
    for item in list_given(given):
        record = item if isinstance(item, Record) else open_given(item)[0]
        found.setdefault(record.sha256, record)
    return tuple(found.values())
