"""The table of boards, and boards that a user declares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeq.errors import UsageError
from edgeq.fit import boards


@pytest.mark.parametrize("name", boards.known_boards())
def test_every_board_has_its_document(name: str) -> None:
    board = boards.known_boards()[name]
    assert board.sources, f"{name} has no document"
    for source in board.sources:
        assert all((source.title, source.page, source.date))
        assert source.url.startswith("https://")
    assert board.title and 16 << 10 <= board.ram_bytes <= board.flash_bytes <= 1 << 30


def test_there_are_enough_boards() -> None:
    assert len(boards.known_boards()) >= 15


@pytest.mark.parametrize(
    ("text", "size"),
    [("1MB", 1 << 20), ("256 KB", 256 << 10), ("7936K", 7936 << 10), ("983040", 983_040),
     ("1.5MiB", 3 << 19), ("64kb", 64 << 10), (4096, 4096), ("1024B", 1024)],
)  # fmt: skip
def test_sizes_are_those_of_data_sheets(text: Any, size: int) -> None:
    assert boards.read_memory(text) == size


@pytest.mark.parametrize("text", ["", "1GB", "-1", "0", "MB", "1 M B", True, 2.5, None, "9" * 40])
def test_what_is_not_a_size(text: Any) -> None:
    with pytest.raises(ValueError, match="a size"):
        boards.read_memory(text)


@pytest.mark.parametrize("text", ["256", 256, "256B"])
def test_a_forgotten_unit(text: Any) -> None:
    with pytest.raises(ValueError, match=r'from 1,024 to .* \(did you mean "256KB"\?\)\Z'):
        boards.read_memory(text)
    assert boards.read_memory("0", may_be_zero=True) == 0


def test_own_boards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "edgeq.toml"
    file.write_text('[boards.sensor-2]\nflash = "512KB"\nram = "64KB"\ncore = "Cortex-M4"\n')
    own = boards.own_boards(file)["sensor-2"]
    assert (own.flash_bytes, own.ram_bytes, own.core) == (512 << 10, 64 << 10, "Cortex-M4")
    assert own.sources == ()
    assert boards.choose(["sensor-2"] * 2, {"sensor-2": own}) == (own,)
    with pytest.raises(UsageError, match="--board 'sensor-3' is unknown") as caught:
        boards.choose(["sensor-3"], {"sensor-2": own})
    assert "Did you mean 'sensor-2'?" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[boards.b]\nflash = "1MB"\n', "line 1: [boards.b] has no ram."),
        ('[boards.b]\nflash = "1MB"\nram = "x"\n', "line 3: ram must be a size such as"),
        ('[boards.b]\nflash = "1MB"\nrom = "1MB"\n', "line 3: unknown key 'rom'."),
        ('[boards."a b"]\nflash = "1MB"\nram = "1MB"\n', "line 1: 'a b' is not a board."),
        ("[boards]\nb = 3\n", "line 2: 'b' is not a board."),
        ("[boards.b]\nflash = 9999\nram = 9999\ncore = 4\n", "line 4: core must be text, not 4."),
    ],
)
def test_mistakes_in_own_boards(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "edgeq.toml").write_text(text)
    with pytest.raises(UsageError) as caught:
        boards.own_boards(tmp_path / "edgeq.toml")
    assert message in caught.value.message
