"""A board behind a connection that may break: files go into its cache, the agent runs detached.

What a connection is (SSH, adb) is a `Link`; all else is the same for each. On the board the keeper
(`keeper.py`) answers; it comes with the connection and leaves nothing running but the job.
"""

from __future__ import annotations

import contextlib
import io
import json
import secrets
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from edgeq import storage
from edgeq.device_runners import agent
from edgeq.device_runners.device import OnEvent
from edgeq.device_runners.local import read_facts
from edgeq.errors import DeviceError
from edgeq.values import DeviceFacts

OnBytes = Callable[[int], None]

POLL_S = 2.0  # that the keeper waits for the next event
_PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0)  # between attempts to connect again; the last one repeats
_CLEAN_UP_S = 10.0
_FEWEST_FREE_BYTES = 16 << 20


class LinkLostError(Exception):
    """The connection ended, or could not be made at this moment; a later one may work."""


class Link(Protocol):
    """One connection; once lost, it stays lost.

    Every method raises LinkLostError.
    """

    def ask(self, line: bytes) -> bytes:
        """Send one line to the keeper and read one."""

    def send(self, path: Path, target: str, offset: int, on_bytes: OnBytes) -> None:
        """Append a file's content behind an offset to a file there that has so many bytes.

        Args:
            on_bytes: called with the number of bytes of each block that arrived.

        Raises:
            OSError: the board refused to write.
        """

    def fetch(self, source: str, path: Path) -> None:
        """Copy a file from there."""

    def close(self) -> None:
        """End it; the keeper ends with it."""


class Session:
    """Calls to the keeper over link after link.

    Args:
        name: of the board, in messages.
        connect: makes a link with the keeper started; raises LinkLostError when it may work later,
            and DeviceError when it will not.
        patience_s: for a link to come back.
    """

    def __init__(self, name: str, connect: Callable[[], Link], patience_s: float):
        self.name = name
        self._connect, self._patience_s = connect, patience_s
        self._link: Link | None = None
        self.hello: dict[str, Any] = {}

    def open(self) -> None:
        """Connect for the first time.

        Raises:
            DeviceError: it cannot be reached, or has no place for the cache.
        """
        if self._link is None:
            try:
                self._start()
            except LinkLostError as error:
                raise DeviceError(
                    f"{self.name} cannot be reached: {error}.",
                    hint="Check the name, that the board is on, and that its sshd runs.",
                ) from error

    def _start(self) -> None:
        link = self._connect()
        try:
            self.hello = self._ask(link, "hello", {})
        except BaseException:
            link.close()
            raise
        self._link = link

    def link(self, patience_s: float | None = None) -> Link:
        """A link that was there a moment ago.

        Raises:
            DeviceError: it was lost, and does not come back.
        """
        began, attempt = time.monotonic(), 0
        patience_s = self._patience_s if patience_s is None else patience_s
        while self._link is None:
            try:
                self._start()
            except LinkLostError as error:
                if time.monotonic() - began > patience_s:
                    raise DeviceError(
                        f"The link to {self.name} was lost and did not come back in "
                        f"{patience_s:g} s: {error}.",
                        hint="Run the same command again when the board can be reached.",
                    ) from error
                time.sleep(_PAUSES_S[min(attempt, len(_PAUSES_S) - 1)])
                attempt += 1
        return self._link

    def lose(self) -> None:
        """Give a link up that broke."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def call(self, call: str, /, patience_s: float | None = None, **arguments: Any) -> Any:
        """One call of the keeper, over a new link where the old one breaks.

        Raises:
            DeviceError: the keeper cannot do it, or the link does not come back.
        """
        while True:
            try:
                return self._ask(self.link(patience_s), call, arguments)
            except LinkLostError:
                self.lose()

    def _ask(self, link: Link, name: str, arguments: Mapping[str, Any]) -> Any:
        line = json.dumps({"call": name, "arguments": arguments}).encode() + b"\n"
        reply = json.loads(link.ask(line))
        if "error" in reply:
            raise _explain(self.name, reply["error"])
        return reply["ok"]

    def send(self, path: Path, on_bytes: OnBytes) -> str:
        """Bring a file into the board's cache, unless it is there; its digest.

        A broken upload goes on where it broke.

        Raises:
            DeviceError: the disk there is full, or the link does not come back.
        """
        digest, size = storage.hash_file(path), path.stat().st_size
        if not self.call("missing", files={digest: size}):
            return digest
        self._require_room(path, size)
        name = f"{digest}-{secrets.token_hex(4)}"
        while True:
            try:
                link = self.link()
                offset = self._ask(link, "received", {"name": name})
                link.send(path, f"{self.hello['root']}/incoming/{name}", offset, on_bytes)
                break
            except LinkLostError:
                self.lose()
            except OSError as error:
                self._require_room(path, size)
                raise DeviceError(f"{self.name} does not take {path.name}: {error}.") from error
        self.call("accept", name=name, digest=digest)
        return digest

    def _require_room(self, path: Path, size: int) -> None:
        room = self.call("room")
        if room < size + _FEWEST_FREE_BYTES:
            raise DeviceError(
                f"The disk of {self.name} is too full for {path.name}: {size / 1e6:.1f} MB wanted, "
                f"{room / 1e6:.1f} MB free in {self.hello['root']}.",
                hint=f"Make room there, or empty edgeq's cache: edgeq devices clean {self.name}",
            )

    def fetch(self, source: str, digest: str, path: Path) -> None:
        """Copy a file from there, whole or not at all."""
        partial = path.with_name(f"{path.name}.part")
        while True:
            try:
                self.link().fetch(source, partial)
            except LinkLostError:
                self.lose()
                continue
            if storage.hash_file(partial) == digest:
                partial.replace(path)
                return

    def close(self) -> None:
        """End the link."""
        self.lose()


def _explain(name: str, error: Mapping[str, str]) -> DeviceError:
    """The keeper's error as a sentence."""
    if error["code"] == "no_place":
        return DeviceError(
            f"{name} has no folder for edgeq's cache: {error['message']}.",
            hint="Set XDG_CACHE_HOME there to a folder that can be written to and executed from.",
        )
    if error["code"] == "disk_full":
        return DeviceError(
            f"The disk of {name} is full: {error['message']}.",
            hint=f"Make room there, or empty edgeq's cache: edgeq devices clean {name}",
        )
    return DeviceError(f"{name} failed: {error['message']}.".replace("..", "."))


class BoardDevice:
    """See `device.Device`.

    Args:
        python: interpreter there that runs the agent; by default one of edgeq's own environments
            on the board, and then the board's python3.
        is_emulated: its latency means nothing.
        patience_s: for a broken link to come back during a run.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Link],
        *,
        python: str | None = None,
        is_emulated: bool = False,
        patience_s: float = 180.0,
    ):
        self.name, self.is_emulated = name, is_emulated
        self.session = Session(name, connect, patience_s)
        self.sent_bytes = 0
        self._python = python
        self._facts: DeviceFacts | None = None
        self._pythons: dict[str, str] = {}  # runtime to the interpreter that has it

    def facts(self) -> DeviceFacts:
        """See `device.Device`; asked once, with the runtimes of all interpreters it may use."""
        if self._facts is None:
            plain = self._ask_all()
            self._facts = read_facts(self.name, plain)
        return self._facts

    def set_up(self, runtime: str | None, on_event: OnEvent | None = None) -> str:
        """See `device.Device`; with an interpreter of the user's, that one is left as it is."""
        from edgeq.device_runners import environment

        if self._python is not None:
            raise DeviceError(
                f"{self._python} on {self.name} has no {runtime or 'TensorFlow Lite runtime'}.",
                hint="Leave --python out, and edgeq makes an environment of its own there.",
            )
        return environment.set_up(self, runtime, on_event)

    def forget_facts(self) -> None:
        """Ask again next time: an environment was made or removed."""
        self._facts, self._pythons = None, {}
        self.session.lose()

    def _ask_all(self) -> dict[str, Any]:
        self.session.open()
        hello = self.session.hello
        root = hello["root"]
        own = [f"{root}/environments/{name}/bin/python3" for name in hello["environments"]]
        candidates = [self._python] if self._python else [*own, hello["python"]]
        digest = self._send_agent()
        found = [
            (python, self.session.call("facts", python=python, agent=digest))
            for python in candidates
        ]
        runtimes = []
        for python, facts in found:
            for item in facts["runtimes"]:
                if item["name"] not in self._pythons and facts["numpy"] is not None:
                    self._pythons[item["name"]] = python
                    runtimes.append(item)
        order = [name for name, _, _ in agent.RUNTIMES]
        runtimes.sort(key=lambda item: order.index(item["name"]))
        return {**found[0][1], "runtimes": runtimes}

    def _send_agent(self) -> str:
        return self.session.send(Path(agent.__file__), self._count)

    def _count(self, size: int) -> None:
        self.sent_bytes += size

    def run(
        self,
        job: Mapping[str, Any],
        files: Mapping[str, Path],
        folder: Path,
        *,
        on_event: OnEvent | None = None,
        deadline_s: float | None = None,
    ) -> dict[str, Any]:
        """See `device.Device`; the run goes on there when the link breaks, and is found again."""
        self.facts()
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(6)}"
        try:
            digests = {item: self.upload(path, on_event) for item, path in files.items()}
            plain = {**job, "deadline_s": deadline_s}
            with tempfile.NamedTemporaryFile(prefix="edgeq-", suffix=".tar") as archive:
                pack_inputs(folder, plain, files, Path(archive.name))
                inputs = self.upload(Path(archive.name), on_event)
            python = self._pythons.get(job["runtime"], self._python or self.session.hello["python"])
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
            # Where the link is gone for good, the next keeper there deletes the job in a week.
            with contextlib.suppress(DeviceError):
                self.session.call("finish", _CLEAN_UP_S, job=name)
        result: dict[str, Any] = json.loads((folder / "result.json").read_text())
        return result

    def upload(self, path: Path, on_event: OnEvent | None = None) -> str:
        """Bring a file into the board's cache, with progress; its digest."""
        sent = 0

        def count(size: int) -> None:
            nonlocal sent
            sent += size
            self._count(size)
            if on_event is not None:
                on_event({"event": "progress", "step": "upload", "done": sent})

        return self.session.send(path, count)

    def _follow(self, name: str, on_event: OnEvent | None) -> None:
        """Pass events on until the job has ended.

        Raises:
            DeviceError: it ended before its time.
        """
        offset, last = 0, None
        while True:
            reply = self.session.call("poll", job=name, offset=offset, wait_s=POLL_S)
            offset = reply["offset"]
            for line in reply["events"].splitlines():
                last = _read_event(line) or last
                if on_event is not None and last is not None:
                    on_event(last)
            if reply["state"] != "running" and not reply["events"]:
                break
        if last is None or last.get("event") != "end" or reply.get("returncode") != 0:
            raise _post_mortem(self.name, reply)

    def close(self) -> None:
        """End the link."""
        self.session.close()


def pack_inputs(
    folder: Path, job: Mapping[str, Any], files: Mapping[str, Path], archive: Path
) -> None:
    """The job and all files in its folder but those that the cache has, as a tar file."""
    with tarfile.open(archive, "w") as tar:
        content = json.dumps(job).encode()
        entry = tarfile.TarInfo("job.json")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
        for path in sorted(folder.iterdir()):
            if path.name not in {*files, "job.json", "result.json"}:
                tar.add(path, path.name)


def _read_event(line: str) -> dict[str, Any] | None:
    """An event line; None for anything else that was printed."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def _post_mortem(name: str, reply: Mapping[str, Any]) -> DeviceError:
    """Why a job ended before its time."""
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
        how = f"was killed by {agent.signal_name(-status)}"
        extra = ", probably for lack of memory" if agent.signal_name(-status) == "SIGKILL" else ""
        return DeviceError(f"The agent on {name} {how}{extra}.", details=errors)
    last = errors.strip().splitlines()[-1:] or ["it printed nothing"]
    return DeviceError(f"The agent on {name} ended with {status}: {last[0]}", details=errors)
