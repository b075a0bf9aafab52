"""The records about a package's model, and the data that they name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeq.errors import RecordError, UsageError
from edgeq.packaging.container.manifest import NO_GATE, GateVerdict, read_gates
from edgeq.records.parts import digests_of
from edgeq.records.reading import Record, list_given, open_given, record_file

NAME_DATA = "Name samples for the golden vectors: --data samples.npz"


@dataclass(frozen=True, eq=False)
class Evidence:
    """Records about one model, each with its bytes.

    Attributes:
        verdict: of the gates among them.
    """

    records: tuple[Record, ...]
    contents: tuple[bytes, ...]
    verdict: GateVerdict

    def is_about(self, sha256: str) -> bool:
        """Whether all of them are about a file with this digest."""
        return all(sha256 in digests_of(record) for record in self.records)

    def files(self) -> dict[str, bytes]:
        """Path inside a package to content."""
        return {
            f"records/{number:02d}-{record.kind}.json": content
            for number, (record, content) in enumerate(
                zip(self.records, self.contents, strict=True)
            )
        }

    def digests(self) -> Mapping[str, str]:
        """Path inside a package to SHA-256."""
        return {path: hashlib.sha256(content).hexdigest() for path, content in self.files().items()}

    def gaps(self) -> Iterator[str]:
        """Evidence that a careful engineer would still add."""
        if not any(record.kind in ("convert", "tune") for record in self.records):
            yield "no record states how the model was converted"
        if self.verdict.word == "none":
            yield "no gate judged it: add its record with --record gate.json"
        if self.verdict.is_forced:
            yield "FORCED: its gate did not pass, and the package records that"


NO_EVIDENCE = Evidence((), (), NO_GATE)


def find_evidence(model: Path, given: Any, known: Sequence[str]) -> Evidence:
    """Records about a file; its conversion's own, `MODEL.json`, is found beside it.

    Args:
        given: paths of records, or results of edgeq's functions; one or several.
        known: SHA-256 of the file, last, and of it without metadata.

    Raises:
        RecordError: one is about another model.
    """
    wanted = [Path(item) if isinstance(item, str) else item for item in list_given(given)]
    named = [record_file(item).resolve() for item in wanted if isinstance(item, Path)]
    beside = record_file(model)
    if beside.is_file() and beside.resolve() not in named:
        wanted.insert(0, beside)
    records, contents = [], []
    for item in wanted:
        record, content = open_given(item)
        digests = digests_of(record)
        if digests.isdisjoint(known):
            about = ", ".join(digest[:12] for digest in sorted(digests)) or "none"
            raise RecordError(
                f"{record.path} is about another file than {model} (sha256 {known[-1][:12]}): it "
                f"names {about}.",
                hint="Convert again, or give the records of this file.",
            )
        records.append(record)
        contents.append(content)
    return Evidence(tuple(records), tuple(contents), read_gates(records))


def find_data(records: Sequence[Record]) -> tuple[str, str]:
    """The dataset that a conversion's record names, and its SHA-256 at that time.

    Raises:
        UsageError: there is none.
    """
    for record in records:
        for name in ("test_data", "data"):
            ref = getattr(record.value, name, None)
            if ref is not None and ref.kind not in ("function", "arrays"):
                source = Path(ref.source)
                if source.exists():
                    return str(source), ref.sha256
    raise UsageError("There are no samples for golden vectors.", hint=NAME_DATA)
