"""Whether a package is what it says, and whether a device computes what was measured.

Nothing in a package is executed: files are digested, the model is read as data, and only the
TensorFlow Lite interpreter runs it (and tflite-micro, to make the code of `c` again).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edgeq import scratch
from edgeq.device_runners import measure
from edgeq.device_runners.board import BoardDevice
from edgeq.device_runners.device import Device, OnEvent, events_as_progress, resolve_device
from edgeq.errors import DataError, DeviceError, EdgeqError, MissingExtraError, UsageError
from edgeq.packaging import contents, signing
from edgeq.packaging.checks import Check, outcome, skipped
from edgeq.packaging.golden import check_vector
from edgeq.packaging.manifest import KEY, SIGNATURE, SUMS, Manifest
from edgeq.packaging.reading import Opened, open_package
from edgeq.packaging.remaking import check_code
from edgeq.packaging.values import Files, Golden

OnProgress = Callable[[str, int, int | None], None]

_REST = skipped("the rest", "not looked at: what failed comes first")
_SIGNATURE, _UNSIGNED = "signature", "not signed"


@dataclass(frozen=True)
class Verification:
    """All checks of a package.

    Attributes:
        verdict: "fail" when a check failed, else "cannot-tell" when one could not be made, else
            "pass".
        is_sound: whether the verdict is "pass"; what was skipped is not proven, see `conclusion`.
        conclusion: what is proven and what is not, in a few words.
    """

    path: str
    manifest: Manifest
    checks: tuple[Check, ...]

    @property
    def verdict(self) -> str:
        """See the class."""
        found = {check.verdict for check in self.checks}
        return next((word for word in ("fail", "cannot-tell") if word in found), "pass")

    @property
    def is_sound(self) -> bool:
        """See the class."""
        return self.verdict == "pass"

    @property
    def conclusion(self) -> str:
        """See the class."""
        names = [check.name for check in self.checks if check.verdict == self.verdict]
        if self.verdict == "fail":
            return f"do not ship {self.path}: {', '.join(names)} failed."
        if self.verdict == "cannot-tell":
            return f"nothing failed in {self.path}, but not judged: {', '.join(names)}."
        open_ = [check.name for check in self.checks if check.verdict == "skipped"]
        rest = ", ".join(name for name in open_ if name != _SIGNATURE)
        unproven = f" Not proven: {rest}." if rest else ""
        if _SIGNATURE in open_:
            is_signed = all(check.detail != (_UNSIGNED,) for check in self.checks)
            why = (
                "its signature was held against no --public-key" if is_signed else "it is unsigned"
            )
            return f"{self.path} agrees with itself; {why}, so anybody can have made it.{unproven}"
        what = "what its signer packaged" if "measured" in open_ else "what was measured"
        return f"{self.path} is {what}.{unproven}"


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

    What its bytes or its signature belie is not looked into.

    Args:
        devices: as for `bench`; on none, nothing is proven of the vectors.
        python: interpreter on this machine.
        public_key: that it must be signed with; without one, a signature proves nothing and is only
            mentioned.
        runs: whether to run the model at all.

    Raises:
        DamagedPackageError: it is no package, or damaged so that nothing of it can be told.
        UnjudgedPackageError: it cannot be opened, or is of a newer edgeq.
        UsageError: an unusable key, or an unknown device.
    """
    source = Path(path)
    key = None if public_key is None else signing.read_public_key(public_key)
    opened = [resolve_device(name, python if name == "local" else None) for name in devices]
    package = open_package(source)
    count = len(package.manifest.files)
    checks = [
        outcome("files", package.damage, f"{count} files are what the manifest says"),
        _check_signature(package.files, key),
    ]
    if any(check.verdict == "fail" for check in checks):
        return Verification(str(source), package.manifest, (*checks, _REST))
    is_vouched_for = checks[-1].verdict == "pass"
    wanted = dict(zip(devices, opened, strict=True)) if runs else None
    events = events_as_progress(on_progress)
    checks += _check_contents(package, is_vouched_for, wanted, events)
    return Verification(str(source), package.manifest, tuple(checks))


def _check_contents(
    package: Opened, is_vouched_for: bool, devices: dict[str, Device] | None, on_event: OnEvent
) -> Iterator[Check]:
    """Each check in turn, as far as those before allow."""
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
    runs = devices is not None
    yield check_code(files, manifest, contract, model, golden, records, runs=runs)
    if not devices:
        yield skipped("golden vectors", "not run, as was asked")
        return
    for name, device in devices.items():
        try:
            yield _run_golden(model, golden, device, name, on_event)
        finally:
            if isinstance(device, BoardDevice):
                device.close()


def _check_signature(files: Files, key: Ed25519PublicKey | None) -> Check:
    signature = files.get(SIGNATURE)
    if signature is None and KEY in files:
        told = f"{KEY} is inside, but no {SIGNATURE}: the signature was taken away"
        return Check(_SIGNATURE, "fail", (told,))
    if signature is None:
        whose = "" if key is None else f"; it should be, by the key {signing.fingerprint(key)}"
        return Check(_SIGNATURE, "skipped" if key is None else "fail", (f"{_UNSIGNED}{whose}",))
    sums = files.get(SUMS, b"")
    if key is not None:
        whose = f"the key {signing.fingerprint(key)}"
        problems = []
        if not signing.is_signed(sums, signature, key):
            problems.append(f"{SIGNATURE} is not by {whose} over {SUMS}")
        if files.get(KEY) != signing.public_pem(key):
            problems.append(f"{KEY} is not {whose}")
        return outcome(_SIGNATURE, problems, f"by {whose}")
    try:
        own = signing.parse_public_key(files.get(KEY, b""), KEY)
    except UsageError as error:
        return Check(_SIGNATURE, "fail", (error.message,))
    if not signing.is_signed(sums, signature, own):
        return Check(_SIGNATURE, "fail", (f"{SIGNATURE} or {KEY} was changed",))
    told = f"it says to be by {signing.fingerprint(own)}; --public-key KEY.pem proves by whom"
    return Check(_SIGNATURE, "skipped", (told,))


# ---------------------------------------------------------------- golden vectors


def _run_golden(
    model: bytes, golden: Golden, device: Device, name: str, on_event: OnEvent
) -> Check:
    """The vectors on one device."""
    label = f"golden vectors on {name}"
    inputs = {
        key: np.concatenate([vector.inputs[key] for vector in golden.vectors])
        for key in golden.vectors[0].inputs
    }
    with scratch.folder() as folder:
        path = folder / "model.tflite"
        path.write_bytes(model)
        try:
            (found,) = measure.infer([path], iter([[inputs]]), device, on_event=on_event)
        except (DeviceError, MissingExtraError) as error:
            return Check(label, "cannot-tell", (error.message,))
        except EdgeqError as error:
            return Check(label, "fail", (error.message,))
    problems = []
    for place, vector in enumerate(golden.vectors):
        own = {key: array[place : place + 1] for key, array in found[0].items()}
        try:
            problems += check_vector(vector, own, golden.tolerances)
        except DataError as error:
            return Check(label, "fail", (error.message,))
    exact = sum(
        all(np.array_equal(found[0][key][place : place + 1], array)
            for key, array in vector.outputs.items())
        for place, vector in enumerate(golden.vectors)
    )  # fmt: skip
    count = len(golden.vectors)
    return outcome(label, problems, f"{count} of {count} within tolerance, {exact} exact")
