"""This machine with an agent that stays for many jobs, and its workers, too.

A start of the agent and two workers takes half a second of processor time. A conversion has several
jobs, and its first one comes when the workers have long imported the runtime.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from edgeq import host
from edgeq.children import sandbox
from edgeq.children.child import Child
from edgeq.device_runners.devices.device import OnEvent, agent_file, read_event
from edgeq.device_runners.devices.local import LocalDevice, explain
from edgeq.errors import DeviceError
from edgeq.files import scratch


class KeptAgent(LocalDevice):
    """This machine, while a `with` block lasts; its workers may write in the folder of all jobs.

    Args:
        grace_s: see `LocalDevice`.
    """

    def __init__(self, *, grace_s: float = 30.0) -> None:
        super().__init__(grace_s=grace_s)
        self._stack = ExitStack()

    def __enter__(self) -> KeptAgent:
        with ExitStack() as stack:
            self._root = stack.enter_context(scratch.folder()).resolve()
            agent = stack.enter_context(agent_file())
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
        made = Path(tempfile.mkdtemp(dir=self._root))
        try:
            yield made
        finally:
            host.remove_tree(made)

    def _do(self, folder: Path, on_event: OnEvent | None, deadline_s: float | None) -> None:
        self._child.send(json.dumps(str(folder)))  # ASCII, whatever the path is
        with self._child.limited(deadline_s):
            for line in self._child.lines():
                event = read_event(line) or {}
                if event.get("event") == "end":
                    return
                if on_event is not None and event:
                    on_event(event)
            self._child.wait()
        if self._child.is_late:
            raise explain(self._python, self._child, deadline_s)
        raise DeviceError(
            f"The agent {self._child.ending} before the end of its job.",
            hint="Run the command again.",
            details=self._child.log() or None,
        )
