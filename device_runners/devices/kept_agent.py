"""This machine with an agent that stays for many jobs, and its workers, too.

A start of the agent and two workers takes half a second of processor time. A conversion has several
jobs, and its first one comes when the workers have long imported the runtime.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from edgeq.children import sandbox
from edgeq.children.child import Child, warn_of
from edgeq.device_runners.devices.device import OnEvent, agent_file, read_event
from edgeq.device_runners.devices.local import LocalDevice, read_result, write_job
from edgeq.errors import DeviceError
from edgeq.files import scratch


class KeptAgent(LocalDevice):
    """This machine, while a `with` block lasts; its workers may write in the folder of all jobs."""

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()

    def __enter__(self) -> KeptAgent:
        with ExitStack() as stack:
            self._root = stack.enter_context(scratch.folder()).resolve()
            agent = stack.enter_context(agent_file())
            warn_of(sandbox.missing())  # for the agent's workers, which open the models
            command = [str(agent), "keep", str(self._root)]
            self._child = stack.enter_context(
                Child(command, folders=None, feed=True, output="pipe")
            )
            plan = {
                "sandbox": Path(sandbox.__file__).read_text("utf-8"),
                "runtime": None,
                "workers": os.cpu_count() or 1,
            }
            self._child.send(json.dumps(plan))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A folder for a job, in the one that the workers are confined to."""
        with tempfile.TemporaryDirectory(dir=self._root, ignore_cleanup_errors=True) as name:
            yield Path(name)

    def run(
        self,
        job: Mapping[str, Any],
        files: Mapping[str, Path],
        folder: Path,
        *,
        on_event: OnEvent | None = None,
        deadline_s: float | None = None,
    ) -> dict[str, Any]:
        """Run one job of the agent, in a folder from `folder`."""
        write_job(job, files, folder, deadline_s)
        self._child.send(str(folder))
        for line in self._child.lines():
            event = read_event(line) or {}
            if event.get("event") == "end":
                return read_result(folder)
            if on_event is not None and event:
                on_event(event)
        self._child.wait()
        raise DeviceError(
            f"The agent {self._child.ending} before the end of its job.",
            hint="Run the command again.",
            details=self._child.log() or None,
        )
