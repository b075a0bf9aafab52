"""Check that a package is sound, and that a device computes the measured outputs.

Nothing in a package is executed: files are digested, the model is read as data, and only the
TensorFlow Lite interpreter runs it (and tflite-micro, to make the code of `c` again). A confined
child makes the checks (`all_checks.py`); its requests and its result go through here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeq.children.foreign import Reader
from edgeq.errors import UnjudgedPackageError
from edgeq.packaging.verification.checks import SIGNATURE_CHECK, UNSIGNED, Check
from edgeq.progress import OnProgress, quiet
from edgeq.values.showing import bounded

if TYPE_CHECKING:
    from edgeq.packaging.container.manifest import Manifest


@bounded
@dataclass(frozen=True)
class Verification:
    """All checks of a package.

    Attributes:
        path: of the package.
    """

    path: str
    manifest: Manifest
    checks: tuple[Check, ...]

    @property
    def verdict(self) -> str:
        """The word "fail" when a check failed, "cannot-tell" when one was impossible, or "pass"."""
        found = {check.verdict for check in self.checks}
        return next((word for word in ("fail", "cannot-tell") if word in found), "pass")

    @property
    def is_sound(self) -> bool:
        """Whether the verdict is "pass"; skipped checks are not proven, see `conclusion`."""
        return self.verdict == "pass"

    @property
    def conclusion(self) -> str:
        """The proven and the unproven, in a few words."""
        names = [check.name for check in self.checks if check.verdict == self.verdict]
        if self.verdict == "fail":
            return f"do not ship {self.path}: {', '.join(names)} failed."
        if self.verdict == "cannot-tell":
            return f"nothing failed in {self.path}, but not judged: {', '.join(names)}."
        open_ = [check.name for check in self.checks if check.verdict == "skipped"]
        rest = ", ".join(name for name in open_ if name != SIGNATURE_CHECK)
        unproven = f" Skipped: {rest}." if rest else ""
        if SIGNATURE_CHECK in open_:
            why = "its signature was not checked with a --public-key"
            if any(check.detail == (UNSIGNED,) for check in self.checks):
                why = "it is unsigned"
            return f"{self.path} is consistent; {why}, so anybody can have made it.{unproven}"
        what = "what its signer packaged" if "measured" in open_ else "what was measured"
        return f"{self.path} is {what}.{unproven}"


def verify_package(
    path: str | Path,
    *,
    devices: str | Sequence[str] = ("local",),
    python: str | Path | None = None,
    public_key: str | Path | None = None,
    runs: bool = True,
    on_progress: OnProgress = quiet,
) -> Verification:
    """Check a package, and run its golden vectors on devices.

    Args:
        path: folder or `.zip`.
        devices: as for `bench`; without one, nothing is proven about the vectors.
        python: interpreter for the device `local`.
        public_key: the package must be signed with it; without one, a signature proves nothing and
            is only mentioned.
        runs: whether to run the model at all.
        on_progress: called with the progress of runs.

    Raises:
        DamagedPackageError: it is not a package, or too damaged to check.
        UnjudgedPackageError: it cannot be opened, was made by a newer version of edgeq, or the
            child that checks it crashes.
        UsageError: an unusable key, or an unknown device.
    """
    source = Path(path)
    with Reader("edgeq.packaging.verification.all_checks", source, UnjudgedPackageError) as child:
        # The child has as much to import, at the same time.
        from edgeq.device_runners.devices.addresses import resolve_device
        from edgeq.device_runners.devices.device import events_as_progress
        from edgeq.files.reading import listed
        from edgeq.packaging.container import signing
        from edgeq.packaging.verification import requests
        from edgeq.packaging.verification.answers import Answerer

        own = None if python is None else Path(python)
        key = None
        if public_key is not None:
            key = signing.public_pem(signing.read_public_key(Path(public_key))).decode()
        opened = {
            name: resolve_device(name, own if name == "local" else None) for name in listed(devices)
        }
        child.send(requests.Job(str(source), key, tuple(opened) if runs else None))
        wanted = tuple(opened.values()) if runs else None
        answerer = Answerer(wanted, events_as_progress(on_progress))
        while not isinstance(reply := child.receive(requests.FromChild), requests.Judged):
            try:
                child.send(answerer.answer(reply))
            except ValueError as error:
                raise child.nonsense(error) from error
    return Verification(str(source), reply.manifest, reply.checks)
