"""List the content of a `.tflite` from its bytes; nothing is run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeq.converters.proof.certificate import certify
from edgeq.files import storage
from edgeq.files.reading import needs_unchanged
from edgeq.tflite import flatbuffer
from edgeq.values import Inspection, MetadataReport, SignatureReport, TensorReport

_LONGEST_TEXT = 400  # characters of a metadata entry that are worth showing


@needs_unchanged("path")
def inspect_model(path: str | Path) -> Inspection:
    """Operators, tensors, quantization, signatures, metadata, and where the bytes are.

    Raises:
        SourceError: unreadable, damaged, or no `.tflite`.
    """
    path = Path(path)
    proof = certify(path)
    tree = flatbuffer.read(path)
    sizes, unused = _constant_sizes(tree)
    file = storage.refer(path)
    return Inspection(
        model=file,
        description=flatbuffer.text(tree.description or b""),
        certificate=proof,
        operator_bytes=sizes,
        tensors=tuple(_tensors(tree)),
        signatures=tuple(_signatures(tree)),
        metadata=tuple(_metadata(tree)),
        unused_bytes=unused,
        structure_bytes=file.size_bytes - sum(sizes) - unused,
    )


def _size(tree: Any, buffer: int) -> int:
    data = tree.buffers[buffer].data
    return 0 if data is None else len(data)


def _constant_sizes(tree: Any) -> tuple[tuple[int, ...], int]:
    """Bytes of the constants of each operator, and of those that none reads."""
    # Metadata is in buffers, too, and is not a constant.
    seen = {int(entry.buffer) for entry in tree.metadata or ()}
    total = sum(_size(tree, n) for n in range(len(tree.buffers)) if n not in seen)
    sizes = []
    for graph in tree.subgraphs:
        for operator in graph.operators:
            own = 0
            for index in flatbuffer.indices(operator.inputs):
                buffer = int(graph.tensors[index].buffer) if index >= 0 else 0
                if buffer not in seen:
                    seen.add(buffer)
                    own += _size(tree, buffer)
            sizes.append(own)
    return tuple(sizes), total - sum(sizes)


def _tensors(tree: Any) -> Iterator[TensorReport]:
    for number, graph in enumerate(tree.subgraphs):
        for index, tensor in enumerate(graph.tensors):
            spec = flatbuffer.tensor_spec(tensor, flatbuffer.text(tensor.name))
            is_constant = flatbuffer.is_constant(tree, tensor)
            yield TensorReport(
                subgraph=number,
                index=index,
                name=spec.name,
                dtype=spec.dtype,
                shape=spec.shape,
                scales=len(spec.scales),
                lowest_scale=min(spec.scales, default=None),
                highest_scale=max(spec.scales, default=None),
                zero_points=tuple(sorted(set(spec.zero_points))),
                constant_bytes=_size(tree, int(tensor.buffer)) if is_constant else None,
            )


def _signatures(tree: Any) -> Iterator[SignatureReport]:
    for signature in tree.signatureDefs or ():
        tensors = tree.subgraphs[signature.subgraphIndex].tensors
        inputs, outputs = (
            tuple(
                (flatbuffer.text(entry.name), flatbuffer.text(tensors[entry.tensorIndex].name))
                for entry in side or ()
            )
            for side in (signature.inputs, signature.outputs)
        )
        key = flatbuffer.text(signature.signatureKey)
        yield SignatureReport(key, int(signature.subgraphIndex), inputs, outputs)


def _metadata(tree: Any) -> Iterator[MetadataReport]:
    for entry in tree.metadata or ():
        data = tree.buffers[entry.buffer].data
        content = b"" if data is None else bytes(bytearray(data))
        yield MetadataReport(flatbuffer.text(entry.name), len(content), _readable(content))


def _readable(content: bytes) -> str | None:
    try:
        text = content.rstrip(b"\0").decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() and 0 < len(text) <= _LONGEST_TEXT else None
