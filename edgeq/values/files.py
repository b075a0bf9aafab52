"""Files, tensors, and doubts about them."""

from __future__ import annotations

from dataclasses import dataclass

from edgeq.values.bounds import Positive, Severity, require


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


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        name: the signature's name where there is one, the tensor's otherwise.
        shape: with the batch dimension; -1 where it is dynamic.
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
            len(self.scales) == len(self.zero_points), "as many scales as zero points are needed"
        )


@dataclass(frozen=True)
class Issue:
    """A coded doubt; `issues.py` holds the table of codes.

    Attributes:
        code: stable and dotted, e.g. "data.not_finite".
        severity: "error" (stops the work), "warning" or "note".
        message: one sentence with the numbers in it.
    """

    code: str
    severity: Severity
    message: str
