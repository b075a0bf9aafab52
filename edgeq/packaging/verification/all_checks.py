"""All that `verify` looks at in a package, in turn: a confined child does it, and asks its parent
for what it may not do itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edgeq.children import foreign, sandbox
from edgeq.errors import DataError, DeviceError, EdgeqError, MissingExtraError, UsageError
from edgeq.packaging.assembly.tools import Tools
from edgeq.packaging.container import signing
from edgeq.packaging.container.manifest import KEY, SIGNATURE, SUMS
from edgeq.packaging.container.reading import Opened, open_package
from edgeq.packaging.contract.values import Files, Golden
from edgeq.packaging.golden.vectors import check_vector
from edgeq.packaging.verification import contents
from edgeq.packaging.verification.checks import OF_SIGNATURE, UNSIGNED, Check, outcome, skipped
from edgeq.packaging.verification.reproduction import check_code
from edgeq.packaging.verification.requests import Asker, Job, Judged

_REST = skipped("the rest", "not looked at: what failed comes first")


def main() -> None:
    """The child of `verify_package`."""
    with foreign.to_parent() as parent:
        job = parent.receive(Job)
        sandbox.confine_as_planned()
        parent.send(prove(job, Asker(parent)))


def prove(job: Job, asker: Asker) -> Judged:
    """Every check, as far as those before allow.

    Raises:
        EdgeqError: see `verify_package`.
    """
    key = None if job.key is None else signing.parse_public_key(job.key.encode(), "the key")
    package = open_package(Path(job.path))
    count = len(package.manifest.files)
    checks = [
        outcome("files", package.damage, f"{count} files are what the manifest says"),
        _check_signature(package.files, key),
    ]
    # What its bytes or its signature belie is not looked into.
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
    tools = Tools(asker.compile_java, asker.measure_arena)
    runs = devices is not None
    yield check_code(files, manifest, contract, model, golden, records, tools, runs=runs)
    if not devices:
        yield skipped("golden vectors", "not run, as was asked")
        return
    for place, name in enumerate(devices):
        yield _run_golden(model, golden, asker, place, f"golden vectors on {name}")


def _check_signature(files: Files, key: Ed25519PublicKey | None) -> Check:
    signature = files.get(SIGNATURE)
    if signature is None and KEY in files:
        told = f"{KEY} is inside, but no {SIGNATURE}: the signature was taken away"
        return Check(OF_SIGNATURE, "fail", (told,))
    if signature is None:
        whose = "" if key is None else f"; it should be, by the key {signing.fingerprint(key)}"
        return Check(OF_SIGNATURE, "skipped" if key is None else "fail", (f"{UNSIGNED}{whose}",))
    sums = files.get(SUMS, b"")
    if key is not None:
        whose = f"the key {signing.fingerprint(key)}"
        problems = []
        if not signing.is_signed(sums, signature, key):
            problems.append(f"{SIGNATURE} is not by {whose} over {SUMS}")
        if files.get(KEY) != signing.public_pem(key):
            problems.append(f"{KEY} is not {whose}")
        return outcome(OF_SIGNATURE, problems, f"by {whose}")
    try:
        own = signing.parse_public_key(files.get(KEY, b""), KEY)
    except UsageError as error:
        return Check(OF_SIGNATURE, "fail", (error.message,))
    if not signing.is_signed(sums, signature, own):
        return Check(OF_SIGNATURE, "fail", (f"{SIGNATURE} or {KEY} was changed",))
    told = f"it says to be by {signing.fingerprint(own)}; --public-key KEY.pem proves by whom"
    return Check(OF_SIGNATURE, "skipped", (told,))


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
        all(np.array_equal(found[key][place : place + 1], array)
            for key, array in vector.outputs.items())
        for place, vector in enumerate(golden.vectors)
    )  # fmt: skip
    count = len(golden.vectors)
    return outcome(label, problems, f"{count} of {count} within tolerance, {exact} exact")
