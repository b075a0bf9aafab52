"""What a release costs on its way to a device: sizes as stores and updates see them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgeq.errors import DamagedPackageError, UsageError
from edgeq.packaging import targets
from edgeq.packaging.container.reading import open_package
from edgeq.packaging.contract.values import Files


@dataclass(frozen=True)
class Part:
    """One file that a release build takes in.

    Attributes:
        path: in the package, inside of an archive after "!".
        size: in bytes.
        compressed: as stores compress it for the download (deflate at its best).
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
class Delivery:
    """All of them.

    Attributes:
        removed: files of the previous release that are gone.
        has_patches: whether bsdiff4 is installed.
    """

    parts: tuple[Part, ...]
    removed: tuple[str, ...]
    previous: str | None
    has_patches: bool


def read_previous(path: Path, target: str, name: str) -> tuple[Files, str]:
    """The model wherever the previous release has it, and that release's version.

    Args:
        target, name: of the package that is held against it.

    Raises:
        PackageError: it cannot be read, is no package, or was changed since it was made (which
            is a DamagedPackageError).
        UsageError: it is of another model, or for another target.
    """
    package = open_package(path)
    manifest = package.manifest
    if (manifest.target, manifest.name) != (target, name):
        raise UsageError(
            f"--previous {path} is the package of {manifest.name} for {manifest.target}, not of "
            f"{name} for {target}.",
            hint="Give an earlier release of this very package.",
        )
    if package.damage:
        raise DamagedPackageError(f"--previous {path} is not as it was made: {package.damage[0]}")
    return targets.target(target).find_models(package.files), manifest.version


def measure(models: Files, previous: Files | None, previous_version: str | None) -> Delivery:
    """Sizes of the model wherever it ships, alone and against the previous release.

    Args:
        models: path to the model there, as `Target.find_models` gives them.
        previous: the same of the previous release.
    """
    differ = _bsdiff()
    old = previous or {}
    parts = []
    for path, content in models.items():
        before = old.get(path) or _by_end(old, path)
        parts.append(
            Part(
                path,
                len(content),
                _deflated(content),
                None if before is None else _deflated(before),
                None if before is None or differ is None else len(differ(before, content)),
            )
        )
    gone = tuple(path for path in old if path not in models and not _by_end(models, path))
    return Delivery(tuple(parts), gone, previous_version, differ is not None)


def _by_end(files: Mapping[str, bytes], path: str) -> bytes | None:
    """The file in the same place of another version, whose archive has another name."""
    found = [content for name, content in files.items() if _place(name) == _place(path)]
    return found[0] if len(found) == 1 else None


def _place(path: str) -> tuple[str, str]:
    """What a path has in common with its like of another version: "m-1.whl!x" is in a .whl."""
    outer, _, inner = path.rpartition("!")
    return PurePosixPath(outer).suffix, inner


def _deflated(content: bytes) -> int:
    return len(zlib.compress(content, 9))


def _bsdiff() -> Callable[[bytes, bytes], bytes] | None:
    try:
        from bsdiff4 import diff
    except ImportError:
        return None
    found: Callable[[bytes, bytes], bytes] = diff
    return found
