"""The checks of a package whose bytes are right: model, contract, records, vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from edgeq.errors import EdgeqError, UnjudgedPackageError
from edgeq.gating.gate import weigh
from edgeq.packaging import targets
from edgeq.packaging.container.archive import read_zip
from edgeq.packaging.container.manifest import Manifest, read_gates
from edgeq.packaging.contract.contract import make_contract
from edgeq.packaging.contract.values import Contract, Files, Golden
from edgeq.packaging.documents import metadata
from edgeq.packaging.documents.embedded_labels import read_label_files, read_labels
from edgeq.packaging.documents.shipping import has_own_metadata, without_metadata
from edgeq.packaging.evidence.class_order import find_disorder, scored_names
from edgeq.packaging.golden.sounds import find_sound_faults
from edgeq.packaging.golden.vectors import find_faults, prepare, read_golden
from edgeq.packaging.verification.checks import Check, outcome, skipped
from edgeq.records.parts import digests_of
from edgeq.records.reading import Record, parse_record
from edgeq.tflite.model_file import ModelFile, parse_model
from edgeq.wording import plural

_ARCHIVES = (".aar", ".jar", ".whl", ".zip")


def check_model(files: Files, manifest: Manifest) -> tuple[Check, ModelFile | None]:
    """Whether every model inside is the manifest's, and that model; None if it cannot be used.

    Raises:
        UnjudgedPackageError: this version of edgeq does not know the target.
    """
    if manifest.target not in targets.NAMES:
        raise UnjudgedPackageError(
            f"The package is for {manifest.target!r}; this version of edgeq knows "
            f"{', '.join(targets.NAMES)}.",
            hint="Upgrade edgeq: pip install -U edgeq",
        )
    wanted = manifest.contract.model.sha256
    others = []
    try:
        found = targets.find_target(manifest.target).find_models(files)
        copies = {**found, **_find_copies(files)}
        for path, content in copies.items():
            digest = hashlib.sha256(content).hexdigest()
            if digest != wanted:
                others.append(
                    f"{path} is not the manifest's model: its sha256 is {digest[:12]}, not "
                    f"{wanted[:12]}"
                )
        path, content = next(iter(copies.items()))
        # Any path from the package could lead to a file of this machine; this one is only shown.
        model = parse_model(content, path)
    except EdgeqError as error:
        return Check("model", "fail", (error.message,)), None
    check = outcome("model", others, f"in {', '.join(copies)}: sha256 {wanted[:12]}")
    return check, None if others else model


def _find_copies(files: Files) -> dict[str, bytes]:
    """Every file with the name of a model: an app may load one that no target put there."""
    found = {}
    for path, content in files.items():
        if path.lower().endswith(".tflite"):
            found[path] = content
        elif path.lower().endswith(_ARCHIVES):
            inside = _find_copies(read_zip(content, path))
            found.update({f"{path}!{name}": model for name, model in inside.items()})
    return found


# ---------------------------------------------------------------- the contract


def check_contract(model: ModelFile, manifest: Manifest) -> tuple[Check, Contract | None]:
    """Whether scales, shapes and labels in the manifest are the model's own, and the contract."""
    try:
        own = read_contract(model, manifest)
        problems = [
            f"{field.name} in the manifest differs from the model's"
            for field in fields(own)
            if getattr(own, field.name) != getattr(manifest.contract, field.name)
        ]
        problems = problems or _compare_labels(model, own, manifest)
    except EdgeqError as error:
        return Check("contract", "fail", (error.message,)), None
    labels = ", scales and labels" if has_own_metadata(model) else " and scales"
    check = outcome("contract", problems, f"dtypes, shapes{labels} are the model's own")
    return check, None if problems else own


def read_contract(model: ModelFile, manifest: Manifest) -> Contract:
    """The contract of the model's bytes, with the manifest's names, labels and preprocessing.

    Raises:
        EdgeqError: they do not fit the model.
    """
    given = manifest.contract
    own = make_contract(
        replace(model, path=Path("model.tflite")),
        name=manifest.name,
        version=manifest.version,
        labels={
            **{item.spec.name: item.labels for item in given.outputs if item.labels},
            **({"": given.box_labels} if given.box_labels else {}),
        },
        preprocess=manifest.preprocess,
        decode=given.decoding,
    )
    return replace(own, model=replace(own.model, path=given.model.path))


def _compare_labels(model: ModelFile, contract: Contract, manifest: Manifest) -> list[str]:
    """Whether the label files behind the model have the contract's labels, in the same order.

    Metadata of another tool, which came with the model, may have other words, or more.
    """
    if not has_own_metadata(model):
        return []
    is_ours = contract.model.sha256 != manifest.measured_sha256
    own = read_label_files(model.content)
    made = read_label_files(metadata.add_to_model(without_metadata(model), contract).content)
    problems = []
    for name in sorted({*own, *made}):
        lines, wanted = own.get(name, []), made.get(name, [])
        if lines != wanted and (is_ours or sorted(lines) == sorted(wanted)):
            problems.append(name)
    carried = read_labels(model)
    for output in contract.outputs:
        name, labels = carried.get(output.spec.name, ("", ()))
        if name and output.labels and output.labels != labels:
            problems.append(name)
    return [
        f"the labels in the manifest are not those of {name} in the model"
        for name in dict.fromkeys(problems)
    ]


# ---------------------------------------------------------------- records


def check_records(
    model: ModelFile, files: Files, manifest: Manifest
) -> tuple[Check, tuple[Record, ...] | None]:
    """Whether the records are about the shipped file or about it without its metadata.

    Returns:
        The check, and the records; None if one cannot be read.
    """
    measured = manifest.measured_sha256
    if measured not in (model.sha256, without_metadata(model).sha256):
        problem = f"the shipped model is not the measured one (sha256 {measured[:12]})"
        return Check("measured", "fail", (problem,)), None
    try:
        records = tuple(parse_record(files[path], path) for path in manifest.records)
    except EdgeqError as error:
        return Check("measured", "fail", (error.message,)), None
    problems = [
        f"{record.path} is about another model"
        for record in records
        if measured not in digests_of(record)
    ]
    problems += find_disorder(manifest.contract, scored_names(records, measured))
    if manifest.records_left_out:
        count = plural(len(manifest.records_left_out), "record")
        return skipped("measured", f"{count} left out; the manifest has only digests"), records
    if not records:
        return skipped("measured", "no record is inside: nothing states how good it is"), records
    good = f"it is the file of {plural(len(records), 'record')} inside"
    return outcome("measured", problems, good), records


def check_gate(manifest: Manifest, records: Sequence[Record], is_vouched_for: bool) -> Check:
    """Whether the gate passed, by its record and by the findings in that.

    The policy is not inside, so nothing is judged again: only a signature vouches for a verdict.

    Args:
        is_vouched_for: whether the package is signed with the required key.
    """
    gate = manifest.gate
    # For a record that was left out, there is only the manifest's statement.
    recorded = gate if manifest.records_left_out else read_gates(records)
    if gate != recorded:
        problem = f"the manifest says {gate.word}, its record {recorded.word}"
        return Check("gate", "fail", (problem,))
    changed = tuple(
        f"{record.path} says {record.value.verdict}, but its own findings say {found}"
        for record in records
        if record.kind == "gate" and (found := weigh(record.value)) != record.value.verdict
    )
    if changed:
        return Check("gate", "fail", changed)
    if gate.word == "none":
        return skipped("gate", "no gate judged the model")
    if gate.is_forced:
        reasons = gate.reasons or ("no reason was kept",)
        return Check(
            "gate", "fail", tuple(f"packaged with --force: {reason}" for reason in reasons)
        )
    passed = f"passed, by {gate.policy}"
    if is_vouched_for:
        return Check("gate", "pass", (passed,))
    how = "only a signature proves it, with --public-key"
    return skipped("gate", f"{passed}, as its record says; {how}")


# ---------------------------------------------------------------- golden vectors


def check_vectors(files: Files, contract: Contract) -> tuple[Check, Golden | None]:
    """Whether the golden vectors fit this model and would find a difference; and the vectors."""
    try:
        golden = read_golden(files)
    except EdgeqError as error:
        return Check("vectors", "fail", (error.message,)), None
    problems = find_faults(golden, contract)
    good = f"{len(golden.vectors)} have every input and output, and useful tolerances"
    return outcome("vectors", problems, good), None if problems else golden


def check_inputs(contract: Contract, golden: Golden) -> Check:
    """Whether preprocessing the raw samples again gives the tensors inside, from the sounds on."""
    problems = []
    for vector in golden.vectors:
        try:
            made = prepare(contract, vector)
        except EdgeqError as error:
            problems.append(f"sample {vector.index}: {error.message}")
            continue
        problems += [
            f"sample {vector.index}: preprocessing gives another {name!r}"
            for name, array in made.items()
            if not np.array_equal(array, vector.inputs[name])
        ]
    problems += find_sound_faults(golden, contract)
    count = len(golden.vectors)
    good = f"{count} raw samples give the tensors inside, exactly"
    tolerances = [given["float64"] for given in golden.feature_tolerances.values()]
    if tolerances and not problems:
        good += f", and their sounds the features, within {max(tolerances):.1g}"
    return outcome("inputs", problems, good)
