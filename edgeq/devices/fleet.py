"""Several devices at the same time, one result set; one that dies does not stop the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any

from msgspec import Meta

from edgeq.device_runners.devices.addresses import resolve_device
from edgeq.errors import EdgeqError, UsageError
from edgeq.progress import OnProgress
from edgeq.values.showing import Shown, bounded

# One run on a device with this name, and with this progress.
Work = Callable[[str, OnProgress], Any]


@bounded
@dataclass(frozen=True)
class FleetEntry:
    """The result of one device.

    Attributes:
        device: as the user names it.
        result: of the run, None when it failed.
        error: why it failed.
        hint: what to do.
    """

    device: str
    result: Any
    error: str | None = None
    hint: str | None = None

    def __post_init__(self) -> None:
        if (self.result is None) == (self.error is None):
            raise ValueError("a device has either a result or an error")


@bounded
@dataclass(frozen=True)
class Fleet(Shown):
    """The same run on several devices.

    Attributes:
        verb: whose results these are: "bench", "eval" or "compare".
    """

    verb: Annotated[str, Meta(pattern=r"^(bench|eval|compare)$(?!\n)")]
    entries: Annotated[tuple[FleetEntry, ...], Meta(min_length=1)]

    @property
    def is_complete(self) -> bool:
        """Whether every device gave a result."""
        return all(entry.error is None for entry in self.entries)


class _StoppedError(BaseException):
    """Ctrl-C elsewhere: ends a run from inside its own thread, where it can clean up."""


def split_names(given: Sequence[str]) -> tuple[str, ...]:
    """Devices from repeated and comma-separated options, each once.

    Raises:
        UsageError: an unknown form, or none at all.
    """
    names = tuple(dict.fromkeys(name for text in given for name in text.split(",") if name))
    if not names:
        raise UsageError("--device names nothing.")
    for name in names:
        resolve_device(name)
    return names


def run_fleet(verb: str, names: Sequence[str], work: Work, on_progress: OnProgress) -> Fleet:
    """Run on all devices at once.

    Args:
        work: raises EdgeqError when its device fails.
        on_progress: called with "device: step", from several threads.
    """
    stopped = threading.Event()

    def run(name: str) -> FleetEntry:
        def show(step: str, done: int, total: int | None) -> None:
            if stopped.is_set():
                raise _StoppedError
            on_progress(f"{name}: {step}", done, total)

        try:
            return FleetEntry(name, work(name, show))
        except EdgeqError as error:
            return FleetEntry(name, None, error.message, error.hint)

    with ThreadPoolExecutor(len(names), thread_name_prefix="edgeq-fleet") as pool:
        try:
            return Fleet(verb, tuple(pool.map(run, names)))
        except BaseException:
            stopped.set()
            raise
