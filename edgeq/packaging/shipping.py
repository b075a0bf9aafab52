"""The file that ships: the measured one, with the metadata that other tools read."""

from __future__ import annotations

from pathlib import Path

from edgeq import flatbuffer
from edgeq.packaging import metadata
from edgeq.packaging.values import Contract


def ship(
    path: Path, contract: Contract, description: str, license: str | None, has_metadata: bool
) -> tuple[bytes, list[str]]:
    """The bytes that ship, and what a user has to know about them.

    Metadata is added only where taking it away again gives the measured file back, byte by byte:
    then everybody can prove that what ships is what was measured.
    """
    content = path.read_bytes()
    if not has_metadata:
        return content, []
    written = metadata.add_metadata(
        content, contract, description=description, license=license or ""
    )
    if without_metadata(written) != content:
        return content, [
            "no metadata was added: this file was written by another tool, and adding it would "
            "change more than the metadata"
        ]
    return written, []


def without_metadata(content: bytes) -> bytes:
    """A file as it was before metadata was added to it."""
    tree = flatbuffer.parse(content, "the shipped model")
    entries = list(tree.metadata or ())
    ours = [entry for entry in entries if flatbuffer.text(entry.name) == metadata.KEY]
    if len(ours) != 1:
        return content
    (entry,) = ours
    tree.metadata = [item for item in entries if item is not entry] or None
    if entry.buffer == len(tree.buffers) - 1:
        tree.buffers = tree.buffers[:-1]
    return flatbuffer.serialize(tree)
