"""Files, tensors, and issues with them."""

from __future__ import annotations

from dataclasses import dataclass

from edgeq.values.bounds import Positive, Severity, require
from edgeq.values.showing import bounded


@bounded
@dataclass(frozen=True)
class FileRef:
    """A file or folder as it was when edgeq read it.

    Attributes:
        path: as the user wrote it.
        sha256: hex digest of the bytes; of a folder, of its sorted (name, digest) list.
        size_bytes: total size.
    """

    path: str
    sha256: str
    size_bytes: Positive


@bounded
@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        name: from the signature, or the tensor's name without one.
        shape: with the batch dimension; -1 for a dynamic size.
        dtype: numpy name, e.g. "int8", "float32".
        scales: one value when quantized per tensor, empty when not quantized.
        zero_points: as many as scales.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        require(
            len(self.scales) == len(self.zero_points),
            "scales and zero points must be equal in number",
        )


@bounded
@dataclass(frozen=True)
class JoinBlock:
    """A run of an output's values to which parts contribute in turn.

    Attributes:
        repeat: how often each part has its turn.
        parts: name of a part, and how many of its values it contributes each time.
    """

    repeat: Positive
    parts: tuple[tuple[str, Positive], ...]


@bounded
@dataclass(frozen=True)
class JoinedOutput:
    """An output of the source model that the file gives in parts, each an output.

    Attributes:
        name: of the whole output.
        shape: with the batch dimension.
        blocks: its values in order, of one sample.
    """

    name: str
    shape: tuple[int, ...]
    blocks: tuple[JoinBlock, ...]

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts, in the order of their first values."""
        return tuple(name for block in self.blocks for name, _ in block.parts)


@bounded
@dataclass(frozen=True)
class Issue:
    """A problem with a code from the table in `edgeq.issues`.

    Attributes:
        code: stable and dotted, e.g. "data.not_finite".
        severity: "error" (stops the work), "warning" or "note".
        message: one sentence with the figures in it.
    """

    code: str
    severity: Severity
    message: str
