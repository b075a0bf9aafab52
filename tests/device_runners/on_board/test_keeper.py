"""What the program on a board takes into its cache."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest

from edgeq.device_runners.on_board.keeper.cache import KeeperError
from edgeq.device_runners.on_board.keeper.requests import Keeper

CONTENT = b"model" * 100
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    made = Keeper(io.BytesIO())
    made.root = tmp_path
    for name in ("incoming", "files"):
        (tmp_path / name).mkdir()
    return made


def test_an_upload_becomes_a_file_of_its_digest(keeper: Keeper) -> None:
    (keeper.root / "incoming" / "up").write_bytes(CONTENT)
    assert keeper.received("up") == 500
    assert keeper.missing({DIGEST: 500}) == [DIGEST]
    keeper.accept("up", DIGEST)
    assert (keeper.root / "files" / DIGEST).read_bytes() == CONTENT
    assert keeper.received("up") == 0
    assert keeper.missing({DIGEST: 500}) == []
    assert keeper.missing({DIGEST: 499}) == keeper.missing({DIGEST: 501}) == [DIGEST]


@pytest.mark.parametrize("arrived", [CONTENT[:-1], CONTENT + b"x", b"x" + CONTENT[1:], b""])
def test_what_is_not_what_was_sent_is_not_taken(keeper: Keeper, arrived: bytes) -> None:
    (keeper.root / "incoming" / "up").write_bytes(arrived)
    with pytest.raises(KeeperError) as caught:
        keeper.accept("up", DIGEST)
    assert str(caught.value) == f"{DIGEST} arrived as {hashlib.sha256(arrived).hexdigest()}"
    assert list((keeper.root / "files").iterdir()) == []
    assert list((keeper.root / "incoming").iterdir()) == []
