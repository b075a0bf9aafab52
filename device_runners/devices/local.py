"""This machine as a device: the agent in a child process of any Python interpreter."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeq import host
from edgeq.children import sandbox
from edgeq.children.child import Child, warn_of
from edgeq.device_runners.devices.device import (
    Device,
    OnEvent,
    agent_file,
    complete,
    read_event,
    read_facts,
)
from edgeq.device_runners.on_board.agent.facts import machine_facts
from edgeq.errors import DeviceError, UsageError
from edgeq.values import DeviceFacts

_FACTS_DEADLINE_S = 60.0


def open_device(place: str, _name: str, python: str | None) -> LocalDevice:
    """This machine, with the interpreter in its address or the one beside it.

    Raises:
        UsageError: both are given.
    """
    if place and python is not None:
        raise UsageError(f"--device local:{place} and --python {python} name two interpreters.")
    chosen = place or python
    return LocalDevice(None if chosen is None else Path(chosen))


class LocalDevice(Device):
    """This machine.

    Args:
        python: interpreter for the agent; the one that runs edgeq by default.
        grace_s: how long after its own deadline an agent may still write its result.
    """

    def __init__(self, python: Path | None = None, *, grace_s: float = 30.0):
        self.name = "local" if python is None else f"local:{python}"
        self.python = None if python is None else str(python)
        self._python = str(python or sys.executable)
        self._grace_s = grace_s
        self._facts: DeviceFacts | None = None

    def facts(self) -> DeviceFacts:
        """The agent's facts; for this interpreter, from this process."""
        if self._facts is None and self._python == sys.executable:
            self._facts = read_facts(self.name, machine_facts())
        if self._facts is None:
            lines = self._start(["facts"], None, _FACTS_DEADLINE_S)
            try:
                self._facts = read_facts(self.name, json.loads(lines[-1]))
            except (IndexError, ValueError, TypeError, KeyError) as error:
                raise DeviceError(f"{self._python} did not answer like a Python 3.8+.") from error
        return self._facts

    def run(
        self,
        job: Mapping[str, Any],
        files: Mapping[str, Path],
        folder: Path,
        *,
        on_event: OnEvent | None = None,
        deadline_s: float | None = None,
    ) -> dict[str, Any]:
        """Run one job of the agent; its files are linked, not copied, if the system can."""
        _write_job(job, files, folder, deadline_s)
        warn_of(sandbox.missing())  # for the agent's workers, which open the models
        # The agent keeps its own deadline; ours is for an agent that hangs itself.
        patience = None if deadline_s is None else deadline_s + self._grace_s
        self._do(folder, on_event, patience)
        result: dict[str, Any] = json.loads((folder / "result.json").read_text("utf-8"))
        return result

    def _do(self, folder: Path, on_event: OnEvent | None, deadline_s: float | None) -> None:
        """Have an agent do the job in a folder.

        Raises:
            DeviceError: the agent fails, or does not end in time.
        """
        lines = self._start(["run", str(folder)], on_event, deadline_s)
        if not lines or (read_event(lines[-1]) or {}).get("event") != "end":
            raise DeviceError("The agent stopped before the end of its job.", hint="Run it again.")

    def _start(
        self, arguments: list[str], on_event: OnEvent | None, deadline_s: float | None
    ) -> list[str]:
        """Run the agent to its end; returns its lines.

        Raises:
            DeviceError: it cannot be started, fails, or does not end in time.
        """
        with agent_file() as path:
            try:
                # Not confined: it reads no model, and starts workers, which are.
                child = Child(
                    [str(path), *arguments],
                    folders=None,
                    python=self._python,
                    output="pipe",
                    deadline_s=deadline_s,
                )
            except OSError as error:
                raise DeviceError(
                    f"Cannot start {self._python}: {error.strerror or error}.",
                    hint="Pass --python with the path of a Python interpreter.",
                ) from error
            with child:
                lines = []
                for line in child.lines():
                    lines.append(line)
                    event = read_event(line)
                    if on_event is not None and event is not None:
                        on_event(event)
                if child.wait() != 0 or child.is_late:
                    raise explain(self._python, child, deadline_s)
        return lines


def _write_job(
    job: Mapping[str, Any], files: Mapping[str, Path], folder: Path, deadline_s: float | None
) -> None:
    """Write a job into its folder, with its files; an older result is removed."""
    for name, path in files.items():
        (folder / name).unlink(missing_ok=True)
        host.copy_or_link(path.resolve(), folder / name)
    (folder / "result.json").unlink(missing_ok=True)
    (folder / "job.json").write_bytes(json.dumps(complete(job, deadline_s)).encode())


def explain(python: str, child: Child, deadline_s: float | None) -> DeviceError:
    """Return the error for an agent that failed, or did not end in time."""
    output = child.log()
    if child.is_late:
        return DeviceError(
            f"The agent under {python} did not end within {deadline_s:g} s and was killed.",
            details=output or None,
        )
    if "No module named 'numpy'" in output:
        return DeviceError(
            f"{python} has no numpy, which the agent needs.",
            hint=f"Install it with: {shlex.quote(python)} -m pip install ai-edge-litert",
            details=output,
        )
    return DeviceError(
        f"The agent under {python} {child.ending}: {child.last_line()}", details=output
    )
