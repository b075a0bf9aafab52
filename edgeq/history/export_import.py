"""Records out of a history and into another: a folder of their files, or an archive of it."""

from __future__ import annotations

import json
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

import msgspec

from edgeq.errors import HistoryError, OutputError, RecordError, UsageError
from edgeq.files import storage
from edgeq.files.damage import ZIP_DAMAGE
from edgeq.history.item import MOST_BYTES, Item
from edgeq.history.store import History
from edgeq.history.values import Filter

# The tags and commits of an export, in a file with its records.
INDEX = "history.json"
_INDEX_SCHEMA = "edgeq.history/1"

_DAMAGE = (*ZIP_DAMAGE, tarfile.TarError)

# All of them together: records deflate to a tenth, zeros to a thousandth.
_MOST_RATIO = 100


@dataclass(frozen=True)
class _IndexEntry:
    """The entry of a record in the index of an export."""

    file: str
    added: str | None = None
    git_commit: str | None = None
    tags: tuple[Annotated[str, msgspec.Meta(pattern=r"^[^,]*[^,\s][^,]*\Z")], ...] = ()


@dataclass(frozen=True)
class _Index:
    schema: str
    records: tuple[_IndexEntry, ...]


def export_records(history: History, folder: Path, wanted: Filter) -> tuple[Path, ...]:
    """Write the bytes of records to files of a folder, with an index of tags and commits.

    Raises:
        UsageError: the folder has files in it already, or the filter names what no record has.
        OutputError: it cannot be written.
    """
    entries = history.list(wanted).entries[::-1]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_empty = next(folder.iterdir(), None) is None
    except OSError as error:
        raise OutputError(f"Cannot write {folder}: {error.strerror or error}.") from error
    if not is_empty:
        raise UsageError(f"{folder} is not empty.", hint="Name a new folder.")
    written: list[Path] = []
    names = [f"{entry.number:06}-{entry.kind}-{entry.sha256[:10]}.json" for entry in entries]
    index = [
        {
            "file": name,
            "read_from": entry.file,
            "sha256": entry.sha256,
            "added": entry.added,
            "git_commit": entry.git_commit,
            "tags": list(filter(None, entry.tags.split(","))),
        }
        for name, entry in zip(names, entries, strict=True)
    ]
    plain = {"schema": _INDEX_SCHEMA, "records": index}
    try:
        for name, (_, content) in zip(names, history.contents(entries), strict=True):
            target = folder / name
            storage.write_atomically(target, content)
            written.append(target)
        storage.write_atomically(folder / INDEX, (json.dumps(plain, indent=2) + "\n").encode())
    except OutputError:
        for target in written:  # half of an export looks like a whole one
            target.unlink(missing_ok=True)
        raise
    return tuple(written)


def read_source(source: Path) -> Iterator[Item]:
    """Every .json file of a folder or a .zip or .tar archive, in the order of their names.

    With the index of an export among them, tags, commits and file names are as they were.

    Raises:
        UsageError: it is neither, or there is no .json file in it.
        HistoryError: the archive is damaged.
    """
    if source.is_dir():
        paths = sorted(path for path in source.rglob("*.json") if path.is_file())
        files = [Item(str(path), None, (), None, None) for path in paths]
    elif source.is_file():
        files = _read_archive(source)
    else:
        raise UsageError(
            f"{source} does not exist.", hint="Name a folder or an archive of records."
        )
    index = [item for item in files if PurePosixPath(item.file).name == INDEX]
    known = _read_index(index[0]) if index else {}
    found = [item for item in files if item not in index]
    if not found:
        raise UsageError(f"{source} has no .json file in it.")
    for item in found:
        entry = known.get(PurePosixPath(item.file).name)
        if entry is None:
            yield item
        else:
            yield Item(item.file, item.content, entry.tags, entry.git_commit, entry.added)


def _read_archive(path: Path) -> list[Item]:
    """Members are read into memory and never unpacked, so their paths do no harm."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as opened:
                members = [m for m in opened.infolist() if m.filename.endswith(".json")]
                wanted = [m for m in members if m.file_size <= MOST_BYTES]
                _require_room(sum(m.file_size for m in wanted), path)
                found = {m.filename: opened.read(m) for m in wanted}
        elif tarfile.is_tarfile(path):
            found = _read_tar(path)
        else:
            raise UsageError(
                f"{path} is neither a folder nor a .zip or .tar archive.",
                hint="A single record is added with: edgeq history add RECORD.json",
            )
    except _DAMAGE as error:
        raise HistoryError(
            f"{path} cannot be read: {error}.", hint="Copy the archive again."
        ) from error
    return [Item(name, content, (), None, None) for name, content in sorted(found.items())]


def _require_room(total: int, path: Path) -> None:
    """Refuse an archive that would unpack to far more than records do."""
    if total > MOST_BYTES + _MOST_RATIO * path.stat().st_size:
        raise HistoryError(
            f"{path} would unpack to {total:,} bytes, more than records of its size do.",
            hint="Unpack it, and import the folder.",
        )


def _read_tar(path: Path) -> dict[str, bytes]:
    found, total = {}, 0
    with tarfile.open(path) as opened:
        for member in opened:
            stream = opened.extractfile(member) if member.isfile() else None
            if stream is not None and member.name.endswith(".json") and member.size <= MOST_BYTES:
                total += member.size
                _require_room(total, path)
                found[member.name] = stream.read()
    return found


def _read_index(item: Item) -> dict[str, _IndexEntry]:
    """Entries of an export's index by file name."""
    try:
        index = msgspec.json.decode(item.read(), type=_Index)
        if index.schema != _INDEX_SCHEMA:
            raise ValueError(f"its schema is {index.schema!r}")
        return {entry.file: entry for entry in index.records}
    except (ValueError, RecursionError) as error:
        raise RecordError(
            f"{item.file} is not the index of an export: {error}.",
            hint="Remove it to import the records without their tags.",
        ) from error
