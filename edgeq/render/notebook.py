"""Results in a notebook: the words of the terminal, a small chart, and progress on one line."""

from __future__ import annotations

import html
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from edgeq.escaping import printable
from edgeq.history.values import Trend
from edgeq.progress import LINES_S, OnProgress, now_and_then
from edgeq.records.reading import Record
from edgeq.render.comparison import show_evaluations
from edgeq.render.history import show_trend
from edgeq.render.page.page import report_html
from edgeq.render.records import TEXTS, show_record
from edgeq.reporting.values import Report
from edgeq.values import (
    BenchResult,
    Comparison,
    Conversion,
    DebugReport,
    Evaluation,
    Profile,
)
from edgeq.wording import common_prefix, file_name, first_name, show_bytes, show_ms

# A label, a value to draw, and the figure beside it.
Bar = tuple[str, float, str]

_TEXTS: dict[type, Callable[[Any], str]] = {
    **TEXTS,
    Evaluation: lambda value: show_evaluations([value]),
    Record: show_record,
    Trend: show_trend,
}
# The colours of the terminal's words are mixed with the notebook's own ink, so that
# they can be read on its ground, whether that is light or dark.
_STYLES = {
    "1": "font-weight:bold",
    "2": "opacity:.75",
    **{
        code: f"color:color-mix(in srgb,currentColor 45%,{colour})"
        for code, colour in (("31", "#e00000"), ("32", "#00a040"), ("33", "#d09000"),
                             ("36", "#0098b0"))
    },
}  # fmt: skip
_COLOURS = ("#c2540a", "#0072b2")  # of FP32 and the candidate, as in a report
# Jupyter shows HTML in another font and breaks lines: columns would not be below each other.
_PRE = "white-space:pre;overflow-x:auto;font-family:monospace;line-height:1.3"
_UPDATES_S = 0.2
_MOST_BARS = 10


def as_html(value: Any) -> str:
    """A result for a notebook: the words of the terminal, then a chart if figures are compared."""
    if isinstance(value, Report):
        page = html.escape(report_html(value).strip())
        return f'<iframe srcdoc="{page}" style="width:100%;height:40em;border:0"></iframe>'
    text = _coloured(_TEXTS[type(value)](value))
    words = f'<pre style="{_PRE}">{text}</pre>'
    bars = _BARS.get(type(value), lambda value: {})(value)
    return words + "".join(_chart(title, rows) for title, rows in bars.items())


def _coloured(text: str) -> str:
    """Text with the terminal's colours as HTML."""
    parts, is_open = [], False
    for number, part in enumerate(re.split(r"\x1b\[([0-9;]*)m", text)):
        if number % 2 == 0:
            parts.append(html.escape(part))
            continue
        parts.append("</span>" if is_open else "")
        styles = [_STYLES[code] for code in part.split(";") if code in _STYLES]
        is_open = bool(styles)
        parts.append(f'<span style="{";".join(styles)}">' if is_open else "")
    return "".join(parts) + ("</span>" if is_open else "")


def _chart(title: str, rows: Sequence[Bar]) -> str:
    """Bars from zero, one below the other; the figures stand beside them."""
    most = max((value for _, value, _ in rows), default=0.0) or 1.0
    cells = []
    for number, (label, value, figure) in enumerate(rows):
        colour = _COLOURS[number % 2 if len(rows) == 2 else 1]
        bar = f"height:.8em;background:{colour};width:{100 * max(value, 0) / most:.1f}%"
        cells.append(
            f'<tr><td style="text-align:left;overflow-wrap:anywhere;min-width:8em">'
            f"{html.escape(printable(label))}</td>"
            f'<td style="width:16em;min-width:4em"><div style="{bar}"></div></td>'
            f'<td style="text-align:right;white-space:nowrap">{html.escape(figure)}</td></tr>'
        )
    caption = f'<caption style="text-align:left">{html.escape(printable(title))}</caption>'
    return f"<table>{caption}{''.join(cells)}</table>" if rows else ""


def _comparison_bars(value: Comparison) -> dict[str, list[Bar]]:
    files = (value.baseline, value.candidate)
    sizes = [(file_name(file.path), file.size_bytes, show_bytes(file.size_bytes)) for file in files]
    return {"size": [*sizes], **({} if value.bench is None else _bench_bars(value.bench))}


def _bench_bars(value: BenchResult) -> dict[str, list[Bar]]:
    medians = [(file_name(run.model.path), run.latency.p50_ms) for run in value.runs]
    return {"latency p50": [(name, p50 or 0.0, show_ms(p50)) for name, p50 in medians]}


def _conversion_bars(value: Conversion) -> dict[str, list[Bar]]:
    files = (value.source.file, value.model.file)
    sizes = [(file_name(file.path), file.size_bytes, show_bytes(file.size_bytes)) for file in files]
    return {"size": [*sizes]}


def _debug_bars(value: DebugReport) -> dict[str, list[Bar]]:
    prefix = common_prefix([layer.name for layer in value.layers])
    worst = [layer for layer in value.layers if layer.effect_sqnr_db is not None][:_MOST_BARS]
    return {
        "SQNR of the outputs with the error of one layer alone, dB": [
            (first_name(layer.name, prefix), min(layer.effect_sqnr_db or 0.0, 100.0),
             f"{layer.effect_sqnr_db:.1f}")
            for layer in worst
        ]
    }  # fmt: skip


def _profile_bars(value: Profile) -> dict[str, list[Bar]]:
    types = value.models[0].types[:_MOST_BARS]
    return {
        f"time by operator, {file_name(value.models[0].model.path)}": [
            (item.operator, item.time_ms, f"{item.share:.1%}") for item in types
        ]
    }


_BARS: dict[type, Callable[[Any], dict[str, list[Bar]]]] = {
    BenchResult: _bench_bars,
    Comparison: _comparison_bars,
    Conversion: _conversion_bars,
    DebugReport: _debug_bars,
    Profile: _profile_bars,
}


@contextmanager
def show_progress() -> Iterator[OnProgress]:
    """Show the progress of long work: `with edgeq.show_progress() as tell:`, `on_progress=tell`.

    In a notebook it is one line, which is replaced five times a second at most and is gone at the
    end. Elsewhere a line is printed on standard error every ten seconds.
    """
    shell = sys.modules.get("IPython")
    in_notebook = shell is not None and hasattr(shell.get_ipython(), "kernel")
    if not in_notebook:
        yield now_and_then(lambda text: print(printable(text), file=sys.stderr), LINES_S)
        return
    put = _notebook_line()
    try:
        yield now_and_then(put, _UPDATES_S, begins_at_once=True)
    finally:
        put("")


def _notebook_line() -> Callable[[str], None]:
    from IPython.display import display, update_display

    place = f"edgeq-{time.monotonic_ns()}"
    display({"text/plain": ""}, raw=True, display_id=place)
    return lambda text: update_display({"text/plain": printable(text)}, raw=True, display_id=place)
