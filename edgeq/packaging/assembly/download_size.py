"""The download size of a release, as stores and updates transfer it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgeq.errors import DamagedPackageError, UsageError
from edgeq.packaging import targets
from edgeq.packaging.container.reading import open_package
from edgeq.packaging.contract.values import Files


@dataclass(frozen=True)
class FileSize:
    """The size of one file that a release build contains.

    Attributes:
        path: in the package, inside of an archive after "!".
        size: in bytes.
        compressed: in bytes, as stores compress it for the download (deflate, highest level).
        before: compressed size of the same file in the previous release; None when it is new.
        patch: bytes of a binary difference (bsdiff 4) to the previous release; None without one, or
            without the package bsdiff4.
    """

    path: str
    size: int
    compressed: int
    before: int | None
    patch: int | None


@dataclass(frozen=True)
class DownloadSize:
    """The model's share of a download.

    Attributes:
        removed: files of the previous release that are gone.
        previous: version of the previous release.
    """

    files: tuple[FileSize, ...]
    removed: tuple[str, ...]
    previous: str | None


def read_previous(path: Path, target: str, name: str) -> tuple[Files, str]:
    """The model wherever the previous release has it, and that release's version.

    Args:
        target: of the new package.
        name: of the new package.

    Raises:
        PackageError: it cannot be read, is not a package, or was changed since it was made (the
            last is a DamagedPackageError).
        UsageError: it has another model or another target.
    """
    package = open_package(path)
    manifest = package.manifest
    if (manifest.target, manifest.name) != (target, name):
        raise UsageError(
            f"--previous {path} is the package of {manifest.name} for {manifest.target}, not of "
            f"{name} for {target}.",
            hint="Give an earlier release of the same package.",
        )
    if package.damage:
        raise DamagedPackageError(f"--previous {path} was changed: {package.damage[0]}")
    return targets.find_target(target).find_models(package.files), manifest.version


def measure(models: Files, previous: Files | None, previous_version: str | None) -> DownloadSize:
    """Sizes of the model wherever it ships, alone and compared with the previous release.

    Args:
        models: path to the model there, from `Target.find_models`.
        previous: the same of the previous release.
    """
    try:
        from bsdiff4 import diff
    except ImportError:
        diff = None
    sizes, old = [], previous or {}
    for path, content in models.items():
        before = _same_file(old, path)
        sizes.append(
            FileSize(
                path,
                len(content),
                _deflated(content),
                None if before is None else _deflated(before),
                None if before is None or diff is None else len(diff(before, content)),
            )
        )
    gone = tuple(path for path in old if _same_file(models, path) is None)
    return DownloadSize(tuple(sizes), gone, previous_version)


def _same_file(files: Files, path: str) -> bytes | None:
    """The file with this path, or in the same place of an archive named after another version."""

    def place(name: str) -> tuple[str, str]:
        outer, _, inner = name.rpartition("!")
        return PurePosixPath(outer).suffix, inner

    if path in files:
        return files[path]
    found = [content for name, content in files.items() if place(name) == place(path)]
    return found[0] if len(found) == 1 else None


def _deflated(content: bytes) -> int:
    return len(zlib.compress(content, 9))
