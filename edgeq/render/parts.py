"""Pieces of terminal text that several results share."""

from __future__ import annotations

import functools
import math
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

from edgeq import timing
from edgeq.escaping import clean, printable_lines
from edgeq.values import Issue, OutputQuality, Quality, Ratio, TensorSpec, WayOut

Show = TypeVar("Show", bound=Callable[..., str])

_NARROWEST = 80
_WIDEST = 120


def render(*parts: RenderableType) -> str:
    """Rich renderables as text with colours; `click.echo` drops them when nobody would see."""
    width = min(max(shutil.get_terminal_size((100, 24)).columns, _NARROWEST), _WIDEST)
    console = Console(
        width=width, force_terminal=True, color_system="standard", highlight=False,
        markup=False, emoji=False,  # which are for texts of edgeq's own; names may look like them
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
    """What rich shows, without what would steer the terminal but its own colours.

    `harmless` comes first: it knows names from their surroundings, so that also a line break in one
    is seen. This here holds for whatever did not go through that.
    """

    def __init__(self, part: RenderableType):
        self._part = part

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._part, options):
            yield Segment(printable_lines(segment.text), segment.style)


def harmless(show: Show) -> Show:
    """A function that shows values as text: it is given them with all their texts printable."""

    @functools.wraps(show)
    def shown(*values: Any, **options: Any) -> str:
        return show(*map(clean, values), **options)

    return cast("Show", shown)


def grid(rows: Iterable[Sequence[str]]) -> Padding:
    """Rows under a heading, the first column dim."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return Padding(table, (0, 0, 0, 2))


def heading(text: str) -> Text:
    """A line in bold."""
    return Text(text, style="bold")


def show_bytes(count: int | None) -> str:
    """A size with the unit a reader expects, "-" when not measured."""
    if count is None:
        return "-"
    if count < 1000:
        return f"{count} B"
    units = (("kB", 1e3), ("MB", 1e6), ("GB", 1e9))
    unit, size = next((u for u in units if count < 999.5 * u[1]), units[-1])
    return f"{count / size:.1f} {unit}"


def show_sizes(ratio: float) -> str:
    """How many times smaller; a file that grew is said, not left to a number below one."""
    if f"{ratio:.1f}" == f"{1 / ratio:.1f}" == "1.0":
        return "no difference"
    return f"{ratio:.1f}x smaller" if ratio >= 1 else f"{1 / ratio:.1f}x LARGER"


def show_ms(value: float | None) -> str:
    """A latency with three significant digits, "-" when not measured."""
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:.0f} ms"
    digits = 2 - math.floor(math.log10(value)) if value > 0 else 2
    return f"{value:.{max(digits, 0)}f} ms"


def show_bare_ms(value: float | None) -> str:
    """The same for a column that names the unit."""
    return "-" if value is None else f"{value:.3g}"


_MOST_PARTS = 3


def show_db(value: float) -> str:
    """An SQNR; identical outputs have no noise."""
    return "identical" if math.isinf(value) and value > 0 else f"{value:.1f} dB"


def tensor_cells(spec: TensorSpec) -> tuple[str, ...]:
    """A model's input or output."""
    return (f"{spec.name}  {describe_tensor(spec)}",)


def describe_tensor(spec: TensorSpec) -> str:
    """Its dtype, shape and quantization."""
    shape = "x".join("?" if size == -1 else str(size) for size in spec.shape)
    quantized = ""
    if spec.scales:
        quantized = f", scale {spec.scales[0]:.6g}, zero point {spec.zero_points[0]}"
    return f"{spec.dtype} {shape}{quantized}"


def show_output(output: OutputQuality) -> str:
    """The SQNR of its parts, the worst first; of the whole in records of edgeq 0.1."""
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
                f"{quality.candidate_accuracy_percent:.2f} %, drop {drop.value:+.2f} points "
                f"(95 % interval {drop.low:+.2f} to {drop.high:+.2f})",
            )
        )
        rows.append(
            (
                "in pairs",
                f"{pairs.both_right} both right, {pairs.only_baseline} only float, "
                f"{pairs.only_candidate} only quantized, {pairs.both_wrong} both wrong",
            )
        )
    return rows


def show_ratio(ratio: Ratio) -> str:
    """A speed-up with its interval; slower is said, not left to a number below one."""
    value, low, high = timing.show_ends(ratio)
    interval = f"(ratio {value}, 95 % interval {low} to {high})"
    if timing.direction(ratio) == 0:
        return f"no difference {interval}"
    word = "faster" if ratio.value >= 1 else "SLOWER"
    times = ratio.value if ratio.value >= 1 else 1 / ratio.value
    return f"{times:.2f}x {word} {interval}"


def issue_parts(issues: Sequence[Issue]) -> list[RenderableType]:
    """Numbered doubts; nothing without any."""
    if not issues:
        return []
    styles = {"error": "red", "warning": "yellow", "note": "cyan"}
    grid = Table.grid(padding=(0, 1))
    for number, issue in enumerate(issues, 1):
        label = Text(issue.severity, style=styles[issue.severity])
        code = f" [{issue.code}]" if issue.code else ""
        grid.add_row(Text(f"{number}."), label, Text(issue.message + code))
    return ["", Padding(grid, (0, 0, 0, 2))]


def plural(count: int, noun: str) -> str:
    """A count with its noun."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def common_prefix(names: Sequence[str]) -> str:
    """What most names begin with, up to the first slash: the model's name."""
    if len(names) < 2:
        return ""
    first = [name.partition("/")[0] + "/" for name in names if "/" in name]
    common = Counter(first).most_common(1)
    return common[0][0] if common and common[0][1] > len(names) // 2 else ""


def first_name(name: str) -> str:
    """Of the several that TensorFlow joins for a fused operator."""
    return name.split(";", maxsplit=1)[0]


def way_out_parts(tried: Sequence[WayOut]) -> list[RenderableType]:
    """What to type so that nothing is lost, or that nothing of what was tried helps."""
    if not tried:
        return []
    found = tried[-1]
    count = plural(len(tried), "way")
    if not found.keeps:
        return ["", f"Tried {count} out of the loss; none keeps everything:", *_tried_lines(tried)]
    assert found.sqnr_db is not None
    return [
        "",
        heading(f"Way out, tried on this model: {show_db(found.sqnr_db)} at the worst part"),
        Text(f"  {found.command}"),
    ]


def _tried_lines(tried: Sequence[WayOut]) -> list[Text]:
    return [
        Text(f"  {'no file' if way.sqnr_db is None else show_db(way.sqnr_db)}: {way.command}")
        for way in tried
    ]
