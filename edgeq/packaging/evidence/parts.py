"""Everything that the files of a package follow from, whoever makes them, and makes them again."""

from __future__ import annotations

from dataclasses import dataclass

from edgeq.packaging.contract.values import Contract, Golden
from edgeq.packaging.evidence.records import Evidence


@dataclass(frozen=True, eq=False)
class Parts:
    """What a package is made from.

    Attributes:
        contract: about the file as it ships.
        model: its bytes.
        measured_sha256: of the file that records are about.
        warnings: what to doubt, a sentence each.
        description: a sentence for model card and metadata, or "".
        license: SPDX expression, or None.
        has_records: whether the records are put inside.
        is_signed: whether a signature will be.
    """

    target: str
    contract: Contract
    model: bytes
    measured_sha256: str
    golden: Golden
    evidence: Evidence
    warnings: tuple[str, ...]
    description: str
    license: str | None
    has_records: bool
    is_signed: bool
