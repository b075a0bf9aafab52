"""This machine as a device: the agent in a child process of any Python interpreter."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeq.device_runners import agent
from edgeq.device_runners.device import OnEvent
from edgeq.errors import DeviceError
from edgeq.values import DeviceFacts, RuntimeInfo

_FACTS_DEADLINE_S = 60.0


class LocalDevice:
    """See `device.Device`.

    Args:
        python: interpreter for the agent; the one that runs edgeq by default.
    """

    def __init__(self, python: Path | None = None):
        self.name = "local" if python is None else f"local:{python}"
        self._python = str(python or sys.executable)
        self._facts: DeviceFacts | None = None

    def facts(self) -> DeviceFacts:
        """See `device.Device`; asked once."""
        if self._facts is None:
            lines = self._start(["facts"], None, _FACTS_DEADLINE_S)
            try:
                self._facts = read_facts(self.name, json.loads(lines[-1]))
            except (IndexError, ValueError) as error:
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
        """See `device.Device`; input files are linked into the job's folder, not copied."""
        for name, path in files.items():
            link = folder / name
            if not link.exists():
                link.symlink_to(path.resolve())
        (folder / "job.json").write_text(json.dumps({**job, "deadline_s": deadline_s}))
        # The agent keeps its own deadline; ours is for an agent that hangs itself.
        patience = None if deadline_s is None else deadline_s + 30
        lines = self._start(["run", str(folder)], on_event, patience)
        if not lines or json.loads(lines[-1]).get("event") != "end":
            raise DeviceError("The agent stopped before the end of its job.", hint="Run it again.")
        result: dict[str, Any] = json.loads((folder / "result.json").read_text())
        return result

    def _start(
        self, arguments: list[str], on_event: OnEvent | None, deadline_s: float | None
    ) -> list[str]:
        """Run the agent to its end; returns its lines.

        Raises:
            DeviceError: it cannot be started, fails, or does not end in time.
        """
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        with tempfile.TemporaryFile() as errors:
            try:
                child = subprocess.Popen(
                    [self._python, str(Path(agent.__file__).resolve()), *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env=environment,
                    start_new_session=True,
                    text=True,
                )
            except OSError as error:
                raise DeviceError(
                    f"Cannot start {self._python}: {error.strerror or error}.",
                    hint="Pass --python with the path of a Python interpreter.",
                ) from error
            lines = _read_lines(child, on_event, deadline_s)
            if child.returncode != 0:
                errors.seek(0)
                raise _explain(self._python, child.returncode, errors.read().decode("utf-8"))
        return lines


def _read_lines(
    child: subprocess.Popen[str], on_event: OnEvent | None, deadline_s: float | None
) -> list[str]:
    """The child's lines until it ends; its whole process group is gone afterwards."""

    def kill() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)

    alarm = None if deadline_s is None else threading.Timer(deadline_s, kill)
    if alarm is not None:
        alarm.start()
    lines = []
    assert child.stdout is not None
    try:
        for line in child.stdout:
            lines.append(line)
            if on_event is not None and line.startswith("{"):
                on_event(json.loads(line))
        child.wait()
    finally:
        if alarm is not None:
            alarm.cancel()
        kill()
        child.wait()
        child.stdout.close()
    return lines


def _explain(python: str, status: int, output: str) -> DeviceError:
    how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with {status}"
    if "No module named 'numpy'" in output:
        return DeviceError(
            f"{python} has no numpy, which the agent needs.",
            hint=f"Install it with: {python} -m pip install ai-edge-litert",
            details=output,
        )
    last = output.strip().splitlines()[-1:] or ["it printed nothing"]
    return DeviceError(f"The agent under {python} {how}: {last[0]}", details=output)


def read_facts(name: str, plain: Mapping[str, Any]) -> DeviceFacts:
    """The agent's facts as a value."""
    return DeviceFacts(
        device=name,
        system=plain["system"],
        machine=plain["machine"],
        cpu_model=plain["cpu_model"],
        core_count=plain["core_count"],
        memory_bytes=plain["memory_bytes"],
        governor=plain["governor"],
        python=plain["python"],
        runtimes=tuple(RuntimeInfo(item["name"], item["version"]) for item in plain["runtimes"]),
    )
