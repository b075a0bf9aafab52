"""Whether a package is what it says, and whether a device computes what was measured.

Nothing in a package is executed: files are digested, the model is read as data, and only the
TensorFlow Lite interpreter runs it.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edgeq.device_runners import measure
from edgeq.device_runners.device import Device, OnEvent, events_as_progress, resolve_device
from edgeq.errors import EdgeqError, PackageError, UsageError
from edgeq.packaging import signing, targets
from edgeq.packaging.contract import make_contract
from edgeq.packaging.golden import check_vector, prepare, read_golden
from edgeq.packaging.manifest import (
    KEY,
    SIGNATURE,
    SUMS,
    GateVerdict,
    Manifest,
    find_damage,
    plain_contract,
    read_gates,
    read_manifest,
)
from edgeq.packaging.shipping import without_metadata
from edgeq.packaging.storing import read_package
from edgeq.packaging.values import Contract, Files, Golden
from edgeq.records import parse_record
from edgeq.reporting.subject import digests_of

OnProgress = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what, e.g. "files".
        verdict: "pass", "fail", or "skipped".
        detail: what was found, in a sentence or several.
    """

    name: str
    verdict: str
    detail: tuple[str, ...]


@dataclass(frozen=True)
class Verification:
    """All checks of a package.

    Attributes:
        is_sound: whether none failed.
    """

    path: str
    manifest: Manifest
    checks: tuple[Check, ...]

    @property
    def is_sound(self) -> bool:
        """Whether nothing failed."""
        return all(check.verdict != "fail" for check in self.checks)


def verify_package(
    path: str | Path,
    *,
    devices: Sequence[str] = ("local",),
    python: Path | None = None,
    public_key: Path | None = None,
    runs: bool = True,
    on_progress: OnProgress = lambda step, done, total: None,
) -> Verification:
    """Check a package, and run its golden vectors on devices.

    Args:
        devices: as for `bench`.
        python: interpreter on this machine.
        public_key: that it must be signed with; without one, a signature proves nothing and is only
            mentioned.
        runs: whether to run the golden vectors at all.

    Raises:
        PackageError: it cannot be read, or is no package.
        UsageError: an unusable key, or an unknown device.
    """
    source = Path(path)
    key = None if public_key is None else signing.read_public_key(public_key)
    opened = [resolve_device(name, python if name == "local" else None) for name in devices]
    files, oddities = read_package(source)
    manifest = read_manifest(files)
    damage = [*oddities, *find_damage(files, manifest)]
    checks = [
        _outcome("files", damage, f"{len(manifest.files)} files are what the manifest says"),
        _check_signature(files, key),
    ]
    if not damage:
        checks += _check_contents(files, manifest)
        golden = read_golden(files)
        model = _shipped(files, manifest)
        checks.append(_check_inputs(model, manifest, golden))
        if runs:
            events = events_as_progress(on_progress)
            checks += [_run_golden(model, golden, device, name, events)
                       for device, name in zip(opened, devices, strict=True)]  # fmt: skip
    return Verification(str(source), manifest, tuple(checks))


def _outcome(name: str, problems: Sequence[str], good: str) -> Check:
    return Check(name, "fail" if problems else "pass", tuple(problems) or (good,))


def _check_signature(files: Files, key: Ed25519PublicKey | None) -> Check:
    signature = files.get(SIGNATURE)
    if signature is None:
        whose = "" if key is None else f"; it should be, by the key {signing.fingerprint(key)}"
        return Check("signature", "skipped" if key is None else "fail", (f"not signed{whose}",))
    sums = files.get(SUMS, b"")
    if key is not None:
        whose = f"the key {signing.fingerprint(key)}"
        problems = []
        if not signing.is_signed(sums, signature, key):
            problems.append(f"{SIGNATURE} is not by {whose} over {SUMS}")
        if files.get(KEY) != signing.public_pem(key):
            problems.append(f"{KEY} is not {whose}")
        return _outcome("signature", problems, f"by {whose}")
    try:
        own = signing.parse_public_key(files.get(KEY, b""), KEY)
    except UsageError as error:
        return Check("signature", "fail", (error.message,))
    if not signing.is_signed(sums, signature, own):
        return Check("signature", "fail", (f"{SIGNATURE} or {KEY} was changed",))
    told = f"it says to be by {signing.fingerprint(own)}; --public-key KEY.pem proves by whom"
    return Check("signature", "skipped", (told,))


# ---------------------------------------------------------------- the model and its contract


def _shipped(files: Files, manifest: Manifest) -> bytes:
    return next(iter(targets.target(manifest.target).find_models(files).values()))


def _check_contents(files: Files, manifest: Manifest) -> list[Check]:
    if manifest.target not in targets.NAMES:
        raise PackageError(
            f"The package is for {manifest.target!r}; this edgeq knows {', '.join(targets.NAMES)}.",
            hint="Upgrade edgeq: pip install -U edgeq",
        )
    models = targets.target(manifest.target).find_models(files)
    wanted = str(manifest.contract["model"]["sha256"])
    others = [
        f"{path} is another model than the manifest's: sha256 {_sha256(content)[:12]} against "
        f"{wanted[:12]}"
        for path, content in models.items()
        if _sha256(content) != wanted
    ]
    checks = [_outcome("model", others, f"in {', '.join(models)}: sha256 {wanted[:12]}")]
    if not others:
        model = next(iter(models.values()))
        checks += [*_check_records(model, files, manifest), _check_contract(model, manifest)]
    return checks


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _check_records(model: bytes, files: Files, manifest: Manifest) -> list[Check]:
    """Whether the shipped file, its metadata apart, is the one that the records are about, and the
    gate said what the manifest says.
    """
    problems = []
    if manifest.measured_sha256 not in (_sha256(model), _sha256(without_metadata(model))):
        problems.append(
            f"what ships is not what was measured (sha256 {manifest.measured_sha256[:12]})"
        )
    records = []
    for path in manifest.records:
        try:
            records.append(parse_record(files[path], path))
        except EdgeqError as error:
            problems.append(error.message)
    problems += [
        f"{record.path} is about another model"
        for record in records
        if manifest.measured_sha256 not in digests_of(record)
    ]
    count = len(manifest.records)
    good = f"it is the file that {count} records are about" if count else "no record is inside"
    return [_outcome("measured", problems, good), _check_gate(manifest, read_gates(records))]


def _check_gate(manifest: Manifest, recorded: GateVerdict) -> Check:
    gate = manifest.gate
    if gate != recorded:
        return Check(
            "gate", "fail", (f"the manifest says {gate.word}, its record {recorded.word}",)
        )
    if gate.word == "none":
        return Check("gate", "skipped", ("no gate judged the model",))
    if gate.is_forced:
        reasons = gate.reasons or ("no reason was kept",)
        return Check("gate", "fail", tuple(f"packaged by force: {reason}" for reason in reasons))
    return Check("gate", "pass", (f"passed, by {gate.policy}",))


def _check_contract(model: bytes, manifest: Manifest) -> Check:
    """Whether scales, shapes and labels in the manifest are the model's own."""
    given = manifest.contract
    try:
        labels = {
            str(item["spec"]["name"]): tuple(item["labels"])
            for item in given["outputs"]
            if item["labels"]
        }
        own = read_contract(model, manifest, labels)
    except (EdgeqError, KeyError, TypeError) as error:
        return Check("contract", "fail", (str(error),))
    plain = plain_contract(own)
    different = [key for key in plain if plain[key] != given.get(key)]
    problems = [f"{key} in the manifest is not what the model says" for key in different]
    return _outcome("contract", problems, "dtypes, shapes, scales and labels are the model's own")


def read_contract(
    model: bytes, manifest: Manifest, labels: Mapping[str, Sequence[str]]
) -> Contract:
    """The contract of the model's bytes, by the manifest's names."""
    with tempfile.TemporaryDirectory(prefix="edgeq-") as folder:
        path = Path(folder) / str(manifest.contract["model"]["path"])
        path.write_bytes(model)
        return make_contract(
            path,
            name=manifest.name,
            version=manifest.version,
            labels=labels,
            preprocess=manifest.preprocess,
        )


# ---------------------------------------------------------------- golden vectors


def _check_inputs(model: bytes, manifest: Manifest, golden: Golden) -> Check:
    """Whether preprocessing the raw samples anew gives the tensors that are inside."""
    contract = read_contract(model, manifest, {})
    problems = []
    for vector in golden.vectors:
        made = prepare(contract, vector)
        problems += [
            f"sample {vector.index}: preprocessing gives another {name!r}"
            for name, array in made.items()
            if not np.array_equal(array, vector.inputs[name])
        ]
    count = len(golden.vectors)
    return _outcome("inputs", problems, f"{count} raw samples give the tensors inside, exactly")


def _run_golden(
    model: bytes, golden: Golden, device: Device, name: str, on_event: OnEvent
) -> Check:
    """The vectors on one device."""
    label = f"golden vectors on {name}"
    inputs = {
        key: np.concatenate([vector.inputs[key] for vector in golden.vectors])
        for key in golden.vectors[0].inputs
    }
    with tempfile.TemporaryDirectory(prefix="edgeq-") as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(model)
        try:
            (found,) = measure.infer([path], iter([[inputs]]), device, on_event=on_event)
        except EdgeqError as error:
            return Check(label, "fail", (error.message,))
    problems = []
    for place, vector in enumerate(golden.vectors):
        own = {key: array[place : place + 1] for key, array in found[0].items()}
        problems += check_vector(vector, own, golden.tolerances)
    exact = sum(
        all(np.array_equal(found[0][key][place : place + 1], array)
            for key, array in vector.outputs.items())
        for place, vector in enumerate(golden.vectors)
    )  # fmt: skip
    count = len(golden.vectors)
    return _outcome(label, problems, f"{count} of {count} within tolerance, {exact} exact")
