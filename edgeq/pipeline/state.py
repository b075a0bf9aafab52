"""The results of earlier runs: for each step, its inputs and outputs, in a file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from edgeq import host
from edgeq.errors import OutputError
from edgeq.files import storage

_SCHEMA = "edgeq.run/1"
_JUDGING = ("compare", "fit", "gate", "package")
# The inputs of a step: plain names to plain values; their digest is its key.
Origin = Mapping[str, Any]


class State:
    """The steps that are done, by name, in a file that is replaced after each of them.

    A file that cannot be read counts as empty: all steps are done again.

    Args:
        path: beside the outputs.
    """

    def __init__(self, path: Path):
        self._path = path
        self._lock = Lock()  # each device finishes in its own thread
        self._steps = _read(path)

    def why(self, name: str, origin: Origin, outputs: Sequence[Path]) -> str | None:
        """Why a step must be done; None when it is done and unchanged, "" when it never was."""
        known = self._steps.get(name)
        if known is None:
            return ""
        if known["key"] != _key(origin):
            before, now = known["origin"], storage.to_plain(dict(origin))
            changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
            return f"changed: {', '.join(changed)}"
        for path in outputs:
            if not path.is_file():
                return f"{path.name} is missing"
            try:
                digest = storage.hash_file(path)
            except OSError as error:
                return f"{path.name} cannot be read: {error.strerror or error}"
            if digest != known["outputs"].get(path.name):
                return f"{path.name} was changed"
        return None

    def finish(self, name: str, origin: Origin, outputs: Sequence[Path]) -> None:
        """Note that a step is done; the note is on disk when this returns."""
        digests = {path.name: storage.hash_file(path) for path in outputs}
        step = {"key": _key(origin), "origin": storage.to_plain(dict(origin)), "outputs": digests}
        with self._lock:
            self._steps[name] = step
            self._write()

    def withdraw(self, names: Container[str], folder: Path) -> None:
        """Remove the outputs of steps that judge or package, except steps of these names."""
        with self._lock:
            old = [
                name for name in self._steps
                if name.partition(" ")[0] in _JUDGING and name not in names
            ]  # fmt: skip
            for name in old:
                for output in self._steps.pop(name)["outputs"]:
                    try:
                        host.remove(folder / output)
                    except OSError as error:
                        raise OutputError(
                            f"Cannot remove {folder / output}, an old output that edgeq.toml no "
                            f"longer has: {error.strerror or error}.",
                            hint="Remove it, or choose another output.",
                        ) from error
            if old:
                self._write()

    def _write(self) -> None:
        text = json.dumps({"schema": _SCHEMA, "steps": self._steps}, indent=2, sort_keys=True)
        storage.write_atomically(self._path, f"{text}\n".encode())


def _read(path: Path) -> dict[str, Any]:
    try:
        plain = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(plain, dict) or plain.get("schema") != _SCHEMA:
        return {}
    steps = plain.get("steps")
    return {
        name: step
        for name, step in (steps.items() if isinstance(steps, dict) else ())
        if isinstance(step, dict)
        and isinstance(step.get("key"), str)
        and isinstance(step.get("origin"), dict)
        and isinstance(step.get("outputs"), dict)
        and all(map(_is_file_name, step["outputs"]))
    }


def _is_file_name(text: str) -> bool:
    """Whether a name is safe: outputs are removed by it, so it must not leave the folder."""
    try:
        is_plain = Path(text).name == text and text not in ("", "..")
        return is_plain and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _key(origin: Origin) -> str:
    text = json.dumps(storage.to_plain(dict(origin)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _unwritten(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"Cannot write {path}: {error.strerror or error}.",
        hint="Free space there, or choose another output.",
    )


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold a lock that ends with this process.

    Args:
        path: of the lock file, which stays.
        what: that the lock is for, for the message.

    Raises:
        OutputError: another process holds it, or the file cannot be made.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise _unwritten(path, error) from error
    try:
        if not host.lock(handle, wait=False):
            owner = os.read(handle, 20).decode("ascii", "replace").strip()
            raise OutputError(
                f"Another `edgeq run` (process {owner or 'unknown'}) is making {what}.",
                hint="Wait until it has ended, or name another output.",
            )
        try:
            os.truncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode())
        except OSError as error:
            raise _unwritten(path, error) from error
        yield
    finally:
        os.close(handle)
