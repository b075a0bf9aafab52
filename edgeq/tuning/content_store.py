"""Files by their digest: what trials are made from, on this machine or on a worker elsewhere."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edgeq import host
from edgeq.files import scratch, storage


class Store:
    """A folder of files that are named by the SHA-256 of their content.

    Args:
        folder: created if it does not exist.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, content: bytes) -> str:
        """Keep some bytes; returns their digest."""
        digest = hashlib.sha256(content).hexdigest()
        self.put_as(digest, content)
        return digest

    def put_as(self, name: str, content: bytes) -> None:
        """Keep some bytes under a name that stands for them."""
        target = self.path(name)
        if not target.exists():
            # Several workers of a machine share a store, so a file appears whole.
            with scratch.file(target) as temporary:
                temporary.write_bytes(content)
                host.replace(temporary, target)

    def adopt(self, path: Path) -> str:
        """Take over a large file that was written into the store's own folder."""
        digest = storage.hash_file(path)
        host.replace(path, self.path(digest))
        return digest

    def path(self, digest: str) -> Path:
        """Return the path of a file in the store."""
        return self.folder / digest

    def read(self, digest: str) -> bytes:
        """The content of a file."""
        return self.path(digest).read_bytes()
