"""Tables in a narrow terminal, and terminals without colours."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from edgeq.records.reading import read_record
from edgeq.render.parts import render
from edgeq.render.records import show_record
from edgeq.render.tables import FittingTable
from edgeq.wording import shorten
from tests.terminals import at_a_terminal

TABLES = ("bench", "compare", "debug", "eval", "fleet-bench", "fleet-compare", "fleet-eval",
          "inspect", "parity", "profile", "tune")  # fmt: skip
LAYERS = [f"batch_normalization_{number}_1/batchnorm/add_1" for number in range(1, 13)]


def shown(path: Path, width: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    return click.unstyle(show_record(read_record(path)))


@pytest.mark.parametrize("width", [40, 60, 80])
@pytest.mark.parametrize("kind", TABLES)
def test_no_figure_is_cut_in_a_narrow_terminal(
    record_files: dict[str, Path], kind: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide, narrow = (shown(record_files[kind], size, monkeypatch) for size in (120, width))
    figures = set(re.findall(r"(?<![\w./-])[-+]?\d+\.\d+(?:%|x)?(?![\w./-])", wide))
    assert figures
    assert figures <= set(re.findall(r"[-+]?\d+\.\d+(?:%|x)?", narrow))


def test_a_table_that_is_too_wide_continues_below(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    table = FittingTable("<layer", ">SQNR", ">share", "reason", ">bytes")
    table.add_row("a/b", "12.34", "5.0 %", "its range is far too wide for this", "1,000,000")
    assert click.unstyle(render(table)) == (
        "layer   SQNR  share  reason\n"
        "a/b    12.34  5.0 %  its range is far\n"
        "                     too wide for this\n"
        "\n"
        "layer      bytes\n"
        "a/b    1,000,000"
    )


@pytest.mark.parametrize("room", [22, 24, 30, 39])
def test_names_of_layers_stay_different(room: int) -> None:
    cut = shorten(LAYERS, room)
    assert len(set(cut)) == len(LAYERS)
    assert all(len(name) == room for name in cut[:9])


def test_a_column_of_names_has_room_for_what_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    table = FittingTable("<layer", ">first", ">second", ">third")
    for name in LAYERS:
        table.add_row(name, "1.234", "2.345", "3.456")
    text = click.unstyle(render(table))
    assert len({line.split()[0] for line in text.splitlines() if "…" in line}) >= len(LAYERS)
    assert max(map(len, text.splitlines())) <= 40


def test_short_names_are_whole() -> None:
    assert shorten(["conv", "dense"], 5) == ["conv", "dense"]


@pytest.mark.parametrize(
    ("variable", "value", "has_colours"),
    [("NO_COLOR", "1", False), ("NO_COLOR", "", True), ("TERM", "dumb", False)],
)
def test_colours_are_left_out(
    record_files: dict[str, Path],
    variable: str,
    value: str,
    has_colours: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(variable, value)
    status, text = at_a_terminal("show", record_files["compare"])
    assert status == 0
    assert ("\x1b" in text) is has_colours
    assert "Verdict: " in text
