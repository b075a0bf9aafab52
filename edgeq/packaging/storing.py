"""Packages onto the disk: a folder or a `.zip`, written whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from edgeq import storage
from edgeq.errors import OutputError
from edgeq.packaging import archive
from edgeq.packaging.manifest import MANIFEST


def write_package(files: Mapping[str, bytes], output: Path) -> None:
    """Write a package; one that is there is replaced, anything else is left alone.

    Raises:
        OutputError: the place is taken by something else, or cannot be written.
    """
    if output.suffix.lower() == ".zip":
        storage.write_atomically(output, archive.write_zip(files))
        return
    require_replaceable(output)
    try:
        parent = output.resolve().parent
        with tempfile.TemporaryDirectory(dir=parent, prefix=f".{output.name}.") as name:
            fresh = Path(name) / "new"
            for path, content in files.items():
                target = fresh / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
            if output.exists():
                output.rename(Path(name) / "old")
            fresh.rename(output)
    except OSError as error:
        raise OutputError(
            f"Cannot write {output}: {error.strerror or error}.", hint="Choose another -o."
        ) from error


def require_replaceable(output: Path) -> None:
    """Refuse a folder that is no package, before any work.

    Raises:
        OutputError: it holds something else, or there is no folder to put it into.
    """
    if output.suffix.lower() == ".zip":
        storage.require_writable(output)
        return
    is_taken = output.is_dir() and any(output.iterdir()) and not (output / MANIFEST).is_file()
    if is_taken or (output.exists() and not output.is_dir()):
        raise OutputError(
            f"{output} is there and is no package of edgeq; it stays as it is.",
            hint="Choose another -o: a new folder, or a file that ends in .zip.",
        )
    if not output.resolve().parent.is_dir():
        raise OutputError(f"There is no folder {output.resolve().parent}.", hint="Make it first.")


def default_output(name: str, version: str, target: str) -> Path:
    """Where a package goes without -o."""
    return Path(f"{name}-{version}-{target}")
