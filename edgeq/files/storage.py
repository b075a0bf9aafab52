"""Values as versioned JSON, digests, and files that are written whole or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgeq import host
from edgeq.errors import OutputError, UsageError
from edgeq.escaping import json_text
from edgeq.files import scratch
from edgeq.files.reading import open_file
from edgeq.issues import judge
from edgeq.provenance import describe_here
from edgeq.values import FileRef, Issue

RECORD_SCHEMA = "edgeq.record/1"

_CHUNK_BYTES = 1 << 20


def hash_file(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with open_file(path) as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def refer(path: Path, shown_as: str | None = None) -> FileRef:
    """Digest and size of a file, or of a folder as its sorted (name, digest) list.

    Args:
        path: an existing file or folder.
        shown_as: the path in records, by default `path` with slashes, also on Windows.
    """
    if path.is_file():
        return FileRef(shown_as or path.as_posix(), hash_file(path), path.stat().st_size)
    digest, size = hashlib.sha256(), 0
    for entry in sorted(item for item in path.rglob("*") if item.is_file()):
        digest.update(f"{entry.relative_to(path).as_posix()}\0{hash_file(entry)}\n".encode())
        size += entry.stat().st_size
    return FileRef(shown_as or path.as_posix(), digest.hexdigest(), size)


def record_beside(model: Path) -> Path:
    """The path of the record that `convert` writes beside a model."""
    return model.with_name(f"{model.name}.json")


def refer_bytes(content: bytes, shown_as: str) -> FileRef:
    """Digest and size of the content of a file."""
    return FileRef(shown_as, hashlib.sha256(content).hexdigest(), len(content))


def to_plain(value: Any) -> Any:
    """A frozen value as dictionaries, lists and JSON scalars; infinities become strings."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no infinity
    return value


def record_json(kind: str, body: dict[str, Any], issues: Sequence[Issue] = ()) -> str:
    """One record as JSON text: the envelope first, then the body.

    Characters that are not printable become escapes: a record holds names from files, and users
    print records.

    Args:
        kind: of the record.
        body: plain, or of values.
        issues: those that make its figures less reliable.
    """
    plain = {
        "schema": RECORD_SCHEMA,
        "kind": kind,
        "provenance": to_plain(describe_here()),
        "validity": judge(issues),
        "reason_codes": list(dict.fromkeys(issue.code for issue in issues)),
        **to_plain(body),
    }
    return json_text(plain) + "\n"


def write_record(target: Path, kind: str, value: Any) -> None:
    """Write one record."""
    target.write_bytes(record_bytes(kind, value))


def record_bytes(kind: str, value: Any) -> bytes:
    """The content of one record."""
    return record_json(kind, to_plain(value), find_issues(value)).encode("utf-8")


def find_issues(value: Any) -> tuple[Issue, ...]:
    """All issues at any depth of a value, each once, in the order of its fields."""
    found: dict[Issue, None] = {}
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, Issue):
            found[item] = None
        elif dataclasses.is_dataclass(item) and not isinstance(item, type):
            pending += [getattr(item, field.name) for field in reversed(dataclasses.fields(item))]
        elif isinstance(item, dict):
            pending += reversed(list(item.values()))
        elif isinstance(item, (list, tuple)) and item and not isinstance(item[0], (int, float)):
            pending += reversed(item)
    return tuple(found)


def refuse_overwriting(output: Path, sources: Iterable[Any]) -> None:
    """Raise an error if an output would replace one of its inputs.

    Args:
        output: the file to be written.
        sources: models and data; those that are paths are checked.

    Raises:
        UsageError: it is one of them.
    """
    for source in sources:
        try:
            is_same = isinstance(source, (str, Path)) and output.samefile(source)
        except OSError:
            continue  # one of them does not exist
        if is_same:
            raise UsageError(
                f"-o {output} is the input {source} itself.", hint="Choose another -o."
            )


def refuse_ending(output: Path, ending: str, what: str, option: str = "-o") -> None:
    """Raise an error if an output does not have the ending of its kind.

    Args:
        output: the file to be written.
        ending: of its kind.
        what: its kind.
        option: what named it.

    Raises:
        UsageError: it has not, such as a record that would be called model.tflite.
    """
    found = output.suffix.lower()
    # Markdown may be the summary of a CI job, whose name has no ending.
    if found != ending and (found or ending != ".md"):
        raise UsageError(
            f"{option} {output} must end in {ending}: it will be {what}.",
            hint=f"For example: {option} {shlex.quote(str(output.with_suffix(ending)))}",
        )


def require_writable(output: Path) -> None:
    """Check, before any work, that a file can be written; it is not changed.

    Raises:
        OutputError: it cannot, see `replacing`.
    """
    with _temporary_beside(output):
        pass


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary path beside `target` that replaces it only when the block succeeds.

    Raises:
        OutputError: the folder is missing or not writable, the disk is full, or the target
            exists and is not a regular file (a device would be replaced by a file).
    """
    with _temporary_beside(target) as temporary:
        yield temporary
        with temporary.open("r+b") as stream:  # Windows flushes only what may be written
            os.fsync(stream.fileno())
        host.replace(temporary, target)


@contextmanager
def _temporary_beside(target: Path) -> Iterator[Path]:
    try:
        if target.exists() and not target.is_file():
            raise OutputError(
                f"Cannot write {target}: it is not a regular file.", hint="Choose another -o."
            )
        with scratch.file(target) as temporary:
            yield temporary
    except OSError as error:
        raise OutputError(
            f"Cannot write {target}: {error.strerror or error}.",
            hint=host.hint_if_open(error) or hint_for(target),
        ) from error


def hint_for(target: Path) -> str:
    """Say what to do if a file or folder cannot be written."""
    if not target.parent.exists():
        return f"Make its folder: mkdir -p {shlex.quote(str(target.parent))}"
    return "Check that its folder is writable and has space, or choose another -o."


def write_atomically(target: Path, content: bytes) -> None:
    """Write a file so that a reader sees the whole old or the whole new one.

    Raises:
        OutputError: it cannot be written, see `replacing`.
    """
    with replacing(target) as temporary:
        temporary.write_bytes(content)
