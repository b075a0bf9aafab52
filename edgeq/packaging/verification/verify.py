"""Whether a package is what it says, and whether a device computes what was measured.

Nothing in a package is executed: files are digested, the model is read as data, and only the
TensorFlow Lite interpreter runs it (and tflite-micro, to make the code of `c` again). A confined
child looks at all of it (`proving.py`); what it must ask for, and its answer, go through here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeq.children.foreign import Reader
from edgeq.errors import UnjudgedPackageError
from edgeq.packaging.verification.checks import OF_SIGNATURE, UNSIGNED, Check
from edgeq.progress import OnProgress, quiet

if TYPE_CHECKING:
    from edgeq.packaging.container.manifest import Manifest


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
        rest = ", ".join(name for name in open_ if name != OF_SIGNATURE)
        unproven = f" Not proven: {rest}." if rest else ""
        if OF_SIGNATURE in open_:
            is_signed = all(check.detail != (UNSIGNED,) for check in self.checks)
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
    on_progress: OnProgress = quiet,
) -> Verification:
    """Check a package, and run its golden vectors on devices.

    Args:
        devices: as for `bench`; on none, nothing is proven of the vectors.
        python: interpreter on this machine.
        public_key: that it must be signed with; without one, a signature proves nothing and is only
            mentioned.
        runs: whether to run the model at all.

    Raises:
        DamagedPackageError: it is no package, or damaged so that nothing of it can be told.
        UnjudgedPackageError: it cannot be opened, is of a newer edgeq, or whoever looks at it dies.
        UsageError: an unusable key, or an unknown device.
    """
    source = Path(path)
    with Reader("edgeq.packaging.verification.all_checks", source, UnjudgedPackageError) as child:
        # The child has as much to import, at the same time.
        from edgeq.device_runners.devices.addresses import resolve_device
        from edgeq.device_runners.devices.device import events_as_progress
        from edgeq.packaging.verification import requests
        from edgeq.packaging.verification.answers import Answerer

        key = None if public_key is None else _read_key(public_key)
        opened = {
            name: resolve_device(name, python if name == "local" else None) for name in devices
        }
        child.send(requests.Job(str(source), key, tuple(opened) if runs else None))
        wanted = tuple(opened.values()) if runs else None
        answerer = Answerer(wanted, events_as_progress(on_progress))
        while not isinstance(told := child.receive(requests.Told), requests.Judged):
            try:
                child.send(answerer.answer(told))
            except ValueError as error:
                raise child.nonsense(error) from error
    return Verification(str(source), told.manifest, told.checks)


def _read_key(path: Path) -> str:
    from edgeq.packaging.container import signing

    return signing.public_pem(signing.read_public_key(path)).decode()
