"""The page: a template filled in, with its style sheet and script inside.

The content security policy lets the page load nothing and run only those scripts, so that a name
in a record is harmless even if it gets past the escaping.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
from collections.abc import Callable
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from edgeq.render.page import plots
from edgeq.reporting.values import Cell, Report, Table

# Rows that are shown before a click shows all: a page of 300 layers opens at once.
_MOST_ROWS = 50
# Rows of a table whose columns are below each other on a phone; longer ones are scrolled.
_FEW_ROWS = 12
# Runs first: parts that only the page's script can unfold are folded only with scripts.
_EARLY_SCRIPT = 'document.documentElement.classList.add("js");'
_WORDS = {"ship": "SHIP", "check": "CHECK", "no": "NO", "open": "OPEN"}
_SIGNS = {"good": "✓", "doubt": "!", "bad": "✗", "": ""}
_VERDICT_TONES = {"ship": "good", "check": "doubt", "no": "bad", "open": "doubt"}
_DRAW: dict[str, Callable[[Any], Markup]] = {
    "intervals": plots.intervals,
    "distributions": plots.distributions,
    "bars": plots.bars,
    "xy": plots.lines,
    "spark": plots.spark,
    "share": plots.share,
}


def report_html(report: Report) -> str:
    """The whole page; it needs no other file and no network."""
    environment = Environment(
        loader=PackageLoader("edgeq.render.page", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    style, script = _read("report.css"), _read("report.js")
    return environment.get_template("report.html").render(
        report=report,
        verdict_word=_WORDS[report.verdict.word],
        verdict_tone=_VERDICT_TONES[report.verdict.word],
        signs=_SIGNS,
        style=Markup(style),
        script=Markup(script),
        early_script=Markup(_EARLY_SCRIPT),
        most_rows=_MOST_ROWS,
        few_rows=_FEW_ROWS,
        policy=(
            f"default-src 'none'; style-src 'sha256-{_digest(style)}'; "
            f"script-src 'sha256-{_digest(_EARLY_SCRIPT)}' 'sha256-{_digest(script)}'; "
            "base-uri 'none'; form-action 'none'"
        ),
        draw=lambda plot: _DRAW[plot.kind](plot),
        figure=_figure,
        breakable=breakable,
        filled=_filled,
        legend=plots.legend_of,
        swatch=plots.swatch,
    )


def _read(name: str) -> str:
    return resources.files("edgeq.render.page").joinpath(name).read_text("utf-8")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _filled(table: Table) -> Table:
    """The table without columns in which no row has a value; its note names them."""
    empty = [
        place
        for place in range(1, len(table.columns))
        if all(row[place].text in ("", "-") and row[place].figure is None for row in table.rows)
    ]
    if not empty or not table.rows:
        return table
    note, unknown = table.note, [place for place in empty if table.rows[0][place].text]
    if unknown:
        titles = ", ".join(table.columns[place].title for place in unknown)
        note = f"{note} Left out, because no row has a value: {titles}.".strip()
    columns = tuple(item for place, item in enumerate(table.columns) if place not in empty)
    rows = tuple(
        tuple(cell for place, cell in enumerate(row) if place not in empty) for row in table.rows
    )
    return dataclasses.replace(table, columns=columns, rows=rows, note=note)


def breakable(text: str) -> Markup:
    """A name that a browser breaks only at the end of its parts."""
    parts = re.split(r"(?<=[/;_])(?=\w)", text)
    return Markup("<wbr>").join(escape(part) for part in parts)


def _figure(cell: Cell) -> Markup:
    return Markup("") if cell.figure is None else _DRAW[cell.figure.kind](cell.figure)
