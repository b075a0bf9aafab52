"""Checks of a zip and of HDF5: no path may lead to another file, and sizes must be true.

HDF5 can contain a link to another file, keep a dataset's bytes in another file, or map datasets of
other files, and h5py follows all three silently. A dataset of a few bytes can state any size.
"""

from __future__ import annotations

import os
import posixpath
import stat
import struct
import zipfile
from pathlib import Path
from typing import Any

from edgeq.converters.safe_reading.findings import Finding

# A larger size is refused if it is this many times the stored one: Keras stores weights
# uncompressed, and pruned ones compress to a tenth.
_LARGE = 64 << 20
_EXPANSION = 32

# The ends of a zip: signature, ..., size and offset of the directory, length of the comment.
_END = struct.Struct("<4s4HIIH")
_ZIP64_LOCATOR = struct.Struct("<4sIQI")
_ZIP64_END = struct.Struct("<4sQ2H2I4Q")
_IN_ZIP64 = 0xFFFFFFFF


def find_in_zip(archive: zipfile.ZipFile) -> Finding | None:
    """The first member of a zip whose path, kind or size is refused."""
    seen = set()
    for item in archive.infolist():
        name = item.filename
        where = f"its member {name[:200]!r}"
        # A file system or another reader may take this for the same name.
        plain = posixpath.normpath(name.replace("\\", "/").partition("\0")[0]).casefold()
        if plain in seen:
            return Finding(where, "is there twice")
        seen.add(plain)
        if plain.startswith(("/", "../")) or plain == ".." or ":" in plain.partition("/")[0]:
            return Finding(where, "has a path that leads out of the archive")
        kind = stat.S_IFMT(item.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            return Finding(where, "is a link or another special file")
        if _is_inflated(item.file_size, item.compress_size):
            return Finding(where, _states(item.file_size, item.compress_size))
    return None


def find_two_directories(path: Path, archive: zipfile.ZipFile) -> Finding | None:
    """Check that other readers find the same directory in a zip as Python does.

    Python finds the directory from the end of the file and adds the size of any data before the
    archive to all offsets; others use the offsets as they are stated. It also allows a comment at
    the end, in which others search for the directory.
    """
    with path.open("rb") as stream:
        end = stream.seek(-_END.size, os.SEEK_END)
        signature, *_, size, offset, comment = _END.unpack(stream.read(_END.size))
        stream.seek(max(end - _ZIP64_LOCATOR.size, 0))
        locator = stream.read(_ZIP64_LOCATOR.size)
        if locator.startswith(b"PK\x06\x07"):
            end = stream.seek(_ZIP64_LOCATOR.unpack(locator)[2])
            large = stream.read(_ZIP64_END.size).ljust(_ZIP64_END.size, b"\0")  # behind the end
            *_, large_size, large_offset = _ZIP64_END.unpack(large)
            if size not in (large_size, _IN_ZIP64) or offset not in (large_offset, _IN_ZIP64):
                end = -1
            size, offset = large_size, large_offset
    if (signature, comment, offset, end) == (b"PK\x05\x06", 0, archive.start_dir, offset + size):
        return None
    return Finding("its directory", "is not where the archive states it")


def find_in_hdf5(file: Any) -> Finding | None:
    """The first part of an HDF5 file that leads to another file, or states a false size.

    Args:
        file: an `h5py.File`.
    """
    import h5py

    # The names of all links in the file; none is followed.
    links: list[tuple[bytes, int]] = []
    file.id.links.visit(lambda name, info: links.append((name, info.type)), info=True)
    declared = stored = 0
    for raw, kind in links:
        name = raw.decode("utf-8", "replace")
        if kind == h5py.h5l.TYPE_SOFT:
            continue  # another name for a part of this file
        if kind != h5py.h5l.TYPE_HARD:
            return Finding(f"its HDF5 group {name[:200]!r}", "is a link to another file")
        opened = h5py.h5o.open(file.id, raw)
        if not isinstance(opened, h5py.h5d.DatasetID):
            continue
        dataset = h5py.Dataset(opened)
        where = f"its HDF5 dataset {name[:200]!r}"
        if dataset.external or dataset.is_virtual:
            return Finding(where, "keeps its values in another file")
        declared += dataset.size * dataset.dtype.itemsize if dataset.shape is not None else 0
        stored += opened.get_storage_size()
        if _is_inflated(declared, stored):
            return Finding(where, _states(declared, stored))
    return None


def _is_inflated(declared: int, stored: int) -> bool:
    return declared > _LARGE and declared > _EXPANSION * stored


def _states(declared: int, stored: int) -> str:
    return f"brings the stated size to {declared} bytes, of which {stored} are stored"
