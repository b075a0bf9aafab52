"""Files by their digest, and the journal: on disk before anybody is told."""

from __future__ import annotations

import hashlib
import os
from contextlib import closing
from pathlib import Path

import pytest

from edgeq.tuning.content_store import Store
from edgeq.tuning.journal import Journal
from edgeq.values import Recipe


def test_a_file_has_the_name_of_its_content(tmp_path: Path) -> None:
    store = Store(tmp_path / "made" / "here")
    digest = store.put(b"model")
    assert digest == hashlib.sha256(b"model").hexdigest()
    assert store.read(digest) == store.path(digest).read_bytes() == b"model"
    assert store.put(b"model") == digest
    written = store.folder / "written"
    written.write_bytes(b"large")
    assert store.adopt(written) == hashlib.sha256(b"large").hexdigest()
    names = {hashlib.sha256(content).hexdigest() for content in (b"model", b"large")}
    assert {path.name for path in store.folder.iterdir()} == names


def test_a_file_that_is_there_stays_for_those_who_read_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    place = store.path(store.put(b"model"))
    before = place.stat().st_ino
    with place.open("rb") as reader:
        store.put(b"model")
        assert reader.read() == b"model"
    assert place.stat().st_ino == before


def test_an_outcome_is_on_disk_when_it_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, own, synced = tmp_path / "j", os.fsync, list[bytes]()

    def sync(number: int) -> None:
        assert os.path.samestat(os.fstat(number), path.stat())
        synced.append(path.read_bytes())
        own(number)

    monkeypatch.setattr(os, "fsync", sync)
    with closing(Journal(path, {"model": "abc"})) as journal:
        assert synced == [path.read_bytes()]  # the header
        journal.add("search", Recipe("mse", False, "channel"), {"sha256": "1"})
        assert len(synced) == 2
        assert synced[1] == path.read_bytes()
        assert b'"sha256": "1"' in synced[1] and synced[1].endswith(b"\n")
