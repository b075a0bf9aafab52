"""Packages onto the disk: a folder or a `.zip`, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from edgeq import host
from edgeq.errors import OutputError, PackageError
from edgeq.files import scratch, storage
from edgeq.packaging.container import archive
from edgeq.packaging.container.manifest import read_manifest
from edgeq.packaging.container.reading import open_package
from edgeq.packaging.contract.values import Files

# Endings of files that cannot be a package.
_OTHER_ENDINGS = (".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".aar", ".jar",
                  ".apk", ".whl", ".tflite", ".json")  # fmt: skip
_CHOOSE = "Remove it, or choose another -o."


def default_output(name: str, version: str, target: str) -> Path:
    """The place of a package without -o."""
    return Path(f"{name}-{version}-{target}")


def write_package(files: Files, output: Path) -> None:
    """Write a package; only an intact one with the same name and target is replaced.

    If `output` is a symbolic link, the file or folder that it points to is written.

    Raises:
        OutputError: the place is taken by something else, or nothing can be written there.
    """
    manifest = read_manifest(files)
    require_replaceable(output, manifest.target, manifest.name)
    place = Path(os.path.realpath(output))
    if _is_zip(output):
        storage.write_atomically(place, archive.write_zip(files))
        return
    try:
        with scratch.folder(beside=place) as folder:
            fresh, old = folder / "new", folder / "old"
            for path, content in files.items():
                target = fresh / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
            is_taken = place.exists()
            if is_taken:
                host.replace(place, old)
            try:
                host.replace(fresh, place)
            except OSError:
                if is_taken:
                    host.replace(old, place)
                raise
    except OSError as error:
        raise _cannot_write(output, error) from error


def require_replaceable(output: Path, target: str, name: str) -> str | None:
    """Refuse a place that has anything but an intact package like the new one, before any work.

    Args:
        target: of the new package.
        name: of the new package.

    Returns:
        The name and version of the package that will be replaced, None without one.

    Raises:
        OutputError: the place is taken by something else, or nothing can be written there.
    """
    place = Path(os.path.realpath(output))
    try:
        if not place.parent.is_dir():
            raise OutputError(f"There is no folder {place.parent}.", hint=storage.hint_for(place))
        _refuse_kind(output, place)
        is_taken = place.exists() and (place.is_file() or any(place.iterdir()))
    except OSError as error:  # a name that is too long, a folder that nobody may read
        raise _cannot_write(output, error) from error
    replaced = _require_own(output, target, name) if is_taken else None
    if _is_zip(output):
        storage.require_writable(place)
    return replaced


def _is_zip(output: Path) -> bool:
    return output.suffix.lower() == ".zip"


def _cannot_write(output: Path, error: OSError) -> OutputError:
    return OutputError(
        f"Cannot write {output}: {error.strerror or error}.",
        hint=host.hint_if_open(error) or "Choose another -o.",
    )


def _refuse_kind(output: Path, place: Path) -> None:
    """Refuse a place that can never be a package, whatever it contains."""
    if output.suffix.lower() in _OTHER_ENDINGS:
        raise OutputError(
            f"-o {output} ends in {output.suffix}; a package is a folder or a .zip.",
            hint=f"Type -o {output.name.split('.')[0]}.zip, or the name of a folder.",
        )
    if place.exists() and place.is_file() != _is_zip(output):
        kind = "a file" if place.is_file() else "a folder"
        raise OutputError(f"{output} is {kind} and not a package of edgeq.", hint=_CHOOSE)
    if place.is_symlink():
        raise OutputError(f"{output} is a link that leads back to itself.", hint=_CHOOSE)
    if Path.cwd().is_relative_to(place) or os.path.ismount(place):
        raise OutputError(
            f"-o {output} is a folder in use, {place}: a package replaces its whole folder.",
            hint="Name a new folder inside it, such as -o release.",
        )


def _require_own(output: Path, target: str, name: str) -> str:
    """The name and version of an unchanged package of the same model; refuse anything else."""
    try:
        package = open_package(output)
    except PackageError as error:
        raise OutputError(
            f"{output} exists and is not a package of edgeq, so it was not replaced: "
            f"{error.message}",
            hint=_CHOOSE,
        ) from error
    manifest = package.manifest
    if (manifest.target, manifest.name) != (target, name):
        raise OutputError(
            f"{output} is the package of {manifest.name} for {manifest.target}, not of {name} for "
            f"{target}, so it was not replaced.",
            hint=_CHOOSE,
        )
    if package.damage:
        raise OutputError(
            f"{output} was changed since edgeq made it, so it was not replaced: "
            f"{package.damage[0]}",
            hint=_CHOOSE,
        )
    return f"{manifest.name} {manifest.version}"
