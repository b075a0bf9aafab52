"""The manifest of a package, and the digests of its files.

`manifest.json` names every other file with its SHA-256; `SHA256SUMS` names those and the manifest,
in the form that `sha256sum -c` reads. A changed byte in either is found by the other. The optional
signature is over `SHA256SUMS`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec
from msgspec import Meta

from edgeq.errors import DamagedPackageError, UnjudgedPackageError
from edgeq.escaping import clean, json_printable
from edgeq.files import storage
from edgeq.packaging.container.archive import require_inside
from edgeq.packaging.contract.values import SCHEMA, Contract, Files
from edgeq.values import JUDGEMENTS, Count

if TYPE_CHECKING:
    from edgeq.records.reading import Record

MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
SIGNATURE = "SHA256SUMS.sig"
KEY = "signing-key.pub.pem"
# Files that the manifest does not list.
OUTSIDE = (MANIFEST, SUMS, SIGNATURE, KEY)
RECORDS = "records"

Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class GateVerdict:
    """The verdict of a gate on the model.

    Attributes:
        word: "pass", "fail", "cannot-tell", or "none" without a gate.
        policy: path of its file, "" without one.
        reasons: of rules that did not pass.
        is_forced: whether the package was made although the gate did not pass.
    """

    word: Annotated[str, Meta(pattern=r"^(pass|fail|cannot-tell|none)\Z")]
    policy: str
    reasons: tuple[str, ...]
    is_forced: bool


NO_GATE = GateVerdict("none", "", (), False)


@dataclass(frozen=True)
class Manifest:
    """A package's own description.

    Attributes:
        edgeq: version that made it.
        contract: what generated code was made from.
        preprocess: `--preprocess` texts that the contract was read from.
        measured_sha256: SHA-256 of the `.tflite` that records are about; the shipped one differs
            only in its metadata.
        records: paths inside the package.
        license: SPDX expression, None when none was given.
        files: path to (SHA-256, size in bytes).
        description: of the model, from `--description`.
        warnings: doubts about the package, a sentence each.
        records_left_out: with `--without-records`: the path that a record would have inside, to
            its SHA-256.
        form: layout of the files; "" for a target that has only one.
    """

    name: str
    version: str
    target: str
    edgeq: Annotated[str, Meta(pattern=r"^\d+\.[\w.+-]{1,99}\Z")]
    contract: Contract
    preprocess: tuple[str, ...]
    measured_sha256: Sha256
    records: tuple[str, ...]
    gate: GateVerdict
    license: str | None
    files: Mapping[str, tuple[Sha256, Count]]
    description: str = ""
    schema: str = SCHEMA
    warnings: tuple[str, ...] = ()
    records_left_out: Mapping[str, Sha256] = field(default_factory=dict)
    form: str = ""

    def __post_init__(self) -> None:
        path = self.contract.model.path
        if not path.isprintable() or "/" in path or path in ("", ".", ".."):
            raise ValueError(f"contract.model.path {path!r} is not a file name")
        for own in OUTSIDE:
            if own in self.files:
                raise ValueError(f"{own} cannot be among the files that it is about")
        inside = sorted(path for path in self.files if path.startswith(f"{RECORDS}/"))
        if sorted(self.records) != inside:
            raise ValueError(f"records must name the files in {RECORDS}/, each once")


def read_gates(records: Sequence[Record]) -> GateVerdict:
    """The verdict of the gates among the records, the worst of several."""
    results = [record.value for record in records if record.kind == "gate"]
    if not results:
        return NO_GATE
    worst = min(results, key=lambda result: JUDGEMENTS.index(result.verdict))
    reasons = tuple(
        f"{rule.rule} ({rule.limit}): {rule.findings[0].reason}"
        for rule in worst.rules
        if rule.verdict != "pass"
    )
    policy, reasons = clean((worst.policy.path, reasons))
    return GateVerdict(worst.verdict, policy, reasons, worst.verdict != "pass")


def list_files(files: Files) -> dict[str, tuple[str, int]]:
    """Path to SHA-256 and size in bytes."""
    return {
        path: (hashlib.sha256(content).hexdigest(), len(content))
        for path, content in sorted(files.items())
    }


def seal(manifest: Manifest, files: Files) -> dict[str, bytes]:
    """The files with their manifest and sums."""
    whole = {**files, MANIFEST: write_manifest(manifest)}
    return {**whole, SUMS: _write_sums({path: own[0] for path, own in list_files(whole).items()})}


def write_manifest(manifest: Manifest) -> bytes:
    """`manifest.json`."""
    text = json.dumps(
        storage.to_plain(manifest), indent=1, ensure_ascii=False, sort_keys=True, allow_nan=False
    )
    return (json_printable(text) + "\n").encode()


def _write_sums(digests: Mapping[str, str]) -> bytes:
    return "".join(f"{digest}  {path}\n" for path, digest in sorted(digests.items())).encode()


@dataclass(frozen=True)
class _Envelope:
    """The field that every schema has."""

    schema: str


def read_manifest(files: Files) -> Manifest:
    """The manifest of a package; `find_damage` compares the files with it.

    Raises:
        DamagedPackageError: there is none, or one that edgeq could not have written.
        UnjudgedPackageError: it has a newer schema.
    """
    if MANIFEST not in files:
        raise DamagedPackageError(f"There is no {MANIFEST}: this is not a package of edgeq.")
    schema = read_json(files[MANIFEST], _Envelope, MANIFEST).schema
    if schema != SCHEMA:
        raise UnjudgedPackageError(
            f"{MANIFEST} has the schema {schema!r}, and this version of edgeq reads {SCHEMA}.",
            hint="Upgrade edgeq: pip install -U edgeq",
        )
    manifest = read_json(files[MANIFEST], Manifest, MANIFEST)
    for path in manifest.files:
        require_inside(path, MANIFEST)
    return manifest


def read_json(content: bytes, kind: type[_Value], shown_as: str) -> _Value:
    """A value from a JSON file of a package.

    Raises:
        DamagedPackageError: it is not JSON, or not of this kind.
    """
    try:
        return msgspec.json.decode(content, type=kind)
    except (ValueError, RecursionError) as error:
        raise DamagedPackageError(f"{shown_as} is damaged: {error}.") from error


def find_damage(files: Files, sizes: Mapping[str, int], manifest: Manifest) -> list[str]:
    """Every file that differs from what the package states, a sentence each.

    Args:
        files: contents of those with the size that the manifest states.
        sizes: in bytes, of all files.
    """
    problems = []
    if SUMS not in files:
        problems.append(f"{SUMS} is missing.")
    else:
        problems += _find_other_sums(files, manifest)
    for path, (digest, size) in manifest.files.items():
        if path not in sizes:
            problems.append(f"{path} is missing.")
        elif sizes[path] != size:
            problems.append(f"{path} was changed: it has {sizes[path]:,} bytes, not {size:,}.")
        elif hashlib.sha256(files[path]).hexdigest() != digest:
            problems.append(f"{path} was changed: its SHA-256 is not the one in the manifest.")
    unknown = sorted(set(sizes) - set(manifest.files) - set(OUTSIDE))
    return problems + [f"{path} does not belong to the package." for path in unknown]


def _find_other_sums(files: Files, manifest: Manifest) -> list[str]:
    """Whether the sums or the manifest was changed: both name all other files."""
    listed = {path: digest for path, (digest, _) in manifest.files.items()}
    own_digest = hashlib.sha256(files[MANIFEST]).hexdigest()
    if files[SUMS] == _write_sums({**listed, MANIFEST: own_digest}):
        return []
    sums = {}
    for line in files[SUMS].decode("utf-8", "replace").splitlines():
        digest, _, path = line.partition("  ")
        sums[path] = digest
    agree = all(sums.get(path) == digest for path, digest in listed.items())
    if sums.get(MANIFEST) != own_digest and (not agree or set(sums) - {MANIFEST} == set(listed)):
        return [f"{MANIFEST} or {SUMS} was changed: they do not agree on {MANIFEST}."]
    return [f"{SUMS} was changed: it does not name the files that {MANIFEST} names."]
