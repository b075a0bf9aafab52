"""Outputs of finished batches, kept on this machine until a whole run has ended.

Running a data set on a board takes minutes to hours. What was run before an interruption is not
run again: the same model, runtime and samples on the same device find their outputs here.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgeq.files import storage

# An entry of an agent's job: {"model", "inputs": name to file, "outputs": name to file}.
Chunk = Mapping[str, Any]

_FORGOTTEN_S = 7 * 24 * 3600.0


def runs_folder() -> Path:
    """In the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "edgeq" / "runs"


class BatchJournal:
    """The batches of one run.

    Args:
        device: as the user names it.
        models: whose outputs are kept.
        settings: what else outputs depend on, as JSON.
    """

    def __init__(self, device: str, models: Sequence[Path], settings: Any):
        if runs_folder().is_dir():
            for path in runs_folder().iterdir():
                if time.time() - path.stat().st_mtime > _FORGOTTEN_S:
                    shutil.rmtree(path, ignore_errors=True)
        parts = [device, [storage.hash_file(path) for path in models], settings]
        name = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
        self._folder = runs_folder() / name
        self.resumed = 0

    def find(self, folder: Path, chunks: Sequence[Chunk]) -> bool:
        """Whether these chunks were run before; their outputs are in the folder then."""
        kept = self._folder / _digest(folder, chunks)
        if not kept.is_dir():
            return False
        try:
            for name in _names(chunks, "outputs"):
                shutil.copyfile(kept / name, folder / name)
        except FileNotFoundError:
            return False  # another run of the same kind has just ended
        self.resumed += 1
        return True

    def keep(self, folder: Path, chunks: Sequence[Chunk]) -> None:
        """Note a batch, whole or not at all; not when another run of the same kind just ended."""
        kept = self._folder / _digest(folder, chunks)
        while True:
            self._folder.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # another run has just removed it
                partial = Path(tempfile.mkdtemp(dir=self._folder, prefix="part-"))
                break
        try:
            for name in _names(chunks, "outputs"):
                shutil.copyfile(folder / name, partial / name)
            partial.replace(kept)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            # That run has removed the folder, or was quicker to keep the same batch.
            if kept.is_dir() or not self._folder.is_dir():
                return
            raise error

    def remove(self) -> None:
        """The run has ended."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _names(chunks: Sequence[Chunk], side: str) -> list[str]:
    return [path for chunk in chunks for path in chunk[side].values()]


def _digest(folder: Path, chunks: Sequence[Chunk]) -> str:
    parts = [(name, storage.hash_file(folder / name)) for name in _names(chunks, "inputs")]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
