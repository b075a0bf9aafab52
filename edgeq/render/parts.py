"""Pieces of terminal text that several results share."""

from __future__ import annotations

import functools
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar, cast

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from edgeq.escaping import clean, printable_lines
from edgeq.metrics.catalogue import ACCURACY
from edgeq.values import Certificate, Issue, OutputQuality, Quality, WayOut
from edgeq.wording import describe_tensor, plural, show_db, show_loss, show_metric, signed

Show = TypeVar("Show", bound=Callable[..., str])

_NARROWEST = 40
_WIDEST = 120
_MOST_PARTS = 3  # of an output, the worst


def render(*parts: RenderableType) -> str:
    """Rich renderables as text with colours; `click.echo` drops them when nobody would see."""
    width = min(max(shutil.get_terminal_size((100, 24)).columns, _NARROWEST), _WIDEST)
    console = Console(
        width=width, force_terminal=True, color_system="standard", highlight=False,
        markup=False, emoji=False,  # names can look like both
        force_jupyter=False,  # there, rich would also display something alone
        legacy_windows=False,  # the same text in every console
    )  # fmt: skip
    with console.capture() as capture:
        for part in parts:
            # Lines with paths are left whole, so that they can be copied.
            console.print(_Harmless(part), soft_wrap=isinstance(part, (str, Text)))
    # Rows are padded with blanks, some of them inside a colour.
    return re.sub(
        r"(?: |\x1b\[[0-9;]*m)+$",
        lambda end: end[0].replace(" ", ""),
        capture.get().rstrip("\n"),
        flags=re.MULTILINE,
    )


class _Harmless:
    """A part with only rich's own control sequences.

    `harmless` comes first and sees single names, also a line break in one. This class catches text
    that did not go through it.
    """

    def __init__(self, part: RenderableType):
        self._part = part

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._part, options):
            yield Segment(printable_lines(segment.text), segment.style)


def harmless(show: Show) -> Show:
    """Decorate a function that shows values: all texts in them are made printable first."""

    @functools.wraps(show)
    def shown(*values: Any, **options: Any) -> str:
        return show(*map(clean, values), **options)

    return cast("Show", shown)


def grid(rows: Iterable[Sequence[str]]) -> Padding:
    """Rows under a heading, the first column dim."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell, overflow="fold") for cell in row))
    return indented(table)


def indented(part: RenderableType) -> Padding:
    """A part under a heading."""
    return Padding(part, (0, 0, 0, 2))


def wrapped(text: str, indent: int = 0, *, hanging: int = 0, style: str = "") -> Padding:
    """A paragraph that is wrapped at the terminal's width.

    Args:
        indent: of all lines, in letters.
        hanging: more letters for all lines but the first.
    """
    first, rest = text[:hanging], text[hanging:]
    table = Table.grid()
    if hanging:
        table.add_column(width=hanging, no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(*([Text(first, style)] if hanging else []), Text(rest, style))
    return Padding(table, (0, 0, 0, indent))


def heading(text: str) -> Text:
    """A line in bold."""
    return Text(text, style="bold")


def tensor_rows(proof: Certificate) -> list[tuple[str, str]]:
    """The inputs and outputs of a model."""
    return [
        (side, f"{spec.name}  {describe_tensor(spec)}")
        for side, specs in (("input", proof.inputs), ("output", proof.outputs))
        for spec in specs
    ]


def operator_counts(proof: Certificate) -> str:
    """The number of operators of each precision."""
    counts = Counter(operator.precision for operator in proof.operators)
    return ", ".join(f"{count} {precision}" for precision, count in counts.most_common())


def float_counts(proof: Certificate) -> str:
    """The number of float islands, and of the float operators at the ends."""
    ends = [
        f"{plural(len(names), 'float operator')} {where}"
        for names, where in (
            (proof.wide_inputs, "behind the inputs"),
            (proof.wide_outputs, "before the outputs"),
        )
        if names
    ]
    return ", ".join([plural(proof.float_islands, "float island"), *ends])


def runtime_row(proof: Certificate) -> tuple[str, str]:
    """The oldest runtime that can load a file."""
    return "runtime", f"TensorFlow Lite {proof.min_runtime_version or 'unknown'} or newer"


def show_output(output: OutputQuality) -> str:
    """The SQNR of an output's parts, the worst first; of the whole in records of edgeq 0.1."""
    if not output.parts:
        return show_db(output.sqnr_db)
    if output.not_finite:
        return f"not known: {output.not_finite} float values are NaN or infinite"
    found = sorted((part.sqnr_db, part.where) for part in output.parts if part.sqnr_db is not None)
    if not found:
        return "not known: the float values do not vary"
    if len(found) == 1:
        return show_db(found[0][0])
    shown = [f"{show_db(value)} of {where}" for value, where in found[:_MOST_PARTS]]
    if len(found) > _MOST_PARTS:
        shown.append(f"{len(found) - _MOST_PARTS} more parts are better")
    return ", ".join(shown)


def quality_rows(quality: Quality) -> list[tuple[str, str]]:
    """Outputs and accuracy against the float model."""
    rows = [
        (
            "SQNR" if len(quality.outputs) == 1 else f"SQNR {output.name}",
            f"{show_output(output)}  (MSE {output.mse:.3g}, largest error {output.max_error:.3g})",
        )
        for output in quality.outputs
    ]
    if quality.agreement_percent is not None:
        rows.append(("top-1", f"{quality.agreement_percent:.1f} % the same"))
    if quality.drop_points is not None and quality.paired is not None:
        drop, pairs = quality.drop_points, quality.paired
        rows.append(
            (
                "accuracy" if len(quality.outputs) == 1 else f"accuracy {quality.scored_output}",
                f"{quality.baseline_accuracy_percent:.2f} % -> "
                f"{quality.candidate_accuracy_percent:.2f} %, drop {signed(drop.value)} points "
                f"(95 % interval {signed(drop.low)} to {signed(drop.high)})",
            )
        )
        rows.append(
            (
                "in pairs",
                f"{pairs.both_right} both right, {pairs.only_baseline} only float, "
                f"{pairs.only_candidate} only quantized, {pairs.both_wrong} both wrong",
            )
        )
    for pair in quality.metrics:
        if pair.baseline.name != ACCURACY or quality.paired is None:
            lost = "" if pair.loss is None else f", {show_loss(pair.loss)}"
            shown = f"{show_metric(pair.baseline)} -> {show_metric(pair.candidate)}{lost}"
            rows.append((pair.baseline.name, shown))
    return rows


def issue_parts(issues: Sequence[Issue]) -> list[RenderableType]:
    """Numbered doubts; nothing without any."""
    if not issues:
        return []
    styles = {"error": "red", "warning": "yellow", "note": "cyan"}
    grid = Table.grid(padding=(0, 1))
    for number, issue in enumerate(issues, 1):
        label = Text(issue.severity, style=styles[issue.severity])
        code = f" [{issue.code}]" if issue.code else ""
        grid.add_row(Text(f"{number}."), label, Text(issue.message + code, overflow="fold"))
    return ["", indented(grid)]


def way_out_parts(tried: Sequence[WayOut]) -> list[RenderableType]:
    """The command that loses nothing, or a sentence that none of those tried helps."""
    if not tried:
        return []
    found = tried[-1]
    if not found.keeps:
        lines = [
            Text(f"  {'no file' if way.sqnr_db is None else show_db(way.sqnr_db)}: {way.command}")
            for way in tried
        ]
        count = plural(len(tried), "way")
        return ["", f"Tried {count} out of the loss; none keeps everything:", *lines]
    assert found.sqnr_db is not None
    return [
        "",
        heading(f"Way out, tried on this model: {show_db(found.sqnr_db)} at the worst part"),
        Text(f"  {found.command}"),
    ]
