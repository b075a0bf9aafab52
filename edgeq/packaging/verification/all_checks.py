"""Every check of `verify`, in turn, made by a confined child.

It asks its parent for everything that a confined process cannot do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edgeq.children import foreign, sandbox
from edgeq.errors import DataError, DeviceError, EdgeqError, MissingExtraError, UsageError
from edgeq.packaging.container import signing
from edgeq.packaging.container.manifest import KEY, SIGNATURE, SUMS
from edgeq.packaging.container.reading import Opened, open_package
from edgeq.packaging.contract.values import Files, Golden
from edgeq.packaging.evidence.inputs import PackageInputs
from edgeq.packaging.evidence.records import Evidence
from edgeq.packaging.golden.vectors import check_vector
from edgeq.packaging.targets.tools import Tools
from edgeq.packaging.verification import contents
from edgeq.packaging.verification.checks import SIGNATURE_CHECK, UNSIGNED, Check, outcome, skipped
from edgeq.packaging.verification.reproduction import check_code
from edgeq.packaging.verification.requests import Asker, Job, Judged

_REST = skipped("the rest", "not checked, because of the failure above")


def main() -> None:
    """The child of `verify_package`."""
    with foreign.to_parent() as parent:
        job = parent.receive(Job)
        sandbox.confine_as_planned()
        parent.send(prove(job, Asker(parent)))


def prove(job: Job, asker: Asker) -> Judged:
    """Every check that the previous ones allow.

    Raises:
        EdgeqError: those of `verify_package`.
    """
    key = None if job.key is None else signing.parse_public_key(job.key.encode(), "the key")
    package = open_package(Path(job.path))
    count = len(package.manifest.files)
    checks = [
        outcome("files", package.damage, f"{count} files agree with the manifest"),
        _check_signature(package.files, key),
    ]
    # A package with wrong bytes or a wrong signature is not read further.
    if any(check.verdict == "fail" for check in checks):
        return Judged(package.manifest, (*checks, _REST))
    is_vouched_for = checks[-1].verdict == "pass"
    rest = _check_contents(package, is_vouched_for, job.devices, asker)
    return Judged(package.manifest, (*checks, *rest))


def _check_contents(
    package: Opened, is_vouched_for: bool, devices: Sequence[str] | None, asker: Asker
) -> Iterator[Check]:
    files, manifest = package.files, package.manifest
    check, model = contents.check_model(files, manifest)
    yield check
    if model is None:
        yield _REST
        return
    check, contract = contents.check_contract(model, manifest)
    yield check
    if contract is None:
        yield _REST
        return
    check, records = contents.check_records(model, files, manifest)
    yield check
    if records is not None:
        yield contents.check_gate(manifest, records, is_vouched_for)
    check, golden = contents.check_vectors(files, contract)
    yield check
    if records is None or golden is None:
        yield _REST
        return
    yield contents.check_inputs(contract, golden)
    inputs = PackageInputs(
        contract,
        model,
        golden,
        manifest.license,
        manifest.measured_sha256,
        Evidence(records, tuple(files[path] for path in manifest.records), manifest.gate),
        manifest.warnings,
        manifest.description,
        has_records=not manifest.records_left_out,
        is_signed=SIGNATURE in files,
        form=manifest.form,
    )
    tools = Tools(asker.compile_java, asker.measure_arena)
    yield check_code(files, manifest, inputs, tools, runs=devices is not None)
    if not devices:
        yield skipped("golden vectors", "not run, as requested")
    for place, name in enumerate(devices or ()):
        yield _run_golden(model.content, golden, asker, place, f"golden vectors on {name}")


def _check_signature(files: Files, key: Ed25519PublicKey | None) -> Check:
    signature, sums = files.get(SIGNATURE), files.get(SUMS, b"")
    if signature is None:
        problem = None
        if KEY in files:
            problem = f"{KEY} is inside, but no {SIGNATURE}: the signature was removed"
        elif key is not None:
            whose = signing.fingerprint(key)
            problem = f"{UNSIGNED}; a signature by the key {whose} is required"
        verdict = "skipped" if problem is None else "fail"
        return Check(SIGNATURE_CHECK, verdict, (problem or UNSIGNED,))
    if key is not None:
        whose = f"the key {signing.fingerprint(key)}"
        problems = []
        if not signing.is_signed(sums, signature, key):
            problems.append(f"{SIGNATURE} is not by {whose} over {SUMS}")
        if files.get(KEY) != signing.public_pem(key):
            problems.append(f"{KEY} is not {whose}")
        return outcome(SIGNATURE_CHECK, problems, f"by {whose}")
    try:
        own = signing.parse_public_key(files.get(KEY, b""), KEY)
    except UsageError as error:
        return Check(SIGNATURE_CHECK, "fail", (error.message,))
    if not signing.is_signed(sums, signature, own):
        return Check(SIGNATURE_CHECK, "fail", (f"{SIGNATURE} or {KEY} was changed",))
    claim = f"it claims to be by {signing.fingerprint(own)}; --public-key KEY.pem proves by whom"
    return skipped(SIGNATURE_CHECK, claim)


# ---------------------------------------------------------------- golden vectors


def _run_golden(model: bytes, golden: Golden, asker: Asker, device: int, label: str) -> Check:
    """The vectors on one device."""
    inputs = {
        key: np.concatenate([vector.inputs[key] for vector in golden.vectors])
        for key in golden.vectors[0].inputs
    }
    try:
        found = asker.infer(model, inputs, device)
    except (DeviceError, MissingExtraError) as error:
        return Check(label, "cannot-tell", (error.message,))
    except EdgeqError as error:
        return Check(label, "fail", (error.message,))
    problems = []
    for place, vector in enumerate(golden.vectors):
        own = {key: array[place : place + 1] for key, array in found.items()}
        try:
            problems += check_vector(vector, own, golden.tolerances)
        except DataError as error:
            return Check(label, "fail", (error.message,))
    exact = sum(
        all(
            np.array_equal(found[key][place : place + 1], array)
            for key, array in vector.outputs.items()
        )
        for place, vector in enumerate(golden.vectors)
    )
    count = len(golden.vectors)
    return outcome(label, problems, f"{count} of {count} within tolerance, {exact} exact")
