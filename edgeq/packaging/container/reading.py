"""Packages from the disk, read without trust: what a package says of itself is held against what
lies there before anything is inflated or taken into memory.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeq.errors import DamagedPackageError, UnjudgedPackageError
from edgeq.packaging.container import archive
from edgeq.packaging.container.manifest import (
    MANIFEST,
    OUTSIDE,
    Manifest,
    find_damage,
    read_manifest,
)
from edgeq.packaging.contract.values import Files

# No manifest, list of sums, signature or key has this much.
_MOST_PAPER_BYTES = 64 << 20


@dataclass(frozen=True, eq=False)
class Opened:
    """A package in memory.

    Attributes:
        files: path inside to content; only those that are as large as the manifest says.
        damage: everything that is not as manifest and sums say, a sentence each.
    """

    files: Files
    manifest: Manifest
    damage: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Source:
    """A folder or an archive.

    Attributes:
        sizes: path inside to bytes.
        read: contents of some of them.
        find_oddities: what is wrong beside the files, given all of them.
    """

    sizes: Mapping[str, int]
    read: Callable[[Collection[str]], dict[str, bytes]]
    find_oddities: Callable[[Files], list[str]]


def open_package(path: Path) -> Opened:
    """A package, a folder or a `.zip`.

    Raises:
        DamagedPackageError: it is none by its form, cannot be inflated, or has no sound manifest.
        UnjudgedPackageError: it is not there, cannot be read, or is of a newer edgeq.
    """
    try:
        source = _look_into_folder(path) if path.is_dir() else _look_into_zip(path)
        return _open(source, path)
    except OSError as error:
        raise UnjudgedPackageError(f"{path} cannot be read: {error.strerror or error}.") from error


def _open(source: _Source, path: Path) -> Opened:
    if MANIFEST not in source.sizes:
        raise DamagedPackageError(f"{path} has no {MANIFEST}: it is no package of edgeq.")
    for name in OUTSIDE:
        size = source.sizes.get(name, 0)
        if size > _MOST_PAPER_BYTES:
            raise DamagedPackageError(f"{name} of {path} has {size:,} bytes: no package's has.")
    manifest = read_manifest(source.read([MANIFEST]))
    wanted = {
        name
        for name, size in source.sizes.items()
        if name in OUTSIDE or (name in manifest.files and manifest.files[name][1] == size)
    }
    files = source.read(wanted)
    damage = find_damage(files, source.sizes, manifest)
    if len(files) == len(source.sizes):
        damage = [*source.find_oddities(files), *damage]
    return Opened(files, manifest, tuple(damage))


def _look_into_zip(path: Path) -> _Source:
    if path.exists() and not path.is_file():
        raise UnjudgedPackageError(f"{path} is no file and no folder.")
    if path.stat().st_size > archive.MOST_BYTES:
        raise DamagedPackageError(f"{path} holds more than any package does.")
    content = path.read_bytes()

    def find_oddities(files: Files) -> list[str]:
        # Bytes between the entries belong to no file, so only the whole can tell of them.
        if archive.write_zip(files) == content:
            return []
        return [f"{path.name}, the archive itself, was changed or packed anew by another program."]

    return _Source(
        archive.list_zip(content, str(path)),
        lambda names: archive.read_zip(content, str(path), names),
        find_oddities,
    )


def _look_into_folder(path: Path) -> _Source:
    if not (path / MANIFEST).is_file():
        raise DamagedPackageError(f"{path} has no {MANIFEST}: it is no package of edgeq.")
    sizes, empty = {}, []
    for entry in sorted(path.rglob("*")):
        name = entry.relative_to(path).as_posix()
        if entry.is_symlink():
            raise DamagedPackageError(f"{path} holds {name!r}, a link: packages have none.")
        if entry.is_file():
            sizes[name] = entry.stat().st_size
        elif not entry.is_dir():
            raise DamagedPackageError(f"{path} holds {name!r}, which is no file and no folder.")
        elif not any(entry.iterdir()):
            empty.append(f"{name}/, an empty folder, does not belong to the package.")
    if sum(sizes.values()) > archive.MOST_BYTES:
        raise DamagedPackageError(f"{path} holds more than any package does.")
    return _Source(
        sizes, lambda names: {name: (path / name).read_bytes() for name in names}, lambda _: empty
    )
