"""From a proven `.tflite` and its records to a package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeq.converters.samples.preprocessing import format_preprocessing
from edgeq.device_runners.devices.addresses import resolve_device
from edgeq.errors import GateError, RecordError, UsageError
from edgeq.escaping import printable
from edgeq.files import storage
from edgeq.files.reading import needs_unchanged
from edgeq.packaging import targets
from edgeq.packaging.assembly.tools import HERE, Tools
from edgeq.packaging.container import signing
from edgeq.packaging.container.manifest import (
    KEY,
    SIGNATURE,
    SUMS,
    GateVerdict,
    Manifest,
    list_files,
    seal,
)
from edgeq.packaging.contract.contract import make_contract
from edgeq.packaging.contract.embedded_labels import read_labels
from edgeq.packaging.contract.image_inputs import see_images
from edgeq.packaging.contract.labels import find_repeated, require_names
from edgeq.packaging.contract.values import Contract, Golden, Ingredients
from edgeq.packaging.documents import metadata, model_card, sbom
from edgeq.packaging.documents.licensing import read_license
from edgeq.packaging.documents.shipping import measurable, ship
from edgeq.packaging.evidence.class_order import require_order, scored_names
from edgeq.packaging.evidence.fed_alike import check_feeding
from edgeq.packaging.evidence.parts import Parts
from edgeq.packaging.evidence.records import NAME_DATA, Evidence, find_data, find_evidence
from edgeq.packaging.golden.sampling import make_golden
from edgeq.packaging.golden.vectors import MOST, golden_files
from edgeq.version import VERSION

_VECTORS = 4


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
        has_records: put the records inside; without, the manifest has their digests alone.
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
    has_records: bool = True
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

    @property
    def warnings(self) -> tuple[str, ...]:
        """As the manifest has them."""
        return self.manifest.warnings


@needs_unchanged("model")
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
        DataError: the samples test nothing, or were changed since the record was made.
        GateError: a gate did not pass the model, and `is_forced` is not set.
        RecordError: a record is of another model.
        UsageError: options that mean nothing, or contradict the file or a record.
        PackageError: the model cannot be packaged for this target.
        EdgeqError: another of its kinds.
    """
    chosen = replace(options or PackageOptions(), **settings)
    _require_sane(target, chosen)
    chosen = replace(chosen, description=printable(chosen.description))
    if chosen.license is not None:
        chosen = replace(chosen, license=read_license(chosen.license))
    key = None if chosen.key is None else signing.read_private_key(chosen.key)
    parts, notes = _gather(Path(model), target, data, records, chosen)
    files = collect(parts)
    manifest = _describe(parts, files)
    sealed = seal(manifest, files)
    if key is not None:
        sealed |= {SIGNATURE: signing.sign(sealed[SUMS], key), KEY: signing.public_pem(key)}
    return Package(manifest, sealed, (*notes, *_notes(parts, chosen.vectors)))


def _gather(
    path: Path, target: str, data: Any, records: Sequence[str | Path], chosen: PackageOptions
) -> tuple[Parts, list[str]]:
    """What the package is made from, and what a user has to know about that."""
    contract = make_contract(
        path,
        name=chosen.name,
        version=chosen.version,
        labels=chosen.labels,
        preprocess=chosen.preprocess,
    )
    contract, evidence, measured = _find_measured(path, contract, records)
    warnings = [*check_feeding(path, contract, evidence.records), *_doubt_labels(contract)]
    if evidence.verdict.word not in ("pass", "none") and not chosen.is_forced:
        raise _refused(evidence.verdict)
    require_order(contract, list(scored_names(evidence.records, contract.model.sha256)))
    golden = _choose_golden(path, contract, data, evidence, chosen)
    require_order(contract, [(golden.data, golden.class_names)])
    warnings += [f"{issue.message} ({issue.code})" for issue in golden.doubts]
    # A microcontroller has no reader for metadata, and no flash for what nobody reads.
    has_metadata = chosen.has_metadata and target != "c"
    seen = see_images(contract, golden)
    shipped, notes = ship(measured, seen, chosen.description, chosen.license, has_metadata)
    notes += metadata.metadata_limits(seen) if target == "android" else ()
    parts = Parts(
        target,
        replace(contract, model=storage.refer_bytes(shipped, f"{contract.name}.tflite")),
        shipped,
        contract.model.sha256,
        golden,
        evidence,
        tuple(map(printable, warnings)),
        chosen.description,
        chosen.license,
        has_records=chosen.has_records,
        is_signed=chosen.key is not None,
    )
    return parts, notes


def _find_measured(
    path: Path, contract: Contract, records: Sequence[str | Path]
) -> tuple[Contract, Evidence, bytes]:
    """The file that the records are about, and what it names its classes where nobody else does.

    Raises:
        RecordError: they are about another file, or about several.
    """
    content = path.read_bytes()
    possible = measurable(content)
    known = [storage.refer_bytes(own, contract.model.path) for own in possible]
    evidence = find_evidence(path, records, [ref.sha256 for ref in known])
    carried = read_labels(content)
    outputs = tuple(
        replace(output, labels=output.labels or carried.get(output.spec.name, ("", ()))[1])
        for output in contract.outputs
    )
    for output in outputs:
        require_names(output.labels)
    for own, ref in zip(possible, known, strict=True):
        if evidence.is_about(ref.sha256):
            return replace(contract, model=ref, outputs=outputs), evidence, own
    raise RecordError(
        f"Some records are about {path} with its metadata, and some about it without.",
        hint="Give the records of one of them.",
    )


def _require_sane(target: str, chosen: PackageOptions) -> None:
    if target not in targets.NAMES:
        raise UsageError(f"Unknown target {target!r}; known are {', '.join(targets.NAMES)}.")
    if not 1 <= chosen.vectors <= MOST:
        raise UsageError(
            f"{chosen.vectors} golden vectors are asked for; 1 to {MOST} are possible."
        )


def _doubt_labels(contract: Contract) -> list[str]:
    return [
        f"several classes of output {output.spec.name!r} have one name, so a result does not tell "
        f"which it was: {', '.join(repeated)}"
        for output in contract.outputs
        if (repeated := find_repeated(output.labels))
    ]


def _refused(verdict: GateVerdict) -> GateError:
    word = verdict.word.replace("-", " ")
    return GateError(
        f"The gate by {verdict.policy} says {word}: {verdict.reasons[0]}.",
        hint="Mend the model; or --force packages it all the same, and the package says so.",
    )


def _choose_golden(
    path: Path, contract: Contract, data: Any, evidence: Evidence, chosen: PackageOptions
) -> Golden:
    """From the data that is given, else from that of the records while it is the same.

    Raises:
        UsageError: there is none, or it was changed.
    """
    source, sha256 = (data, None) if data is not None else find_data(evidence.records)
    device = resolve_device("local")
    golden = make_golden(path, contract, source, device, count=chosen.vectors, seed=chosen.seed)
    if sha256 not in (None, golden.data_sha256):
        message = f"{source} was changed since the model's record was made."
        raise UsageError(message, hint=NAME_DATA)
    return golden


def collect(parts: Parts, tools: Tools = HERE) -> dict[str, bytes]:
    """All files but the manifest, the sums and the signature; `verify` makes them again.

    Raises:
        PackageError: the model cannot be packaged for this target.
    """
    target = targets.target(parts.target)
    made = target.make_files(
        Ingredients(parts.contract, parts.model, parts.golden, parts.license, tools)
    )
    made = model_card.complete_readme(made, parts.warnings, is_signed=parts.is_signed)
    return {
        **made,
        **golden_files(parts.golden),
        **(parts.evidence.files() if parts.has_records else {}),
        model_card.CARD: model_card.model_card(parts, tuple(target.find_models(made))),
        sbom.BOM: sbom.bill_of_materials(parts, made),
    }


def _describe(parts: Parts, files: Mapping[str, bytes]) -> Manifest:
    contract, evidence = parts.contract, parts.evidence
    declared = [item.preprocessing for item in contract.inputs if item.preprocessing is not None]
    return Manifest(
        name=contract.name,
        version=contract.version,
        target=parts.target,
        edgeq=VERSION,
        contract=contract,
        preprocess=tuple(map(format_preprocessing, declared)),
        measured_sha256=parts.measured_sha256,
        records=tuple(evidence.files()) if parts.has_records else (),
        gate=evidence.verdict,
        license=parts.license,
        files=list_files(files),
        description=parts.description,
        warnings=parts.warnings,
        records_left_out={} if parts.has_records else evidence.digests(),
    )


def _notes(parts: Parts, wanted: int) -> list[str]:
    """What a user has to know, and what a careful engineer would still put into a package."""
    notes = []
    count = len(parts.golden.vectors)
    if count < wanted:
        notes.append(
            f"{count} golden vectors, not the {wanted} that were asked for: {parts.golden.data} "
            "has no more samples"
        )
    notes += parts.evidence.gaps()
    if not any(output.labels for output in parts.contract.outputs):
        notes.append("no labels: --labels names the classes")
    return notes
