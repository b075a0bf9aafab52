"""What a package says of itself, and the digests that hold it together.

`manifest.json` names every other file with its SHA-256; `SHA256SUMS` names those and the manifest,
in the form that `sha256sum -c` reads. A changed byte in either is found by the other, and a
signature, where there is one, is over `SHA256SUMS`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgeq import storage
from edgeq.errors import PackageError
from edgeq.packaging.archive import require_inside
from edgeq.packaging.values import SCHEMA, Contract, Files
from edgeq.records import Record

MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
SIGNATURE = "SHA256SUMS.sig"
KEY = "signing-key.pub.pem"
# Those that the manifest does not list.
_OUTSIDE = (MANIFEST, SUMS, SIGNATURE, KEY)


@dataclass(frozen=True)
class GateVerdict:
    """What a gate said of the model.

    Attributes:
        word: "pass", "fail", "cannot-tell", or "none" without a gate.
        policy: path of its file, "" without one.
        reasons: of rules that are not kept.
        is_forced: whether the package was made all the same.
    """

    word: str
    policy: str
    reasons: tuple[str, ...]
    is_forced: bool


@dataclass(frozen=True)
class Manifest:
    """A package's own description.

    Attributes:
        edgeq: version that made it.
        contract: what generated code was made from.
        preprocess: `--preprocess` texts that the contract was read from.
        measured_sha256: of the `.tflite` that records are about; the shipped one is the same but
            for its metadata.
        records: paths inside the package.
        license: SPDX expression, None when nobody named one.
        files: path to (SHA-256, size in bytes).
        warnings: what to doubt about the package, a sentence each.
        records_left_out: path that a record would have inside to its SHA-256, see
            `--without-records`.
    """

    name: str
    version: str
    target: str
    edgeq: str
    contract: Mapping[str, Any]
    preprocess: tuple[str, ...]
    measured_sha256: str
    records: tuple[str, ...]
    gate: GateVerdict
    license: str | None
    files: Mapping[str, tuple[str, int]]
    schema: str = SCHEMA
    warnings: tuple[str, ...] = ()
    records_left_out: Mapping[str, str] = field(default_factory=dict)


def read_gates(records: Sequence[Record]) -> GateVerdict:
    """What the gates among the records say, the worst of several."""
    results = [record.value for record in records if record.kind == "gate"]
    if not results:
        return GateVerdict("none", "", (), False)
    words = ("fail", "cannot-tell", "pass")
    worst = min(results, key=lambda result: words.index(result.verdict))
    reasons = tuple(
        f"{rule.rule} ({rule.limit}): {rule.findings[0].reason}"
        for rule in worst.rules
        if rule.verdict != "pass"
    )
    return GateVerdict(worst.verdict, worst.policy.path, reasons, worst.verdict != "pass")


def plain_contract(contract: Contract) -> dict[str, Any]:
    """A contract as JSON has it."""
    plain = json.loads(json.dumps(storage.to_plain(contract), allow_nan=False))
    assert isinstance(plain, dict)
    return plain


def list_files(files: Files) -> dict[str, tuple[str, int]]:
    """Digest and size of each."""
    return {
        path: (hashlib.sha256(content).hexdigest(), len(content))
        for path, content in sorted(files.items())
    }


def seal(manifest: Manifest, files: Files) -> dict[str, bytes]:
    """The files with their manifest and sums."""
    text = json.dumps(
        storage.to_plain(manifest), indent=1, ensure_ascii=False, sort_keys=True, allow_nan=False
    )
    whole = {**files, MANIFEST: (text + "\n").encode()}
    return {**whole, SUMS: _sums(whole)}


def _sums(files: Files) -> bytes:
    lines = [f"{digest}  {path}\n" for path, (digest, _) in list_files(files).items()]
    return "".join(lines).encode()


def read_manifest(files: Files) -> Manifest:
    """The manifest of a package, after its bytes were held against the sums.

    Raises:
        PackageError: no package, of a newer schema, or a manifest that was changed.
    """
    if MANIFEST not in files:
        raise PackageError(f"There is no {MANIFEST}: this is no package of edgeq.")
    try:
        plain = json.loads(files[MANIFEST])
        schema = str(plain["schema"])
        if schema != SCHEMA:
            raise PackageError(
                f"{MANIFEST} has the schema {schema!r}, and this edgeq reads {SCHEMA}.",
                hint="Upgrade edgeq: pip install -U edgeq",
            )
        gate = plain["gate"]
        manifest = Manifest(
            name=str(plain["name"]),
            version=str(plain["version"]),
            target=str(plain["target"]),
            edgeq=str(plain["edgeq"]),
            contract=dict(plain["contract"]),
            preprocess=tuple(plain["preprocess"]),
            measured_sha256=str(plain["measured_sha256"]),
            records=tuple(plain["records"]),
            gate=GateVerdict(
                gate["word"], gate["policy"], tuple(gate["reasons"]), gate["is_forced"]
            ),
            license=plain["license"],
            warnings=tuple(plain.get("warnings", ())),
            records_left_out=dict(plain.get("records_left_out", {})),
            files={path: (str(entry[0]), int(entry[1])) for path, entry in plain["files"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise PackageError(f"{MANIFEST} is damaged: {error!r}.") from error
    for path in (*manifest.files, *manifest.records):
        require_inside(path, MANIFEST)
    return manifest


def find_damage(files: Files, manifest: Manifest) -> list[str]:
    """Every file that is not what the package says, a sentence each."""
    problems = []
    if SUMS not in files:
        problems.append(f"{SUMS} is missing.")
    else:
        problems += _find_other_sums(files, manifest)
    for path, (digest, size) in manifest.files.items():
        if path not in files:
            problems.append(f"{path} is missing.")
        elif hashlib.sha256(files[path]).hexdigest() != digest:
            problems.append(
                f"{path} was changed: it has {len(files[path]):,} bytes of {size:,}, and another "
                "SHA-256 than the manifest says."
            )
    unknown = sorted(set(files) - set(manifest.files) - set(_OUTSIDE))
    problems += [f"{path} does not belong to the package." for path in unknown]
    return problems


def _find_other_sums(files: Files, manifest: Manifest) -> list[str]:
    """Whether the sums or the manifest was changed: both name all other files."""
    listed = {path: digest for path, (digest, _) in manifest.files.items()}
    expected = "".join(
        f"{digest}  {path}\n"
        for path, digest in sorted(
            {**listed, MANIFEST: hashlib.sha256(files[MANIFEST]).hexdigest()}.items()
        )
    ).encode()
    if files[SUMS] == expected:
        return []
    own = _parse_sums(files[SUMS])
    blames_manifest = own.get(MANIFEST) != hashlib.sha256(files[MANIFEST]).hexdigest()
    agree = all(own.get(path) == digest for path, digest in listed.items())
    if blames_manifest and (not agree or set(own) - {MANIFEST} == set(listed)):
        return [f"{MANIFEST} or {SUMS} was changed: they do not agree on {MANIFEST}."]
    return [f"{SUMS} was changed: it does not name what {MANIFEST} names."]


def _parse_sums(content: bytes) -> dict[str, str]:
    found = {}
    for line in content.decode("utf-8", "replace").splitlines():
        digest, _, path = line.partition("  ")
        found[path] = digest
    return found
