from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edgeq.errors import OutputError
from edgeq.tuning.journal import Journal
from edgeq.values import Recipe

FIRST = Recipe("minmax", False, "channel")
SECOND = Recipe("mse", True, "tensor", ("bias",), ("a",), ("b", "c"))
SEARCH = {"model": "abc", "settings": {"seed": 0}}


def write(path: Path) -> None:
    with closing(Journal(path, SEARCH)) as journal:
        journal.add("search", FIRST, {"sha256": "1", "sqnr_db": float("inf")})
        journal.add("search", SECOND, {"failure": "no kernel"})


def known(path: Path, recipe: Recipe, part: str = "search", **identity: str) -> Any:
    with closing(Journal(path, {**SEARCH, **identity})) as journal:
        return journal.known(part, recipe)


def add(path: Path, recipe: Recipe, outcome: dict[str, Any], part: str = "search") -> None:
    with closing(Journal(path, SEARCH)) as journal:
        journal.add(part, recipe, outcome)


def test_outcomes_are_there_again(tmp_path: Path) -> None:
    write(tmp_path / "j")
    assert known(tmp_path / "j", FIRST) == {"sha256": "1", "sqnr_db": "inf"}
    assert known(tmp_path / "j", SECOND) == {"failure": "no kernel"}
    assert known(tmp_path / "j", FIRST, "proof") is None
    add(tmp_path / "j", FIRST, {"sha256": "2"}, "proof")
    assert known(tmp_path / "j", FIRST, "proof") == {"sha256": "2"}
    assert known(tmp_path / "j", SECOND) == {"failure": "no kernel"}


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_torn_last_line_is_dropped_and_written_over(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "j"
    write(path)
    path.write_bytes(path.read_bytes()[:-cut])
    assert known(path, FIRST) is not None
    assert known(path, SECOND) is None
    add(path, SECOND, {"sha256": "2"})
    assert known(path, SECOND) == {"sha256": "2"}
    assert known(path, FIRST) is not None


@pytest.mark.parametrize(
    "damage",
    [lambda line: line.replace(b"minmax", b"minmux"), lambda line: line.replace(b"inf", b"1.0"),
     lambda line: line[:-2], lambda line: b"[]", lambda line: b"[" * 100_000, lambda line: b"\xff"],
)  # fmt: skip
def test_from_a_damaged_line_on_outcomes_are_tried_again(
    damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = tmp_path / "j"
    write(path)
    first, second, third = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([first, damage(second), third, b""]))
    assert known(path, FIRST) is None
    assert known(path, SECOND) is None
    assert path.read_bytes() == first + b"\n"


@pytest.mark.parametrize("content", [b"", b"not a journal\n", b'{"schema": "edgeq.journal/1"}\n'])
def test_another_search_begins_anew(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_bytes(content)
    assert known(path, FIRST) is None
    add(path, FIRST, {"sha256": "1"})
    assert known(path, FIRST, model="abc") is not None
    assert known(path, FIRST, model="other") is None


def test_another_search_in_the_way_is_told(tmp_path: Path) -> None:
    write(tmp_path / "j")
    with closing(Journal(tmp_path / "j", SEARCH)) as journal:
        assert journal.doubts() == []
    with closing(Journal(tmp_path / "j", {**SEARCH, "model": "other"})) as journal:
        (doubt,) = journal.doubts()
    assert doubt.code == "tune.journal_replaced"
    start = f"{tmp_path}/j was the journal of a search with a different model, "
    assert doubt.message.startswith(start)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        Journal(tmp_path / "missing" / "j", SEARCH)
    assert caught.value.message == (
        f"Cannot write the journal {tmp_path}/missing/j: No such file or directory."
    )


def test_a_journal_is_closed_before_it_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows does not remove an open file."""
    removed = []
    journal = Journal(tmp_path / "journal", SEARCH)
    monkeypatch.setattr(
        "edgeq.host.remove", lambda path: removed.append((path, journal._stream.closed))
    )
    journal.remove()
    assert removed == [(tmp_path / "journal", True)]
