"""Zip archives whose bytes depend on their contents alone, and reading them without trust.

Entries are in the order of their names, dated 1980-01-01, with the same permissions, and either
stored at a multiple of a page size, so that they can be memory-mapped, or deflated.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import PurePosixPath

from edgeq.errors import PackageError

_DATE = (1980, 1, 1, 0, 0, 0)
_MODE = 0o100644 << 16
_LEVEL = 9
# Android's way to align: an extra field with this ID, its alignment, and zeros (zipalign's and
# apksigner's, see the APK Signature Scheme's ApkSigner sources).
_ALIGNMENT_ID = 0xD935
_LOCAL_HEADER = 30
PAGE_BYTES = 16384
# What an archive may hold at most; more is no package but an attack on the disk.
MOST_BYTES = 4 << 30
MOST_ENTRIES = 100_000


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
    """An extra field that moves the content behind it to the next page."""
    least = 6  # ID, length, alignment
    fill = -(start + least) % page
    return struct.pack("<HHH", _ALIGNMENT_ID, 2 + fill, page) + bytes(fill)


def read_zip(content: bytes, shown_as: str) -> dict[str, bytes]:
    """All files of an archive.

    Raises:
        PackageError: damaged, encrypted, with two entries of one name, with a name that would leave
            its folder, or larger than any package.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            infos = archive.infolist()
            _require_sane(infos, shown_as)
            return {info.filename: archive.read(info) for info in infos if not info.is_dir()}
    # Places and texts that make no sense are ValueErrors to zipfile.
    except (
        zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, ValueError
    ) as error:  # fmt: skip
        reason = str(error).rstrip(".")
        raise PackageError(f"{shown_as} is damaged, or no zip archive: {reason}.") from error
    except RuntimeError as error:  # how zipfile says that an entry is encrypted
        raise PackageError(f"{shown_as} cannot be read: {str(error).rstrip('.')}.") from error


def _require_sane(infos: list[zipfile.ZipInfo], shown_as: str) -> None:
    if len(infos) > MOST_ENTRIES or sum(info.file_size for info in infos) > MOST_BYTES:
        raise PackageError(f"{shown_as} holds more than any package does.")
    names = [info.filename for info in infos]
    for name in names:
        require_inside(name, shown_as)
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise PackageError(f"{shown_as} has two entries {twice!r}.")


def require_inside(name: str, shown_as: str) -> None:
    """Refuse a name that means another place than inside its folder.

    Raises:
        PackageError: it is absolute, has "..", a backslash, a drive or a control character.
    """
    path = PurePosixPath(name)
    odd = "\\" in name or ":" in name or not name.isprintable()
    if not name or path.is_absolute() or ".." in path.parts or odd:
        raise PackageError(f"{shown_as} has the entry {name!r}, which leads out of its folder.")
