"""From a proven `.tflite` and its records to a package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeq.converters.samples.preprocessing import format_preprocessing
from edgeq.device_runners.devices.addresses import resolve_device
from edgeq.errors import GateError, RecordError, UsageError, did_you_mean, unknown_name
from edgeq.escaping import printable
from edgeq.files import storage
from edgeq.files.reading import needs_unchanged
from edgeq.packaging import targets
from edgeq.packaging.assembly.tools import LOCAL_TOOLS
from edgeq.packaging.container import signing
from edgeq.packaging.container.manifest import (
    KEY,
    SIGNATURE,
    SUMS,
    Manifest,
    list_files,
    seal,
)
from edgeq.packaging.contract.contract import make_contract
from edgeq.packaging.contract.image_inputs import confirm_images
from edgeq.packaging.contract.labels import find_repeated, require_names
from edgeq.packaging.contract.values import Contract, Files, Golden
from edgeq.packaging.documents import metadata, model_card, sbom
from edgeq.packaging.documents.embedded_labels import read_labels
from edgeq.packaging.documents.licensing import read_license
from edgeq.packaging.documents.shipping import measurable, ship
from edgeq.packaging.evidence.class_order import (
    find_misfits,
    find_unproven,
    name_boxes,
    named_classes,
    require_order,
    scored_names,
)
from edgeq.packaging.evidence.fed_alike import check_feeding
from edgeq.packaging.evidence.inputs import PackageInputs
from edgeq.packaging.evidence.records import NAME_DATA, Evidence, find_data, find_evidence
from edgeq.packaging.golden.sampling import make_golden
from edgeq.packaging.golden.vectors import MOST, golden_files
from edgeq.packaging.targets.target import Target
from edgeq.packaging.targets.tools import Tools
from edgeq.tflite.model_file import ModelFile, read_model
from edgeq.values.showing import bounded
from edgeq.version import VERSION
from edgeq.wording import plural


@dataclass(frozen=True)
class PackageOptions:
    """Everything the user decided about a package.

    Attributes:
        name: of the package; the file's by default.
        version: of the release.
        labels: output name ("" for the boxes, or the only output) to the name of each class.
        preprocess: `--preprocess` texts; None takes what the file carries.
        decode: `--decode` text; None takes what the file carries.
        vectors: number of golden vectors.
        seed: seed for choosing them.
        license: SPDX expression.
        description: a sentence for model card and metadata.
        is_forced: package a model that a gate did not pass.
        has_metadata: write TensorFlow Lite's standard metadata into the shipped file.
        has_records: put the records inside; if False, the manifest has only their digests.
        key: Ed25519 private key in PEM to sign with.
        form: layout for a build system, one of the target's `forms`; None for its default.
    """

    name: str | None = None
    version: str = "1.0.0"
    labels: Mapping[str, tuple[str, ...]] | None = None
    preprocess: tuple[str, ...] | None = None
    decode: str | None = None
    vectors: int = 4
    seed: int = 0
    license: str | None = None
    description: str = ""
    is_forced: bool = False
    has_metadata: bool = True
    has_records: bool = True
    key: Path | None = None
    form: str | None = None


@bounded
@dataclass(frozen=True, eq=False)
class Package:
    """A finished package, still in memory.

    Attributes:
        files: path inside to content.
        notes: what a user has to know about it.
    """

    manifest: Manifest
    files: Files
    notes: tuple[str, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """The manifest's."""
        return self.manifest.warnings


@needs_unchanged("model")
def make_package(
    model: str | Path,
    target: str,
    *,
    data: Any = None,
    records: Any = (),
    options: PackageOptions | None = None,
    **settings: Any,
) -> Package:
    """Make a package; the same inputs give the same bytes.

    Args:
        model: the `.tflite`.
        target: one of `targets.NAMES`.
        data: dataset that golden vectors are taken from; by default the one that the conversion's
            record names, if it is unchanged.
        records: about this model: one or several paths, or results of edgeq's functions; its
            conversion's own, `MODEL.json`, is found beside it.
        options: see `PackageOptions`.
        settings: fields of `PackageOptions`.

    Raises:
        DataError: the samples test nothing, or were changed since the record was made.
        GateError: a gate did not pass the model, and `is_forced` is not set.
        RecordError: a record is about another model.
        UsageError: meaningless options, or options that contradict the file or a record.
        PackageError: the model cannot be packaged for this target.
        EdgeqError: any other of its kinds.
    """
    chosen = replace(options or PackageOptions(), **settings)
    if target not in targets.NAMES:
        raise unknown_name("target", target, targets.NAMES)
    if not 1 <= chosen.vectors <= MOST:
        raise UsageError(f"The number of golden vectors must be 1 to {MOST}, not {chosen.vectors}.")
    chosen = replace(chosen, description=printable(chosen.description))
    if chosen.license is not None:
        chosen = replace(chosen, license=read_license(chosen.license))
    key = None if chosen.key is None else signing.read_private_key(chosen.key)
    form = _choose_form(targets.find_target(target), target, chosen.form)
    inputs, notes = _gather(Path(model), target, data, records, chosen)
    inputs = replace(inputs, form=form)
    files = make_files(target, inputs, LOCAL_TOOLS)
    manifest = describe(target, inputs, files)
    sealed = seal(manifest, files)
    if key is not None:
        sealed |= {SIGNATURE: key.sign(sealed[SUMS]), KEY: signing.public_pem(key)}
    return Package(manifest, sealed, notes)


def _make_vectors(
    model: ModelFile, contract: Contract, data: Any, evidence: Evidence, chosen: PackageOptions
) -> Golden:
    """Make golden vectors from the given samples, or else from those of the records."""
    source, sha256 = (data, None) if data is not None else find_data(evidence.records)
    golden = make_golden(
        model, contract, source, resolve_device("local"), count=chosen.vectors, seed=chosen.seed
    )
    if sha256 not in (None, golden.data_sha256):
        message = f"{source} was changed since the model's record was made."
        raise UsageError(message, hint=NAME_DATA)
    return golden


def _gather(
    path: Path, target: str, data: Any, records: Any, chosen: PackageOptions
) -> tuple[PackageInputs, tuple[str, ...]]:
    """Collect the inputs of the package, and notes about them for the user."""
    model, kind = read_model(path), targets.find_target(target)
    kind.check_model(model)
    contract = make_contract(
        model, name=chosen.name, version=chosen.version, labels=chosen.labels,
        preprocess=chosen.preprocess, decode=chosen.decode,
    )  # fmt: skip
    contract, evidence, measured = _find_measured(model, contract, records)
    warnings = check_feeding(model, contract, evidence.records)
    verdict = evidence.verdict
    if verdict.word not in ("pass", "none") and not chosen.is_forced:
        raise GateError(
            f"The gate by {verdict.policy} says {verdict.word.replace('-', ' ')}: "
            f"{verdict.reasons[0]}.",
            hint="Fix the model, or pass --force; the package will record it.",
        )
    scored = list(scored_names(evidence.records, measured.sha256))
    contract = name_boxes(contract, scored)
    require_order(contract, scored)
    golden = _make_vectors(model, contract, data, evidence, chosen)
    scored.append((golden.data, golden.class_names))
    contract = name_boxes(contract, scored)
    require_order(contract, scored)
    warnings += [*find_unproven(contract, scored), *_repeated_names(contract)]
    warnings += [f"{issue.message} ({issue.code})" for issue in golden.doubts]
    with_images = confirm_images(contract, golden)
    shipped, notes = ship(
        measured, with_images, chosen.description, chosen.license,
        chosen.has_metadata and kind.takes_metadata,
    )  # fmt: skip
    if kind.has_metadata_readers:
        notes += metadata.metadata_limits(with_images)
    inputs = PackageInputs(
        replace(contract, model=storage.refer_bytes(shipped.content, f"{contract.name}.tflite")),
        shipped,
        golden,
        chosen.license,
        measured.sha256,
        evidence,
        tuple(map(printable, warnings)),
        chosen.description,
        has_records=chosen.has_records,
        is_signed=chosen.key is not None,
    )
    count = len(golden.vectors)
    if count < chosen.vectors:
        notes.append(
            f"{plural(count, 'golden vector')} instead of the requested {chosen.vectors}: "
            f"{golden.data} has no more samples"
        )
    notes += evidence.gaps()
    if not any(labels for _, labels in named_classes(contract)):
        other = "".join(f"{why}; " for why in find_misfits(contract, scored))
        notes.append(f"no labels: {other}--labels names the classes")
    return inputs, tuple(notes)


def _repeated_names(contract: Contract) -> list[str]:
    """A sentence for each list of classes in which names are not unique."""
    return [
        f"several classes of {whose} have the same name, so a result does not state which class "
        f"it is: {', '.join(repeated)}"
        for whose, labels in named_classes(contract)
        if (repeated := find_repeated(labels))
    ]


def _choose_form(kind: Target, target: str, form: str | None) -> str:
    """The layout that was requested, or the target's own.

    Raises:
        UsageError: the target does not have it.
    """
    if form is None:
        return kind.forms[0] if kind.forms else ""
    if form not in kind.forms:
        guess = did_you_mean(form, kind.forms)
        have = f"{guess}Its forms are {', '.join(kind.forms)}." if kind.forms else "Remove --form."
        raise UsageError(f"Target {target} has no form {form!r}.", hint=have)
    return form


def _find_measured(
    model: ModelFile, contract: Contract, records: Any
) -> tuple[Contract, Evidence, ModelFile]:
    """The file that the records are about; its own class names are used where none were given.

    Raises:
        RecordError: they are about another file, or about several.
    """
    possible = measurable(model)
    evidence = find_evidence(model.path, records, [file.sha256 for file in possible])
    carried = read_labels(model)
    outputs = tuple(
        replace(output, labels=output.labels or carried.get(output.spec.name, ("", ()))[1])
        for output in contract.outputs
    )
    for output in outputs:
        require_names(output.labels)
    for file in possible:
        if evidence.is_about(file.sha256):
            ref = storage.refer_bytes(file.content, contract.model.path)
            return replace(contract, model=ref, outputs=outputs), evidence, file
    raise RecordError(
        f"Some records are about {model.path} with its metadata, and some about it without.",
        hint="Give the records of one of them.",
    )


def make_files(target: str, inputs: PackageInputs, tools: Tools) -> dict[str, bytes]:
    """All files but the manifest, the sums and the signature; `verify` makes them again.

    Raises:
        PackageError: the model cannot be packaged for this target.
    """
    kind = targets.find_target(target)
    made = kind.make_files(inputs, tools)
    made = model_card.complete_readme(made, inputs.warnings, is_signed=inputs.is_signed)
    return {
        **made,
        **golden_files(inputs.golden),
        **(inputs.evidence.files() if inputs.has_records else {}),
        model_card.CARD: model_card.model_card(kind, inputs, tuple(kind.find_models(made))),
        sbom.BOM: sbom.bill_of_materials(kind, inputs, made),
    }


def describe(target: str, inputs: PackageInputs, files: Files) -> Manifest:
    """The manifest of a package with these files."""
    contract, evidence = inputs.contract, inputs.evidence
    return Manifest(
        name=contract.name,
        version=contract.version,
        target=target,
        edgeq=VERSION,
        contract=contract,
        preprocess=tuple(map(format_preprocessing, contract.declared)),
        measured_sha256=inputs.measured_sha256,
        records=tuple(evidence.files()) if inputs.has_records else (),
        gate=evidence.verdict,
        license=inputs.license,
        files=list_files(files),
        description=inputs.description,
        warnings=inputs.warnings,
        records_left_out={} if inputs.has_records else evidence.digests(),
        form=inputs.form,
    )
