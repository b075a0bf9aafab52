"""Zip archives whose bytes depend on their contents alone, and reading them without trust.

Entries are in the order of their names, dated 1980-01-01, with the same permissions, and either
stored at a multiple of a page size, so that they can be memory-mapped, or deflated.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePosixPath

from edgeq.errors import DamagedPackageError

_DATE = (1980, 1, 1, 0, 0, 0)
_MODE = 0o100644 << 16
_LEVEL = 9
# How Android aligns: an extra field with this ID, the alignment, and zeros (as zipalign and
# apksigner write it, see the sources of ApkSigner).
_ALIGNMENT_ID = 0xD935
_LOCAL_HEADER = 30
PAGE_BYTES = 16384
# Limits of an archive's contents; more is an attack on disk and memory.
MOST_BYTES = 4 << 30
MOST_ENTRIES = 100_000
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# Deflate makes zeros a thousand times smaller, but no model.
_MOST_RATIO = 100
_ALWAYS_BYTES = 256 << 20


def write_zip(
    entries: Mapping[str, bytes],
    *,
    stored: Collection[str] = (),
    page: int = PAGE_BYTES,
    behind: bytes = b"",
) -> bytes:
    """An archive as bytes.

    Args:
        entries: name, with /, to content.
        stored: names that are stored uncompressed, at a multiple of `page`.
        page: in bytes.
        behind: a file that the archive follows; offsets count from its beginning.
    """
    target = io.BytesIO()
    target.write(behind)
    with zipfile.ZipFile(target, "w", strict_timestamps=True) as archive:
        for name in sorted(entries):
            info = zipfile.ZipInfo(name, _DATE)
            info.create_system = 3  # Unix, wherever it is made
            info.external_attr = _MODE
            if name in stored:
                info.compress_type = zipfile.ZIP_STORED
                info.extra = _padding(target.tell() + _LOCAL_HEADER + len(name.encode()), page)
            else:
                info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, entries[name], compresslevel=_LEVEL)
    return target.getvalue()


def _padding(start: int, page: int) -> bytes:
    """An extra field that moves the content behind it to the start of the next page."""
    least = 6  # ID, length, alignment
    fill = -(start + least) % page
    return struct.pack("<HHH", _ALIGNMENT_ID, 2 + fill, page) + bytes(fill)


def list_zip(content: bytes, shown_as: str) -> dict[str, int]:
    """Size in bytes of each file of an archive, by its directory; nothing is inflated.

    Raises:
        DamagedPackageError: as for `read_zip`.
    """
    with _opened(content, shown_as) as archive:
        return {info.filename: info.file_size for info in archive.infolist() if not info.is_dir()}


def read_zip(
    content: bytes, shown_as: str, names: Collection[str] | None = None
) -> dict[str, bytes]:
    """Path to content of an archive's files, none of them larger than its directory states.

    Args:
        shown_as: name of the archive in messages.
        names: of the files to read; all by default.

    Raises:
        DamagedPackageError: damaged, encrypted, with two entries of one name, with a name that
            leads out of its folder, or with more inside than any package of this size has.
    """
    with _opened(content, shown_as) as archive:
        return {
            info.filename: archive.read(info)
            for info in archive.infolist()
            if not info.is_dir() and (names is None or info.filename in names)
        }


@contextmanager
def _opened(content: bytes, shown_as: str) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _require_sane(archive.infolist(), len(content), shown_as)
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError,
            struct.error, ValueError) as error:  # fmt: skip
        reason = str(error).rstrip(".")
        raise DamagedPackageError(
            f"{shown_as} is damaged or not a zip archive: {reason}."
        ) from error
    except RuntimeError as error:  # how zipfile says that an entry is encrypted
        raise DamagedPackageError(
            f"{shown_as} cannot be read: {str(error).rstrip('.')}."
        ) from error


def _require_sane(infos: list[zipfile.ZipInfo], archive_bytes: int, shown_as: str) -> None:
    total = sum(info.file_size for info in infos)
    most = min(MOST_BYTES, _ALWAYS_BYTES + _MOST_RATIO * archive_bytes)
    if len(infos) > MOST_ENTRIES or total > most:
        raise DamagedPackageError(
            f"{shown_as} states {len(infos):,} files of {total:,} bytes: more than any package of "
            "its size has."
        )
    if any(info.compress_type not in _METHODS for info in infos):
        raise DamagedPackageError(f"{shown_as} is compressed by another method than deflate.")
    names = [info.filename for info in infos]
    for name in names:
        require_inside(name, shown_as)
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DamagedPackageError(f"{shown_as} has two entries {twice!r}.")


def require_inside(name: str, shown_as: str) -> None:
    """Refuse a name that leads out of its folder.

    Raises:
        DamagedPackageError: it is absolute, has "..", a backslash, a drive or a control character.
    """
    path = PurePosixPath(name)
    odd = "\\" in name or ":" in name or not name.isprintable()
    if not name or path.is_absolute() or ".." in path.parts or odd:
        raise DamagedPackageError(
            f"{shown_as} has the entry {name!r}, which leads out of its folder."
        )
