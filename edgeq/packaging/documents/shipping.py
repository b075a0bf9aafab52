"""The file that ships: the measured one, with the metadata that other tools read."""

from __future__ import annotations

from edgeq.errors import UsageError
from edgeq.packaging.contract.values import Contract
from edgeq.packaging.documents import metadata
from edgeq.packaging.documents.embedded_labels import read_labels
from edgeq.tflite import flatbuffer
from edgeq.tflite.model_file import ModelFile


def ship(
    model: ModelFile, contract: Contract, description: str, license: str | None, has_metadata: bool
) -> tuple[ModelFile, list[str]]:
    """The file that ships, and what a user has to know about it.

    Metadata is added only if removing it again gives the measured file back, byte by byte: then
    anyone can prove that the shipped file is the measured one.

    Args:
        model: the measured file, one of `measurable`.
        has_metadata: whether to add metadata.

    Raises:
        UsageError: it carries other labels than the contract, and they cannot be replaced.
    """
    if has_own_metadata(model):
        own = read_labels(model)
        for output in contract.outputs:
            file, labels = own.get(output.spec.name, ("", output.labels))
            if labels != output.labels:
                raise UsageError(
                    f"{contract.model.path} carries {file}, whose class names of output "
                    f"{output.spec.name!r} differ from those of --labels, and its metadata cannot "
                    "be replaced: it was measured with them, or another tool wrote it.",
                    hint="Leave --labels out; or write the file without metadata "
                    "(edgeq.packaging.documents.shipping.without_metadata) and measure that.",
                )
        return model, [
            "the metadata of the file were kept: it was measured with them, or another tool wrote "
            "it, so replacing them would change more than the metadata"
        ]
    if not has_metadata:
        return model, []
    shipped = metadata.add_to_model(model, contract, description=description, license=license or "")
    if without_metadata(shipped).content != model.content:
        return model, [
            "no metadata was added: this file was written by another tool, and adding it would "
            "change more than the metadata"
        ]
    return shipped, []


def has_own_metadata(model: ModelFile) -> bool:
    """Whether a file carries standard metadata already."""
    return any(flatbuffer.text(entry.name) == metadata.KEY for entry in model.tree.metadata or ())


def measurable(model: ModelFile) -> tuple[ModelFile, ...]:
    """The files that records about a file can be about; the one that ships best comes first.

    A model that was taken out of a package has its metadata; its records are about the file
    without them.
    """
    if not has_own_metadata(model):
        return (model,)
    # An archive with the labels may follow.
    is_ours = model.content.startswith(flatbuffer.serialize(model.tree))
    return (without_metadata(model), model) if is_ours else (model,)


def without_metadata(model: ModelFile) -> ModelFile:
    """A file as it was before metadata was added to it."""
    entries = list(model.tree.metadata or ())
    ours = [entry for entry in entries if flatbuffer.text(entry.name) == metadata.KEY]
    if len(ours) != 1:
        return model
    tree = model.copy_tree()
    tree.metadata = [entry for entry in entries if entry is not ours[0]] or None
    if ours[0].buffer == len(tree.buffers) - 1:
        tree.buffers = tree.buffers[:-1]
    return ModelFile(model.path, flatbuffer.serialize(tree), tree)
