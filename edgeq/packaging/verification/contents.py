"""What `verify` reads in a package whose bytes are as they should be: model, contract, records."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np

from edgeq.errors import EdgeqError, UnjudgedPackageError
from edgeq.files import scratch, storage
from edgeq.gating.gate import weigh
from edgeq.packaging import targets
from edgeq.packaging.container.archive import read_zip
from edgeq.packaging.container.manifest import Manifest, read_gates
from edgeq.packaging.contract.contract import make_contract
from edgeq.packaging.contract.embedded_labels import read_label_files, read_labels
from edgeq.packaging.contract.values import Contract, Files, Golden
from edgeq.packaging.documents import metadata
from edgeq.packaging.documents.shipping import without_metadata
from edgeq.packaging.evidence.class_order import find_disorder, scored_names
from edgeq.packaging.golden.vectors import find_faults, prepare, read_golden
from edgeq.packaging.verification.checks import Check, outcome, skipped
from edgeq.records.parts import digests_of
from edgeq.records.reading import Record, parse_record
from edgeq.tflite import flatbuffer
from edgeq.wording import plural

_MODEL = ".tflite"
_ARCHIVES = (".aar", ".jar", ".whl", ".zip")


def check_model(files: Files, manifest: Manifest) -> tuple[Check, bytes | None]:
    """Whether every model inside is the manifest's, and that model; None where it cannot be used.

    Raises:
        UnjudgedPackageError: a target that this edgeq does not know.
    """
    if manifest.target not in targets.NAMES:
        raise UnjudgedPackageError(
            f"The package is for {manifest.target!r}; this edgeq knows {', '.join(targets.NAMES)}.",
            hint="Upgrade edgeq: pip install -U edgeq",
        )
    try:
        copies = {**targets.target(manifest.target).find_models(files), **_find_copies(files)}
        model = next(iter(copies.values()))
        flatbuffer.parse(model, next(iter(copies)))
    except EdgeqError as error:
        return Check("model", "fail", (error.message,)), None
    wanted = manifest.contract.model.sha256
    others = [
        f"{path} is another model than the manifest's: sha256 {_sha256(content)[:12]} against "
        f"{wanted[:12]}"
        for path, content in copies.items()
        if _sha256(content) != wanted
    ]
    check = outcome("model", others, f"in {', '.join(copies)}: sha256 {wanted[:12]}")
    return check, None if others else model


def _find_copies(files: Files) -> dict[str, bytes]:
    """All that is called a model, wherever it lies: what loads it does not ask a target."""
    found = {}
    for path, content in files.items():
        if path.lower().endswith(_MODEL):
            found[path] = content
        elif path.lower().endswith(_ARCHIVES):
            inside = _find_copies(read_zip(content, path))
            found.update({f"{path}!{name}": model for name, model in inside.items()})
    return found


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# ---------------------------------------------------------------- the contract


def check_contract(model: bytes, manifest: Manifest) -> tuple[Check, Contract | None]:
    """Whether scales, shapes and labels in the manifest are the model's own, and the contract."""
    try:
        own = read_contract(model, manifest)
        problems = [
            f"{field.name} in the manifest is not what the model says"
            for field in fields(own)
            if getattr(own, field.name) != getattr(manifest.contract, field.name)
        ]
        problems = problems or _compare_labels(model, own, manifest)
    except EdgeqError as error:
        return Check("contract", "fail", (error.message,)), None
    good = "dtypes, shapes and scales are the model's own"
    if metadata.KEY in _metadata_names(model):
        good = "dtypes, shapes, scales and labels are the model's own"
    return outcome("contract", problems, good), None if problems else own


def read_contract(model: bytes, manifest: Manifest) -> Contract:
    """The contract of the model's bytes, with the manifest's names, labels and preprocessing.

    Raises:
        EdgeqError: they do not fit the model.
    """
    given = manifest.contract
    with scratch.folder() as folder:
        # Never a name out of the package: it could lead to any file of this machine.
        path = folder / "model.tflite"
        path.write_bytes(model)
        own = make_contract(
            path,
            name=manifest.name,
            version=manifest.version,
            labels={item.spec.name: item.labels for item in given.outputs if item.labels},
            preprocess=manifest.preprocess,
        )
    return replace(own, model=storage.refer_bytes(model, given.model.path))


def _metadata_names(model: bytes) -> list[str]:
    tree = flatbuffer.parse(model, "the model")
    return [flatbuffer.text(entry.name) for entry in tree.metadata or ()]


def _compare_labels(model: bytes, contract: Contract, manifest: Manifest) -> list[str]:
    """Whether the label files behind the model say what the contract says, in the same order.

    Metadata of another tool, which came with the model, may have other words, or more.
    """
    if metadata.KEY not in _metadata_names(model):
        return []
    is_ours = contract.model.sha256 != manifest.measured_sha256
    own = read_label_files(model)
    made = read_label_files(metadata.add_metadata(without_metadata(model), contract))
    problems = []
    for name in sorted({*own, *made}):
        lines, wanted = own.get(name, []), made.get(name, [])
        if lines != wanted and (is_ours or sorted(lines) == sorted(wanted)):
            problems.append(name)
    for output in contract.outputs:
        name, labels = read_labels(model).get(output.spec.name, ("", ()))
        if name and output.labels and output.labels != labels:
            problems.append(name)
    return [
        f"the labels in the manifest are not those of {name} in the model"
        for name in dict.fromkeys(problems)
    ]


# ---------------------------------------------------------------- records


def check_records(
    model: bytes, files: Files, manifest: Manifest
) -> tuple[Check, tuple[Record, ...] | None]:
    """Whether the shipped file, its metadata apart, is the one that the records are about; and the
    records, None when one cannot be read.
    """
    digests = (_sha256(model), _sha256(without_metadata(model)))
    measured = manifest.measured_sha256
    if measured not in digests:
        told = f"what ships is not what was measured (sha256 {measured[:12]})"
        return Check("measured", "fail", (told,)), None
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
        told = f"{count} left out, of which the manifest has the digests alone"
        return skipped("measured", told), records
    if not records:
        return skipped("measured", "no record is inside: nothing says how good it is"), records
    good = f"it is the file of {plural(len(records), 'record')} inside"
    return outcome("measured", problems, good), records


def check_gate(manifest: Manifest, records: Sequence[Record], is_vouched_for: bool) -> Check:
    """Whether the gate passed, by its record and by the findings in that.

    The policy is not inside, so nothing is judged again: only a signature vouches for a verdict.

    Args:
        is_vouched_for: whether the package is signed with the key that it must be signed with.
    """
    gate = manifest.gate
    # Of a record that was left out, there is the manifest's word alone.
    recorded = gate if manifest.records_left_out else read_gates(records)
    if gate != recorded:
        told = f"the manifest says {gate.word}, its record {recorded.word}"
        return Check("gate", "fail", (told,))
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
        return Check("gate", "fail", tuple(f"packaged by force: {reason}" for reason in reasons))
    passed = f"passed, by {gate.policy}"
    if is_vouched_for:
        return Check("gate", "pass", (passed,))
    return skipped("gate", f"{passed}, as its record says; the policy is not inside to judge again")


# ---------------------------------------------------------------- golden vectors


def check_vectors(files: Files, contract: Contract) -> tuple[Check, Golden | None]:
    """Whether the golden vectors are of this model and would find a difference; and the vectors."""
    try:
        golden = read_golden(files)
    except EdgeqError as error:
        return Check("vectors", "fail", (error.message,)), None
    problems = find_faults(golden, contract)
    good = f"{len(golden.vectors)} have every input and output, and tolerances that tell something"
    return outcome("vectors", problems, good), None if problems else golden


def check_inputs(contract: Contract, golden: Golden) -> Check:
    """Whether preprocessing the raw samples anew gives the tensors that are inside."""
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
    count = len(golden.vectors)
    return outcome("inputs", problems, f"{count} raw samples give the tensors inside, exactly")
