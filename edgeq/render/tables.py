"""Tables that fit a terminal: figures are never cut, names are cut in their middle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from edgeq.wording import shorten

_GAP = 2  # blanks between two columns
_SHORTEST = 14  # of a column of names
_WORDS = 18  # of a column of words
_LONGEST = 28  # of a word; a longer one is broken


@dataclass(frozen=True)
class _Column:
    """A column.

    Attributes:
        kind: ">" for figures, "<" for names, "" for words.
    """

    title: str
    kind: str
    cells: list[Text] = field(default_factory=list)

    @property
    def natural(self) -> int:
        """The width in which everything has room."""
        texts = [self.title, *(cell.plain for cell in self.cells)]
        return max(cell_len(line) for text in texts for line in text.split("\n"))

    @property
    def least(self) -> int:
        """Room for figures, for names that stay different, and for words."""
        if self.kind == ">":
            return self.natural
        if self.kind == "<":
            rooms = range(max(_SHORTEST, cell_len(self.title)), self.natural)
            names = list(dict.fromkeys(cell.plain for cell in self.cells))
            differ = (room for room in rooms if len(set(shorten(names, room))) == len(names))
            return next(differ, self.natural)
        words = " ".join([self.title, *(cell.plain for cell in self.cells)]).split()
        longest = max(map(cell_len, words), default=0)
        return max(min(longest, _LONGEST), min(self.natural, _WORDS))

    def shortened(self, room: int) -> list[Text]:
        """Names that fit."""
        names = shorten([cell.plain for cell in self.cells], room)
        return [Text(name, cell.style) for name, cell in zip(names, self.cells, strict=True)]


class FittingTable:
    """A table without lines; where it is too wide, columns move to a second table below.

    Each part begins with the first column.

    Args:
        titles: of columns; ">" before one is for figures, which are aligned to the right and never
            cut, "<" for names, which are cut where they stay different; words are wrapped.
    """

    def __init__(self, *titles: str):
        self._columns = [
            _Column(title[1:], title[0]) if title[:1] in (">", "<") else _Column(title, "")
            for title in titles
        ]

    def add_row(self, *cells: str | Text) -> None:
        """Add a row; cells that are not given are empty."""
        given = chain(cells, repeat(""))
        for column, cell in zip(self._columns, given, strict=False):
            column.cells.append(cell if isinstance(cell, Text) else Text(cell))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for number, part in enumerate(_parts(self._columns, options.max_width)):
            if number:
                yield Text("")
            yield _table(part, options.max_width)


def _parts(columns: Sequence[_Column], width: int) -> Iterator[list[_Column]]:
    """Columns that fit beside each other, the first one in each part."""
    first, *rest = columns
    part = [first]
    for column in rest:
        if len(part) > 1 and sum(each.least for each in (*part, column)) + _GAP * len(part) > width:
            yield part
            part = [first]
        part.append(column)
    yield part


def _table(columns: Sequence[_Column], width: int) -> Table:
    """A table of at most this width, if the least widths allow it; the rest is shared evenly."""
    widths = [column.least for column in columns]
    for _ in range(width - sum(widths) - _GAP * (len(columns) - 1)):
        short = [n for n, column in enumerate(columns) if widths[n] < column.natural]
        if not short:
            break
        widths[min(short, key=widths.__getitem__)] += 1
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column, size in zip(columns, widths, strict=True):
        table.add_column(
            column.title,
            justify="right" if column.kind == ">" else "left",
            no_wrap=column.kind in (">", "<"),
            overflow="fold",
            width=size,
        )
    shown = [
        column.shortened(size) if column.kind == "<" else column.cells
        for column, size in zip(columns, widths, strict=True)
    ]
    for row in zip(*shown, strict=True):
        table.add_row(*row)
    return table
