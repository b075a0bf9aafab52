"""The file that ships: the measured one, with the metadata that other tools read."""

from __future__ import annotations

from edgeq.errors import UsageError
from edgeq.packaging.contract.embedded_labels import read_labels
from edgeq.packaging.contract.values import Contract
from edgeq.packaging.documents import metadata
from edgeq.tflite import flatbuffer

_KEPT = (
    "the metadata of the file were kept: it was measured with them, or another tool wrote it, so "
    "replacing them would change more than the metadata"
)


def ship(
    content: bytes, contract: Contract, description: str, license: str | None, has_metadata: bool
) -> tuple[bytes, list[str]]:
    """The bytes that ship, and what a user has to know about them.

    Metadata is added only where taking it away again gives the measured file back, byte by byte:
    then everybody can prove that what ships is what was measured.

    Args:
        content: the measured file; see `measurable`.

    Raises:
        UsageError: it carries other labels than the contract, and cannot be given these.
    """
    if has_own_metadata(content):
        _require_same_labels(content, contract)
        return content, [_KEPT]
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


def _require_same_labels(content: bytes, contract: Contract) -> None:
    own = read_labels(content)
    for output in contract.outputs:
        file, labels = own.get(output.spec.name, ("", output.labels))
        if labels != output.labels:
            raise UsageError(
                f"{contract.model.path} carries {file}, whose names of the classes of output "
                f"{output.spec.name!r} are others than --labels has, and its metadata cannot be "
                "replaced: it was measured with them, or another tool wrote it.",
                hint="Leave --labels out; or write the file without metadata (without_metadata of "
                "edgeq.packaging.documents.shipping) and measure that.",
            )


def has_own_metadata(content: bytes) -> bool:
    """Whether a file carries standard metadata already."""
    tree = flatbuffer.parse(content, "the model")
    return any(flatbuffer.text(entry.name) == metadata.KEY for entry in tree.metadata or ())


def measurable(content: bytes) -> tuple[bytes, ...]:
    """The files that records about a file can be about, the one that ships best first.

    A model that was taken out of a package has its metadata; its records are about the file
    without them.
    """
    if not has_own_metadata(content):
        return (content,)
    again = flatbuffer.serialize(flatbuffer.parse(content, "the model"))
    is_ours = content.startswith(again)  # an archive with the labels may follow
    return (without_metadata(content), content) if is_ours else (content,)


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
