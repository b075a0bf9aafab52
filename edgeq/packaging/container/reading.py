"""Packages from the disk, read without trust.

The sizes that a package states are compared with those on the disk before anything is inflated or
taken into memory.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeq.errors import DamagedPackageError, UnjudgedPackageError
from edgeq.files.kinds import find_kind
from edgeq.packaging.container import archive
from edgeq.packaging.container.manifest import (
    MANIFEST,
    OUTSIDE,
    Manifest,
    find_damage,
    read_manifest,
)
from edgeq.packaging.contract.values import Files

# For manifest, list of sums, signature and key; real ones are far smaller.
_MOST_OUTSIDE_BYTES = 64 << 20


@dataclass(frozen=True, eq=False)
class Opened:
    """A package in memory.

    Attributes:
        files: path inside to content; only those with the size that the manifest states.
        damage: every difference from manifest and sums, a sentence each.
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
        DamagedPackageError: its form is not a package's, it cannot be inflated, or it has no sound
            manifest.
        UnjudgedPackageError: it does not exist, cannot be read, or was made by a newer version of
            edgeq.
    """
    try:
        _refuse_other_kind(path)
        source = _look_into_folder(path) if path.is_dir() else _look_into_zip(path)
        if MANIFEST not in source.sizes:
            raise DamagedPackageError(f"{path} has no {MANIFEST}: it is not a package of edgeq.")
        for name in OUTSIDE:
            size = source.sizes.get(name, 0)
            if size > _MOST_OUTSIDE_BYTES:
                raise DamagedPackageError(
                    f"{name} of {path} has {size:,} bytes, too many for a package."
                )
        manifest = read_manifest(source.read([MANIFEST]))
        wanted = {
            name
            for name, size in source.sizes.items()
            if name in OUTSIDE or (name in manifest.files and manifest.files[name][1] == size)
        }
        files = source.read(wanted)
    except OSError as error:
        raise UnjudgedPackageError(f"{path} cannot be read: {error.strerror or error}.") from error
    damage = find_damage(files, source.sizes, manifest)
    if len(files) == len(source.sizes):
        damage = [*source.find_oddities(files), *damage]
    return Opened(files, manifest, tuple(damage))


# Kinds of files that may be a damaged package.
_OF_PACKAGES = ("package", "zip", "damaged", "folder")


def _refuse_other_kind(path: Path) -> None:
    kind = find_kind(path) if path.is_file() or path.is_dir() else None
    if kind is not None and kind.key not in _OF_PACKAGES:
        is_model = kind.key == "tflite"
        hint = f"Make one: edgeq package {shlex.quote(str(path))} --target android"
        raise DamagedPackageError(
            f"{path} is not a package of edgeq: it is {kind.what}.",
            hint=(hint if is_model else kind.hint(str(path)))
            or "Name a folder or a .zip that edgeq package wrote.",
        )


def _look_into_zip(path: Path) -> _Source:
    if path.exists() and not path.is_file():
        raise UnjudgedPackageError(f"{path} is neither a file nor a folder.")
    if path.stat().st_size > archive.MOST_BYTES:
        raise DamagedPackageError(f"{path} is larger than any package.")
    content = path.read_bytes()

    def find_oddities(files: Files) -> list[str]:
        # Bytes between the entries belong to no file, so only the whole archive shows them.
        if archive.write_zip(files) == content:
            return []
        return [f"{path.name}, the archive itself, was changed or packed again by another program."]

    return _Source(
        archive.list_zip(content, str(path)),
        lambda names: archive.read_zip(content, str(path), names),
        find_oddities,
    )


def _look_into_folder(path: Path) -> _Source:
    if not (path / MANIFEST).is_file():
        raise DamagedPackageError(f"{path} has no {MANIFEST}: it is not a package of edgeq.")
    sizes, empty = {}, []
    for entry in sorted(path.rglob("*")):
        name = entry.relative_to(path).as_posix()
        if entry.is_symlink():
            raise DamagedPackageError(f"{path} has the link {name!r}: packages have no links.")
        if entry.is_file():
            sizes[name] = entry.stat().st_size
        elif not entry.is_dir():
            raise DamagedPackageError(f"{path} has {name!r}, which is neither a file nor a folder.")
        elif not any(entry.iterdir()):
            empty.append(f"{name}/, an empty folder, does not belong to the package.")
    if sum(sizes.values()) > archive.MOST_BYTES:
        raise DamagedPackageError(f"{path} is larger than any package.")
    return _Source(
        sizes, lambda names: {name: (path / name).read_bytes() for name in names}, lambda _: empty
    )
