"""What earlier runs left: of each step, what it was made from and what came out, on disk."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from edgeq.errors import OutputError
from edgeq.files import storage

_SCHEMA = "edgeq.run/1"
_JUDGING = ("compare", "gate", "package")
# What a step is made from: plain names to plain values, of which the digest is its key.
Origin = Mapping[str, Any]


class State:
    """The steps that are done, by name, in a file that is replaced after each of them.

    A file that cannot be read as one is taken for none: its steps are done again.

    Args:
        path: beside the outputs.
    """

    def __init__(self, path: Path):
        self._path = path
        self._lock = Lock()  # devices finish in threads of their own
        self._steps = _read(path)

    def why(self, name: str, origin: Origin, outputs: Sequence[Path]) -> str | None:
        """Why a step is to be done; None when it is done already and its outputs are as it left
        them.
        """
        known = self._steps.get(name)
        if known is None:
            return "not done yet"
        if known["key"] != _key(origin):
            return _what_changed(known["origin"], origin)
        for path in outputs:
            if not path.is_file():
                return f"{path.name} is missing"
            try:
                digest = storage.hash_file(path)
            except OSError as error:
                return f"{path.name} cannot be read: {error.strerror or error}"
            if digest != known["outputs"].get(path.name):
                return f"{path.name} is not as it was left"
        return None

    def finish(self, name: str, origin: Origin, outputs: Sequence[Path]) -> None:
        """Keep that a step is done; it is on disk when this returns."""
        digests = {path.name: storage.hash_file(path) for path in outputs}
        step = {"key": _key(origin), "origin": storage.to_plain(dict(origin)), "outputs": digests}
        with self._lock:
            self._steps[name] = step
            self._write()

    def withdraw(self, names: Container[str], folder: Path) -> None:
        """Remove what steps that judge or package left, but for those of these names."""
        with self._lock:
            old = [
                name for name in self._steps
                if name.partition(" ")[0] in _JUDGING and name not in names
            ]  # fmt: skip
            for name in old:
                for output in self._steps.pop(name)["outputs"]:
                    _remove(folder / output)
            if old:
                self._write()

    def _write(self) -> None:
        text = json.dumps({"schema": _SCHEMA, "steps": self._steps}, indent=2, sort_keys=True)
        storage.write_atomically(self._path, f"{text}\n".encode())


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"Cannot remove {path}, which is not asked for any more: {error.strerror or error}.",
            hint="Remove it, or choose another output.",
        ) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        plain = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(plain, dict) or plain.get("schema") != _SCHEMA:
        return {}
    steps = plain.get("steps")
    return {} if not isinstance(steps, dict) else {k: v for k, v in steps.items() if _is_step(v)}


def _is_step(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("key"), str)
        and isinstance(value.get("origin"), dict)
        and isinstance(value.get("outputs"), dict)
        and all(map(_is_file_name, value["outputs"]))
    )


def _is_file_name(text: str) -> bool:
    """Outputs are removed by these names: none may lead out of the folder."""
    try:
        is_plain = Path(text).name == text and text not in ("", "..")
        return is_plain and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _key(origin: Origin) -> str:
    text = json.dumps(storage.to_plain(dict(origin)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _what_changed(before: Origin, now: Origin) -> str:
    plain = storage.to_plain(dict(now))
    names = [name for name in {**before, **plain} if before.get(name) != plain.get(name)]
    return f"changed: {', '.join(names)}"


def _unwritten(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"Cannot write {path}: {error.strerror or error}.",
        hint="Free space there, or choose another output.",
    )


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold a lock that ends with this process, however that ends.

    Args:
        path: of a file that is made for it and stays.
        what: the lock is for, for the message.

    Raises:
        OutputError: another process holds it, or the file cannot be made.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise _unwritten(path, error) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(handle, 20).decode("ascii", "replace").strip()
            raise OutputError(
                f"Another edgeq run (process {owner or 'unknown'}) is making {what}.",
                hint="Wait until it has ended, or name another output.",
            ) from error
        try:
            os.truncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode())
        except OSError as error:
            raise _unwritten(path, error) from error
        yield
    finally:
        os.close(handle)
