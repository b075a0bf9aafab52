"""The contents of a `.tflite` file."""

from __future__ import annotations

from dataclasses import dataclass

from edgeq.values.bounds import require
from edgeq.values.conversion import Certificate
from edgeq.values.files import FileRef
from edgeq.values.showing import Shown, bounded


@bounded
@dataclass(frozen=True)
class TensorReport:
    """A tensor of a `.tflite`, as it is in the file.

    Attributes:
        subgraph: number of its subgraph.
        index: in the subgraph.
        shape: -1 for a dynamic size.
        scales: number of scales; 0 when it is not quantized.
        lowest_scale, highest_scale: None without scales.
        zero_points: the distinct ones, ascending.
        constant_bytes: of its stored values, None when it is computed or an input.
    """

    subgraph: int
    index: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    scales: int
    lowest_scale: float | None
    highest_scale: float | None
    zero_points: tuple[int, ...]
    constant_bytes: int | None


@bounded
@dataclass(frozen=True)
class SignatureReport:
    """A signature: the names by which a caller knows inputs and outputs.

    Attributes:
        inputs, outputs: (name, name of the tensor).
    """

    key: str
    subgraph: int
    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]


@bounded
@dataclass(frozen=True)
class MetadataReport:
    """An entry of a file's metadata.

    Attributes:
        text: its content when it is short and readable, otherwise None.
    """

    name: str
    size_bytes: int
    text: str | None


@bounded
@dataclass(frozen=True)
class Inspection(Shown):
    """Operators, tensors, signatures, metadata and sizes of a `.tflite`.

    Attributes:
        description: text that the tool which made the file wrote into it.
        operator_bytes: size of the constants that each operator of the certificate reads, in its
            order; a constant counts for the first operator that reads it.
        unused_bytes: size of the constants that no operator reads.
        structure_bytes: the rest of the file: operators, names, scales, metadata.
    """

    model: FileRef
    description: str
    certificate: Certificate
    operator_bytes: tuple[int, ...]
    tensors: tuple[TensorReport, ...]
    signatures: tuple[SignatureReport, ...]
    metadata: tuple[MetadataReport, ...]
    unused_bytes: int
    structure_bytes: int

    def __post_init__(self) -> None:
        require(
            len(self.operator_bytes) == len(self.certificate.operators),
            "every operator needs the size of its constants",
        )
