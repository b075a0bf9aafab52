"""A board behind a link that may break: files go into its cache, the agent runs detached.

On the board the keeper (`on_board/keeper/`) answers; it is sent with each connection (`session.py`)
and leaves nothing running but the job.
"""

from __future__ import annotations

import contextlib
import io
import json
import secrets
import tarfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgeq.device_runners.devices import environment
from edgeq.device_runners.devices.device import (
    Device,
    OnEvent,
    agent_file,
    complete,
    read_event,
    read_facts,
    upload_progress,
)
from edgeq.device_runners.links.link import Link
from edgeq.device_runners.links.session import BoardRefusedError, Session
from edgeq.device_runners.on_board.agent.child import signal_name
from edgeq.device_runners.on_board.agent.job import PROTOCOL
from edgeq.device_runners.on_board.agent.runtimes import RUNTIMES
from edgeq.errors import DeviceError
from edgeq.files import scratch
from edgeq.values import DeviceFacts, RuntimeInfo

POLL_S = 2.0  # that the keeper waits for the next event
_CLEAN_UP_S = 10.0
_IMPORT_S = 300.0  # of a new runtime, from an SD card


class BoardDevice(Device):
    """A board, or whatever else a keeper answers on.

    Args:
        python: interpreter there that runs the agent; by default one of edgeq's own environments
            on the board, and then the board's python3.
        patience_s: for a broken link to come back during a run.
    """

    is_remote = True

    def __init__(
        self,
        name: str,
        connect: Callable[[], Link],
        *,
        python: str | None = None,
        patience_s: float = 180.0,
    ):
        self.name = name
        self.session = Session(name, connect, patience_s)
        self.python = python
        self._facts: DeviceFacts | None = None
        self._pythons: dict[str, str] = {}  # runtime to the interpreter that has it
        self._working: set[str] = set()  # names of environments there that have a runtime

    def facts(self) -> DeviceFacts:
        """The agent's facts, with the runtimes of all interpreters that edgeq may use there."""
        if self._facts is None:
            self._facts = read_facts(self.name, self._ask_all())
        return self._facts

    @property
    def sent_bytes(self) -> int:
        """Bytes of files that arrived there, and were not in the cache."""
        return self.session.sent_bytes

    def installable(self) -> RuntimeInfo | None:
        """The runtime that `set_up` would bring there; None if none has wheels for the board."""
        self.session.open()
        try:
            return environment.choose(self.name, self.session.hello, None)
        except DeviceError:
            return None

    def set_up(self, runtime: str | None = None, on_event: OnEvent | None = None) -> str:
        """Make an environment with one of edgeq's runtimes there, unless it exists; its name."""
        self.session.open()
        board = self.session.hello
        chosen = environment.choose(self.name, board, runtime)
        major, minor, _ = board["version"]
        name = f"{chosen.name}-{chosen.version}-cp{major}{minor}"
        if self.works(name):
            return name
        if on_event is not None:
            on_event({"event": "progress", "step": f"fetch {name}", "done": 0})
        with scratch.folder() as folder:
            environment.make_archive(chosen, board, folder / f"{name}.tar.gz")
            digest = self.upload(folder / f"{name}.tar.gz", on_event)
        self.session.call("remove_environment", name=name)  # if it exists, it is broken
        self.session.call("make_environment", name=name, archive=digest)
        self.forget_facts()
        self._require_import(chosen.name, name)
        return name

    def _require_import(self, runtime: str, name: str) -> None:
        """Delete an environment whose runtime cannot be imported, and report why."""
        job = {"protocol": PROTOCOL, "task": "check", "runtime": runtime}
        with scratch.folder() as folder:
            error = self.run(job, {}, folder, deadline_s=_IMPORT_S)["error"]
        if error is None:
            return
        self.session.call("remove_environment", name=name)
        self.forget_facts()
        raise DeviceError(
            f"{runtime} was brought to {self.name}, and cannot be imported there: "
            f"{str(error['message']).rstrip('.')}.",
            hint="Install what is missing there; of Python itself, all of the standard library "
            "(Debian: sudo apt install python3; Yocto: python3-modules).",
        )

    def works(self, environment: str) -> bool:
        """Whether one of edgeq's environments exists there, and has a runtime."""
        self.session.open()
        if environment not in self.session.hello["environments"]:
            return False
        self.facts()
        return environment in self._working

    def forget_facts(self) -> None:
        """Ask again next time: an environment was made or removed."""
        self._facts, self._pythons, self._working = None, {}, set()
        self.session.lose()

    def _ask_all(self) -> dict[str, Any]:
        self.session.open()
        hello = self.session.hello
        digest = self._send_agent()
        found = []
        for name in () if self.python else hello["environments"]:
            python = f"{hello['root']}/environments/{name}/bin/python3"
            try:
                facts = self.session.call("facts", python=python, agent=digest)
            except BoardRefusedError as error:
                # An upgrade of the board may break an environment; it is made again when needed.
                if error.code not in ("no_python", "agent_failed"):
                    raise
                continue
            if facts["runtimes"]:
                found.append((python, facts))
                self._working.add(name)
        python = self.python or hello["python"]
        found.append((python, self.session.call("facts", python=python, agent=digest)))
        runtimes = []
        for python, facts in found:
            for item in facts["runtimes"]:
                if item["name"] not in self._pythons and facts["numpy"] is not None:
                    self._pythons[item["name"]] = python
                    runtimes.append(item)
        order = [name for name, _, _ in RUNTIMES]
        runtimes.sort(key=lambda item: order.index(item["name"]))
        return {**found[0][1], "runtimes": runtimes}

    def _send_agent(self) -> str:
        with agent_file() as path:
            return self.session.send(path)

    def run(
        self,
        job: Mapping[str, Any],
        files: Mapping[str, Path],
        folder: Path,
        *,
        on_event: OnEvent | None = None,
        deadline_s: float | None = None,
    ) -> dict[str, Any]:
        """Run one job of the agent; it continues there while the link is broken."""
        self.facts()
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(6)}"
        try:
            digests = {item: self.upload(path, on_event) for item, path in files.items()}
            plain = complete(job, deadline_s)
            with scratch.folder() as place:
                _pack_inputs(folder, plain, files, place / "inputs.tar")
                inputs = self.upload(place / "inputs.tar", on_event)
            python = self._pythons.get(job["runtime"], self.python or self.session.hello["python"])
            self.session.call(
                "start", job=name, python=python, agent=self._send_agent(), files=digests,
                inputs=inputs,
            )  # fmt: skip
            self._follow(name, on_event)
            for output, item in self.session.call("outputs", job=name).items():
                self.session.fetch(item["path"], item["digest"], folder / output)
        except BaseException:
            self.session.lose()  # it may be in the middle of a reply
            raise
        finally:
            # Without a link, a later keeper there deletes the job after a week.
            with contextlib.suppress(DeviceError):
                self.session.call("finish", _CLEAN_UP_S, job=name)
        result: dict[str, Any] = json.loads((folder / "result.json").read_text("utf-8"))
        return result

    def upload(self, path: Path, on_event: OnEvent | None = None) -> str:
        """Bring a file into the board's cache, with progress; its digest."""
        return self.session.send(path, upload_progress(path, on_event))

    def _follow(self, name: str, on_event: OnEvent | None) -> None:
        """Pass events on until the job has ended.

        Raises:
            DeviceError: it ended early.
        """
        offset, last = 0, None
        while True:
            reply = self.session.call("poll", job=name, offset=offset, wait_s=POLL_S)
            offset = reply["offset"]
            if on_event is not None and not reply["events"]:
                on_event({"event": "alive"})  # a caller may want to stop here
            for line in reply["events"].splitlines():
                last = read_event(line) or last
                if on_event is not None and last is not None:
                    on_event(last)
            if reply["state"] != "running" and not reply["events"]:
                break
        if last is None or last.get("event") != "end" or reply.get("returncode") != 0:
            raise _post_mortem(self.name, reply)

    def clean(self) -> int:
        """Delete edgeq's cache there, unless something runs; the bytes that were freed."""
        self.session.open()
        freed: int = self.session.call("forget")
        self.forget_facts()
        return freed

    def close(self) -> None:
        """End the link."""
        self.session.lose()


def _pack_inputs(
    folder: Path, job: Mapping[str, Any], files: Mapping[str, Path], archive: Path
) -> None:
    """Pack the job and all files in its folder, except those that the cache has, as a tar file."""
    with tarfile.open(archive, "w") as tar:
        content = json.dumps(job).encode()
        entry = tarfile.TarInfo("job.json")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
        for path in sorted(folder.iterdir()):
            if path.name not in {*files, "job.json", "result.json"}:
                tar.add(path, path.name)


def _post_mortem(name: str, reply: Mapping[str, Any]) -> DeviceError:
    """The error for a job that ended early."""
    errors = str(reply.get("errors") or "")
    status = reply.get("returncode")
    if reply["state"] == "unknown" or (reply["state"] == "gone" and reply.get("rebooted")):
        return DeviceError(f"{name} was restarted during the run.", hint="Run it again.")
    if reply["state"] == "gone":
        return DeviceError(
            f"The run on {name} was killed, or {name} was restarted.",
            hint="Run it again; if it dies again, look at the board's memory with edgeq doctor.",
            details=errors,
        )
    if status is not None and status < 0:
        how = f"was killed by {signal_name(-status)}"
        extra = ", probably for lack of memory" if signal_name(-status) == "SIGKILL" else ""
        return DeviceError(f"The agent on {name} {how}{extra}.", details=errors)
    last = errors.strip().splitlines()[-1:] or ["it printed nothing"]
    return DeviceError(f"The agent on {name} ended with {status}: {last[0]}", details=errors)
