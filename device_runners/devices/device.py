"""The interface of all devices, and the functions that they share."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from edgeq.children import sandbox
from edgeq.device_runners.links.adb_shell import Shell
from edgeq.device_runners.links.link import OnBytes
from edgeq.device_runners.on_board import bundle
from edgeq.errors import UsageError
from edgeq.files import scratch
from edgeq.values import CoreKind, DeviceFacts, RuntimeInfo

OnEvent = Callable[[dict[str, Any]], None]


class Device(ABC):
    """A machine that can run the agent.

    A device transfers files and starts the agent. What is measured, and how, is the same on every
    device: see `measuring/`.

    Attributes:
        name: as the user calls it, in messages and results.
        python: the interpreter there that the user named; None for the default.
        is_remote: whether files are sent over a link, into a cache that edgeq keeps there.
    """

    name: str
    python: str | None = None
    is_remote = False

    @abstractmethod
    def facts(self) -> DeviceFacts:
        """The agent's facts of the machine; the agent runs once.

        Raises:
            DeviceError: unreachable, or no usable Python.
        """

    @abstractmethod
    def run(
        self,
        job: Mapping[str, Any],
        files: Mapping[str, Path],
        folder: Path,
        *,
        on_event: OnEvent | None = None,
        deadline_s: float | None = None,
    ) -> dict[str, Any]:
        """Run one job of the agent.

        Args:
            job: see `on_board/agent/job.py`; it names files relative to the job's folder.
            files: name in the job to a local file elsewhere: the models, which a board keeps in
                its cache under their digest.
            folder: local folder with the job's other inputs, sent as they are; it receives the
                outputs. Outputs in it from a broken run are not computed again.
            on_event: called with each event of the agent, from this thread.
            deadline_s: the agent and its workers are killed when it passes.

        Returns:
            The content of the agent's `result.json`; output files are in `folder`.

        Raises:
            DeviceError: the agent could not be started, died, or ran out of time. If a model
                fails, that is not an error here: the result reports it.
        """

    def folder(self) -> AbstractContextManager[Path]:
        """A temporary local folder for a job's files."""
        return scratch.folder()

    def require_python(self) -> None:  # noqa: B027 - a phone alone may have none
        """Check that the agent can run there.

        Raises:
            DeviceError: there is no Python that can run it.
        """

    def tool_shell(self, program: str | None) -> Shell | None:
        """The shell that runs benchmark_model there; None if the agent measures instead.

        Args:
            program: benchmark_model, as the user named it; None if the user named none.

        Raises:
            UsageError: a program is named, and this device runs the agent only.
        """
        if program is not None:
            raise UsageError(
                f"--benchmark-model is only for devices behind adb, not for {self.name}.",
                hint="Remove it: edgeq's agent measures there.",
            )
        return None

    def installable(self) -> RuntimeInfo | None:
        """The runtime that `set_up` would bring there; None if there is none."""
        return None

    def set_up(self, runtime: str | None = None, on_event: OnEvent | None = None) -> str:
        """Make a private environment with a runtime there, unless there is one.

        Args:
            runtime: a name of `environment.RUNTIMES`; by default the first that has wheels for it.

        Returns:
            The environment's name.

        Raises:
            UsageError: an unknown runtime, or this machine.
            DeviceError: there are no wheels for the device, or they cannot be fetched or sent.
        """
        raise UsageError(
            f"{self.name} is this machine, and edgeq installs nothing on it.",
            hint="Install the runtime with pip: pip install ai-edge-litert",
        )

    def clean(self) -> int:
        """Delete edgeq's cache there, except what a running job needs; the bytes freed.

        Raises:
            UsageError: this machine.
            DeviceError: the device does not answer.
        """
        raise UsageError(f"{self.name} is this machine, and edgeq keeps nothing on it.")

    def close(self) -> None:  # noqa: B027 - this machine has no link
        """End the link, if there is one."""


def events_as_progress(on_progress: Callable[[str, int, int | None], None]) -> OnEvent:
    """The agent's events as progress steps; signs of life repeat the last one."""
    step, done, total = "start", 0, None

    def show(event: dict[str, Any]) -> None:
        nonlocal step, done, total
        if "step" in event:
            step, done, total = str(event["step"]), int(event["done"]), event.get("total")
        on_progress(step, done, total)

    return show


def complete(job: Mapping[str, Any], deadline_s: float | None) -> dict[str, Any]:
    """A job as an agent takes it: with its deadline, and the sandbox for its workers."""
    source = Path(sandbox.__file__).read_text("utf-8")
    return {**job, "deadline_s": deadline_s, "sandbox": source}


@contextmanager
def agent_file() -> Iterator[Path]:
    """The agent as one file that is there until the end of the block.

    It is in its own folder, where no sandboxed process may write.
    """
    with scratch.folder() as folder:
        path = folder / "agent.pyz"
        path.write_bytes(bundle.pack_agent())
        yield path


def read_event(line: str) -> dict[str, Any] | None:
    """An event line; None for anything else that was printed, or an incomplete line."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def upload_event(sent: int, total: int) -> dict[str, Any]:
    """Bytes of a file that arrived, as progress in kB."""
    kilobytes = -(-total // 1000)
    return {"event": "progress", "step": "upload, kB", "done": min(-(-sent // 1000), kilobytes),
            "total": kilobytes}  # fmt: skip


def upload_progress(path: Path, on_event: OnEvent | None) -> OnBytes:
    """Turns the bytes of a file, as they arrive, into events."""
    sent, total = 0, path.stat().st_size

    def count(size: int) -> None:
        nonlocal sent
        sent += size
        if on_event is not None:
            on_event(upload_event(sent, total))

    return count


def read_facts(name: str, plain: Mapping[str, Any]) -> DeviceFacts:
    """The agent's facts as a value."""
    throttling = plain["throttling"]
    same = ("system", "machine", "cpu_model", "core_count", "memory_bytes", "governor", "python",
            "release", "emulator", "available_bytes", "scratch_folder", "scratch_bytes",
            "energy_meter", "energy_refusal", "python_path", "numpy",
            "temperature_celsius")  # fmt: skip
    return DeviceFacts(
        device=name,
        runtimes=tuple(RuntimeInfo(item["name"], item["version"]) for item in plain["runtimes"]),
        cpu_features=tuple(plain["cpu_features"]),
        core_kinds=tuple(
            CoreKind(tuple(kind["numbers"]), kind["capacity"], kind["max_mhz"])
            for kind in plain["core_kinds"]
        ),
        throttling=None if throttling is None else tuple(throttling),
        throttled_before=tuple(plain["throttled_before"]),
        **{key: plain[key] for key in same},
    )
