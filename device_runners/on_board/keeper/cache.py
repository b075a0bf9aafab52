"""The folder of the cache on the board, and files in it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

NO_EXEC = getattr(os, "ST_NOEXEC", 8)


class KeeperError(Exception):
    """A failure with a stable code."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


def places() -> list[Path]:
    """Folders that may hold the cache, best first."""
    own = str(os.getuid())
    cache = os.environ.get("XDG_CACHE_HOME")
    homes = [Path(cache)] if cache else []
    home = Path("~").expanduser()
    if home.is_absolute():
        homes.append(home / ".cache")
    shared = [Path("/var/tmp"), Path("/data/local/tmp"), Path("/tmp")]
    return [folder / "edgeq" for folder in homes] + [folder / ("edgeq-" + own) for folder in shared]


def why_not(root: Path) -> str | None:
    """Why a folder cannot hold the cache, None if it can; creates a missing folder."""
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = root.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            return "belongs to somebody else"  # in a shared folder, anybody may take the name
        if os.statvfs(str(root)).f_flag & NO_EXEC:
            return "is mounted noexec"  # a runtime's libraries cannot be loaded from there
        probe = root / ("probe-" + str(os.getpid()))
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return None


def choose_root() -> Path:
    """The first place that can hold the cache.

    Raises:
        KeeperError: no place can.
    """
    refused = []
    for root in places():
        reason = why_not(root)
        if reason is None:
            for name in ("files", "incoming", "jobs", "environments"):
                (root / name).mkdir(exist_ok=True)
            return root
        refused.append(f"{root} {reason}")
    raise KeeperError("no_place", "; ".join(refused))


def remove(path: Path) -> None:
    """Delete a file or a folder, which may be missing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(str(path), ignore_errors=True)
    else:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def read_text(path: str) -> str | None:
    """A small file's content; None if it is missing."""
    try:
        return Path(path).read_text("utf-8").strip()
    except OSError:
        return None


def write_json(path: Path, value: Any) -> None:
    """Write a file completely or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value), "utf-8")
    temporary.replace(path)
