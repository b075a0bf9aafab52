"""What every device promises, and how a user's text names one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from edgeq.errors import UsageError
from edgeq.values import DeviceFacts

OnEvent = Callable[[dict[str, Any]], None]

KNOWN_FORMS = "local, local:/path/to/python"


class Device(Protocol):
    """A machine that can run the agent.

    A device only moves files and starts the agent; what is measured, and how, is the same
    everywhere and lives in `measure.py` and `agent.py`.
    """

    name: str

    def facts(self) -> DeviceFacts:
        """What the agent finds there.

        Raises:
            DeviceError: unreachable, or no usable Python.
        """

    def run(
        self,
        job: Mapping[str, Any],
        files: Mapping[str, Path],
        folder: Path,
        *,
        on_event: OnEvent | None = None,
        deadline_s: float | None = None,
    ) -> dict[str, Any]:
        """Run one job.

        Args:
            job: see `agent.py`; names files relative to the job's folder.
            files: name in the job to a local file elsewhere: the models, which are worth keeping
                on a board under their digest.
            folder: local folder with the job's other inputs, sent as they are; it receives the
                outputs. What a broken run left there is not computed again.
            on_event: called with each event of the agent, from this thread.
            deadline_s: the agent and its workers are killed when it passes.

        Returns:
            The content of the agent's `result.json`; output files are in `folder`.

        Raises:
            DeviceError: the agent could not be started, died, or ran out of time. A model that
                fails is no error here; the result says so.
        """


def resolve_device(text: str, python: Path | None = None) -> Device:
    """The device a user names.

    Args:
        text: one of `KNOWN_FORMS`.
        python: interpreter to run the agent with, for "local".

    Raises:
        UsageError: an unknown form, or two interpreters.
    """
    from edgeq.device_runners.local import LocalDevice

    kind, _, rest = text.partition(":")
    if kind != "local" or (":" in text and not rest):
        raise UsageError(f"Unknown device {text!r}; known forms are {KNOWN_FORMS}.")
    if rest and python is not None:
        raise UsageError(f"--device {text} and --python {python} name two interpreters.")
    return LocalDevice(Path(rest) if rest else python)
