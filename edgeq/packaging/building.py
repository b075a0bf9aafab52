"""From a proven `.tflite` and its records to a package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeq import __version__, storage
from edgeq.converters.preprocessing import format_preprocessing
from edgeq.device_runners.device import resolve_device
from edgeq.errors import GateError, RecordError, UsageError
from edgeq.packaging import metadata, papers, signing, targets
from edgeq.packaging.contract import make_contract
from edgeq.packaging.golden import MOST, golden_files, make_golden
from edgeq.packaging.manifest import (
    KEY,
    SIGNATURE,
    SUMS,
    GateVerdict,
    Manifest,
    list_files,
    read_gates,
    seal,
)
from edgeq.packaging.seeing import see_images
from edgeq.packaging.shipping import ship
from edgeq.packaging.values import Contract, Golden, Ingredients
from edgeq.records import Record, read_record
from edgeq.reporting.subject import digests_of

_VECTORS = 4
_NAME_DATA = "Name samples for the golden vectors: --data samples.npz"


@dataclass(frozen=True)
class PackageOptions:
    """Everything the user decided about a package.

    Attributes:
        name: of it, the file's by default.
        version: of the release.
        labels: output name ("" for the only one) to the name of each class.
        preprocess: `--preprocess` texts; None takes what the file carries.
        vectors: number of golden vectors.
        seed: of their choice.
        license: SPDX expression.
        description: a sentence for model card and metadata.
        is_forced: package a model that a gate did not pass.
        has_metadata: write TensorFlow Lite's standard metadata into the shipped file.
        key: Ed25519 private key in PEM to sign with.
    """

    name: str | None = None
    version: str = "1.0.0"
    labels: Mapping[str, tuple[str, ...]] | None = None
    preprocess: tuple[str, ...] | None = None
    vectors: int = _VECTORS
    seed: int = 0
    license: str | None = None
    description: str = ""
    is_forced: bool = False
    has_metadata: bool = True
    key: Path | None = None


@dataclass(frozen=True, eq=False)
class Package:
    """A finished package, still in memory.

    Attributes:
        notes: what a user has to know about it.
    """

    manifest: Manifest
    files: Mapping[str, bytes]
    notes: tuple[str, ...]


def make_package(
    model: str | Path,
    target: str,
    *,
    data: Any = None,
    records: Sequence[str | Path] = (),
    options: PackageOptions | None = None,
    **settings: Any,
) -> Package:
    """Make a package; the same inputs give the same bytes.

    Args:
        model: the `.tflite`.
        target: one of `targets.NAMES`.
        data: where golden vectors are taken from; by default what the conversion's record names,
            if it is still the same.
        records: about this model; its conversion's own, `MODEL.json`, is found beside it.
        settings: fields of `PackageOptions`.

    Raises:
        GateError: a gate did not pass the model, and `is_forced` is not set.
        RecordError: a record is of another model.
        PackageError: the model cannot be packaged for this target.
        EdgeqError: another of its kinds.
    """
    chosen = replace(options or PackageOptions(), **settings)
    path = Path(model)
    if target not in targets.NAMES:
        raise UsageError(f"Unknown target {target!r}; known are {', '.join(targets.NAMES)}.")
    if not 1 <= chosen.vectors <= MOST:
        raise UsageError(
            f"{chosen.vectors} golden vectors are asked for; 1 to {MOST} are possible."
        )
    key = None if chosen.key is None else signing.read_private_key(chosen.key)
    contract = make_contract(
        path,
        name=chosen.name,
        version=chosen.version,
        labels=chosen.labels,
        preprocess=chosen.preprocess,
    )
    found = _find_records(path, records, contract)
    verdict = read_gates([record for record, _ in found])
    if verdict.word not in ("pass", "none") and not chosen.is_forced:
        raise _refused(verdict)
    source, sha256 = (data, None) if data is not None else _data_of([item for item, _ in found])
    golden = make_golden(
        path, contract, source, resolve_device("local"), count=chosen.vectors, seed=chosen.seed
    )
    if sha256 not in (None, golden.data_sha256):
        raise UsageError(
            f"{source} was changed since the model's record was made.", hint=_NAME_DATA
        )
    # A microcontroller has no reader for metadata, and no flash for what nobody reads.
    has_metadata = chosen.has_metadata and target != "c"
    seen = see_images(contract, golden)
    shipped, notes = ship(path, seen, chosen.description, chosen.license, has_metadata)
    notes += metadata.limits(seen) if target == "android" else ()
    contract = replace(contract, model=storage.refer_bytes(shipped, contract.model.path))
    files = collect(target, contract, shipped, golden, found, verdict, chosen)
    manifest = _describe(target, contract, path, found, verdict, chosen, files)
    sealed = seal(manifest, files)
    if key is not None:
        sealed |= {SIGNATURE: signing.sign(sealed[SUMS], key), KEY: signing.public_pem(key)}
    return Package(manifest, sealed, (*notes, *_missing(found, verdict, contract)))


def _choose_golden(
    path: Path, contract: Contract, data: Any, records: Sequence[Record], chosen: PackageOptions
) -> Golden:
    """From the data that is given, else from that of the records while it is the same.

    Raises:
        UsageError: there is none, or it was changed.
    """
    source, sha256 = (data, None) if data is not None else _data_of(records)
    device = resolve_device("local")
    golden = make_golden(path, contract, source, device, count=chosen.vectors, seed=chosen.seed)
    if sha256 not in (None, golden.data_sha256):
        message = f"{source} was changed since the model's record was made."
        raise UsageError(message, hint=_NAME_DATA)
    return golden


def collect(
    target: str,
    contract: Contract,
    shipped: bytes,
    golden: Golden,
    found: Sequence[tuple[Record, bytes]],
    verdict: GateVerdict,
    chosen: PackageOptions,
) -> dict[str, bytes]:
    """All files but the manifest; `verify` makes them again, to hold a package against them."""
    ingredients = Ingredients(contract, shipped, golden, chosen.license)
    records = [record for record, _ in found]
    card = papers.model_card(
        contract, golden, records, verdict, description=chosen.description, license=chosen.license
    )
    return {
        **targets.target(target).make_files(ingredients),
        **golden_files(golden),
        **{_record_path(number, record): content
           for number, (record, content) in enumerate(found)},
        papers.CARD: card,
        papers.BOM: papers.bill_of_materials(contract, target, chosen.license),
    }  # fmt: skip


def _describe(
    target: str,
    contract: Contract,
    path: Path,
    found: Sequence[tuple[Record, bytes]],
    verdict: GateVerdict,
    chosen: PackageOptions,
    files: Mapping[str, bytes],
) -> Manifest:
    declared = [item.preprocessing for item in contract.inputs if item.preprocessing is not None]
    return Manifest(
        name=contract.name,
        version=contract.version,
        target=target,
        edgeq=__version__,
        contract=contract,
        preprocess=tuple(map(format_preprocessing, declared)),
        measured_sha256=storage.hash_file(path),
        records=tuple(_record_path(number, record) for number, (record, _) in enumerate(found)),
        gate=verdict,
        license=chosen.license,
        files=list_files(files),
        description=chosen.description,
    )


def read_labels(path: Path) -> tuple[str, ...]:
    """The names of classes, one in each line.

    Raises:
        UsageError: no text file.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"The labels {path} cannot be read: {getattr(error, 'strerror', error)}.",
            hint="A text file in UTF-8 with one class name in each line.",
        ) from error
    return tuple(line.strip() for line in lines)


# ---------------------------------------------------------------- records


def _find_records(
    model: Path, given: Sequence[str | Path], contract: Contract
) -> list[tuple[Record, bytes]]:
    """Records about this very file, each with its bytes.

    Raises:
        RecordError: one is of another model.
    """
    paths = [Path(path) for path in given]
    beside = model.with_name(f"{model.name}.json")
    if beside.is_file() and not any(_is_same(beside, path) for path in paths):
        paths.insert(0, beside)
    found = []
    for path in paths:
        record = read_record(path)
        digests = digests_of(record)
        if contract.model.sha256 not in digests:
            raise RecordError(
                f"{path} is about another file than {model} (sha256 "
                f"{contract.model.sha256[:12]}): it names {_beginnings(digests)}.",
                hint="Convert again, or give the records of this file.",
            )
        found.append((record, path.read_bytes()))
    return found


def _beginnings(digests: set[str]) -> str:
    return ", ".join(digest[:12] for digest in sorted(digests)) or "none"


def _is_same(one: Path, other: Path) -> bool:
    return other.exists() and one.samefile(other)


def _record_path(number: int, record: Record) -> str:
    return f"records/{number:02d}-{record.kind}.json"


def _refused(verdict: GateVerdict) -> GateError:
    word = verdict.word.replace("-", " ")
    return GateError(
        f"The gate by {verdict.policy} says {word}: {verdict.reasons[0]}.",
        hint="Mend the model; or --force packages it all the same, and the package says so.",
    )


def _data_of(records: Sequence[Record]) -> tuple[str, str]:
    """The data set that a conversion's record names, and its digest then.

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
    raise UsageError("No samples are there for golden vectors.", hint=_NAME_DATA)


def _missing(
    found: Sequence[tuple[Record, bytes]], verdict: GateVerdict, contract: Contract
) -> list[str]:
    """What a careful engineer would still put into a package."""
    notes = []
    if not any(record.kind in ("convert", "tune") for record, _ in found):
        notes.append("no record says how the model was converted")
    if verdict.word == "none":
        notes.append("no gate judged it: add its record with --record gate.json")
    if verdict.is_forced:
        notes.append("FORCED: its gate did not pass, and the package says so")
    if not any(output.labels for output in contract.outputs):
        notes.append("no labels: --labels names the classes")
    return notes
