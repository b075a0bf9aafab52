"""The names of classes in a model's standard metadata, whichever tool wrote them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import Any

from edgeq.errors import PackageError
from edgeq.packaging.container.archive import read_zip
from edgeq.packaging.documents import metadata
from edgeq.tflite import flatbuffer
from edgeq.tflite.model_file import ModelFile

# Slots of fields in their tables; the schema is named in `metadata`.
_SUBGRAPHS, _OUTPUTS, _FILES, _NAME, _TYPE = 3, 3, 6, 0, 2

# Limit of outputs, and of files of one; damaged metadata may state millions.
_MOST = 64


def read_label_files(content: bytes) -> dict[str, list[str]]:
    """Lines of each file in the archive that follows a model."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return {}
    return {
        name: text.decode("utf-8", "replace").splitlines()
        for name, text in read_zip(content, "The archive behind the model").items()
    }


def read_labels(model: ModelFile) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Output name to the label file that names its classes, and these names.

    A list of another length than the output has classes names something else, such as the objects
    that a detector finds.

    Raises:
        PackageError: the metadata are damaged.
    """
    content = flatbuffer.metadata(model.tree, metadata.KEY)
    files = read_label_files(model.content)
    if content is None or not files:
        return {}
    try:
        named = list(_output_files(content))
    except Exception as error:  # damaged offsets end flatbuffers' reader in many ways
        raise PackageError(
            "The model's TensorFlow Lite metadata are damaged.",
            hint="Remove them, or write them again with the tool that made them.",
        ) from error
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for spec, own in zip(model.interface[1], named, strict=False):
        classes = spec.shape[-1] if spec.shape else 1
        for name, kind in own:
            labels = tuple(files.get(name, ()))
            is_axis = kind == metadata.AXIS_LABELS and len(labels) == classes
            is_pair = kind == metadata.DESCRIPTIONS and (classes, len(labels)) == (1, 2)
            if is_axis or is_pair:
                found.setdefault(spec.name, (name, labels))
    return found


def _output_files(content: bytes) -> Iterator[list[tuple[str, int]]]:
    """For each output: name and type of each associated file."""
    from flatbuffers.encode import Get
    from flatbuffers.packer import uoffset
    from flatbuffers.table import Table

    def field(table: Any, slot: int) -> int:
        return int(table.Offset(4 + 2 * slot))

    def tables(table: Any, slot: int) -> Iterator[Any]:
        offset = field(table, slot)
        if offset:
            start = table.Vector(offset)
            for place in range(min(table.VectorLen(offset), _MOST)):
                yield Table(content, table.Indirect(start + 4 * place))

    root = Table(content, Get(uoffset, content, 0))
    for graph in list(tables(root, _SUBGRAPHS))[:1]:
        for output in tables(graph, _OUTPUTS):
            files = []
            for file in tables(output, _FILES):
                name, kind = field(file, _NAME), field(file, _TYPE)
                if name and kind:
                    text = flatbuffer.text(file.String(name + file.Pos))
                    files.append((text, int(content[file.Pos + kind])))
            yield files
