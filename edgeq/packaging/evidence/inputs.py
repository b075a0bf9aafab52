"""The inputs of a package, when it is made and when `verify` makes it again."""

from __future__ import annotations

from dataclasses import dataclass

from edgeq.packaging.contract.values import Contract, Golden
from edgeq.packaging.evidence.records import NO_EVIDENCE, Evidence
from edgeq.tflite.model_file import ModelFile


@dataclass(frozen=True, eq=False)
class PackageInputs:
    """Everything that a package is made from; a target reads the first four.

    Attributes:
        contract: about the file that ships.
        model: the file that ships.
        license: SPDX expression; None when none was given.
        measured_sha256: SHA-256 of the file that the records are about.
        warnings: doubts about the package, a sentence each.
        description: a sentence for model card and metadata, or "".
        has_records: whether the records are put inside.
        is_signed: whether a signature will be added.
        form: layout of the files, one of the target's `forms`; "" for a target without.
    """

    contract: Contract
    model: ModelFile
    golden: Golden
    license: str | None = None
    measured_sha256: str = ""
    evidence: Evidence = NO_EVIDENCE
    warnings: tuple[str, ...] = ()
    description: str = ""
    has_records: bool = True
    is_signed: bool = False
    form: str = ""
