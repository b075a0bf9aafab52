"""Whether a package feeds its model as it was fed when it was calibrated and measured.

A model's figures are valid for the tensors that it was given. A package that prepares samples in
another way ships another result under the same figures: a contradiction is refused, and what nobody
can know becomes a warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgeq.conversion.file_metadata import read_preprocessing
from edgeq.converters.samples.preprocessing import format_preprocessing, parse_preprocessing
from edgeq.converters.samples.same_feeding import are_same, with_sizes
from edgeq.errors import UsageError
from edgeq.packaging.contract.values import Contract
from edgeq.records.parts import split
from edgeq.records.reading import Record
from edgeq.tflite.model_file import ModelFile
from edgeq.values import Preprocessing
from edgeq.wording import repeat_option


def check_feeding(model: ModelFile, contract: Contract, records: Sequence[Record]) -> list[str]:
    """Compare the contract's preprocessing with the file's own and with that of every record.

    The contract may add what `are_same` leaves out.

    Returns:
        What cannot be known, a sentence each.

    Raises:
        UsageError: the file or a record declares another preprocessing.
    """
    ours, specs = contract.declared, [item.spec for item in contract.inputs]
    own = parse_preprocessing(read_preprocessing(model), specs)
    if own and not are_same(ours, own, specs):
        wanted = with_sizes(own, ours, specs)
        raise UsageError(
            f"--preprocess {_show(ours)} contradicts {_show(own)}, which {model.path} was "
            "calibrated with and carries.",
            hint="Leave --preprocess out, or convert again with the other one."
            if wanted == own
            else f"Write {repeat_option('--preprocess', map(format_preprocessing, wanted))}",
        )
    notes = []
    for record, texts in _measured(records, contract.model.sha256):
        try:
            theirs = parse_preprocessing(texts, specs)
        except UsageError as error:
            notes.append(f"{record.path} does not state how this model was fed: {error.message}")
            continue
        if are_same(ours, theirs, specs):
            continue
        if not theirs:
            notes.append(
                f"{record.path} was measured on samples without preprocessing, and the package "
                f"prepares them with {_show(ours)}: its figures are valid only if those samples "
                "had been prepared like this"
            )
            continue
        raise UsageError(
            f"{record.path} was measured with --preprocess {' '.join(texts)}, but the package "
            f"feeds the model with {_show(ours)}.",
            hint="Measure again with the package's preprocessing, or package what was measured.",
        )
    return notes


def _measured(records: Sequence[Record], sha256: str) -> Iterator[tuple[Record, tuple[str, ...]]]:
    """The preprocessing that records state for this model."""
    for part in split(records):
        if part.value is None:
            continue
        if part.kind == "compare":
            yield part.record, part.value.preprocessing
        elif part.kind == "eval":
            for item in part.value:
                if item.model.sha256 == sha256:
                    yield part.record, item.preprocessing


def _show(declared: Sequence[Preprocessing]) -> str:
    return " ".join(map(format_preprocessing, declared)) or "no preprocessing"
