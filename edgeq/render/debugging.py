"""The layers of a quantized model that cost most, as terminal text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from edgeq.debugging.trying import LEAST_GAIN_DB
from edgeq.render.parts import (
    grid,
    harmless,
    heading,
    indented,
    issue_parts,
    quality_rows,
    render,
    wrapped,
)
from edgeq.render.tables import FittingTable
from edgeq.values import DebugReport, LayerReport
from edgeq.wording import common_prefix, first_name, left_out, plural, show_db, signed

_WORST = 10
_EXPLAINED = 3
_REMEDIES = 5
_LEGEND = (
    "SQNR in dB: of the outputs (before a final activation) with this layer's error alone, of the "
    "layer's result, and of its result in the quantized model (so far). An error can also help: "
    "lost points below 0 are gained."
)


@harmless
def show_debug(report: DebugReport, *, show_all: bool = False) -> str:
    """Summary of `edgeq debug`."""
    names = f"{report.baseline.path} against {report.candidate.path}"
    prefix = common_prefix([layer.name for layer in report.layers])
    parts: list[RenderableType] = [
        heading(f"{names}, on {plural(report.sample_count, 'sample')}"),
        "",
    ]
    if not report.layers:
        parts.append("No operator of the second model is quantized.")
        return render(*parts, *issue_parts(report.issues))
    parts += [grid([*quality_rows(report.quality)]), ""]
    shown = report.layers if show_all else report.layers[:_WORST]
    parts += [
        wrapped(_verdict(report)),
        "",
        wrapped(_LEGEND, style="dim"),
        *([Text(left_out(prefix), "dim")] if prefix else []),
        "",
        _table(shown, prefix, report.metric),
    ]
    left = len(report.layers) - len(shown)
    if left:
        parts.append(Text(f"  and {plural(left, 'layer')} that cost less: --all", style="dim"))
    parts.append("")
    for number, layer in enumerate(report.layers[:_EXPLAINED], 1):
        parts.append(wrapped(f"{number}. {first_name(layer.name)}: {layer.cause}.", 2, hanging=3))
        if layer.remedy:
            gain = "" if layer.gain_db is None else f"  ({signed(layer.gain_db, '.1f')} dB)"
            parts.append(Text(f"     {layer.remedy}{gain}", style="cyan"))
    parts += _remedy_parts(report)
    if report.unmatched:
        shown_names = ", ".join(first_name(name) for name in report.unmatched[:5])
        count = plural(len(report.unmatched), "operator")
        parts += [
            "",
            Text(f"No quantized twin was found for {count} of the float model: {shown_names}"),
        ]
    return render(*parts, *issue_parts(report.issues))


def _verdict(report: DebugReport) -> str:
    worst = report.layers[0]
    if worst.effect_sqnr_db is None:
        return f"{first_name(worst.name)} ({worst.operator}) has the largest error itself."
    text = (
        f"{first_name(worst.name)} ({worst.operator}) costs most: alone it leaves the outputs "
        f"{show_db(worst.effect_sqnr_db)}"
    )
    if worst.changed_percent is not None:
        text += f" and changes the top-1 of {worst.changed_percent:.1f} % of the samples"
    costs = [layer for layer in report.layers if layer.lost_points is not None]
    if report.metric is not None and costs:
        most = max(costs, key=lambda layer: layer.lost_points or 0.0)
        text += (
            f". {first_name(most.name)} ({most.operator}) costs most {report.metric}: "
            f"{most.lost_points:.2f} points"
        )
    return f"{text}."


def _table(layers: Sequence[LayerReport], prefix: str, metric: str | None) -> Padding:
    """SQNR in dB unless the heading says otherwise."""
    has_labels = any(layer.lost_points is not None for layer in layers)
    lost = ">lost pt" if metric is None else f">{metric} lost"
    table = FittingTable("<layer", "operator", ">outputs", lost if has_labels else ">top-1 %",
                       ">own", ">so far", ">spread", ">cut off")  # fmt: skip
    for layer in layers:
        task = layer.changed_percent if layer.lost_points is None else layer.lost_points
        # The spread of the channels that share a scale.
        weights = layer.weight_spread if layer.is_per_channel is False else None
        spread = max(layer.input_spread, layer.output_spread, weights or 1)
        cells = (
            first_name(layer.name, prefix),
            layer.operator,
            _number(layer.effect_sqnr_db),
            "-" if task is None else f"{task:.1f}",
            _number(layer.own_sqnr_db),
            _number(layer.accumulated_sqnr_db),
            f"{spread:.0f}x",
            f"{layer.saturation_share:.1%}",
        )
        table.add_row(*cells)
    return indented(table)


def _number(decibel: float | None) -> str:
    if decibel is None:
        return "-"
    return "same" if decibel == math.inf else f"{decibel:.1f}"


def _remedy_parts(report: DebugReport) -> list[RenderableType]:
    """The remedies that were tried, their gains, and the command of the best."""
    if report.untried is not None:
        return ["", Text(f"No remedy could be tried: {report.untried}")]
    if not report.remedies:
        return []
    best = report.remedies[0]
    if best.gain_db is None or best.gain_db < LEAST_GAIN_DB:
        count = plural(len(report.remedies), "other conversion")
        return ["", Text(f"Tried {count} of this model; none gains {LEAST_GAIN_DB:g} dB.")]
    rows = [
        (show_db(item.sqnr_db), f"{signed(item.gain_db, '.1f')} dB", item.options)
        for item in report.remedies[:_REMEDIES]
        if item.sqnr_db is not None and item.gain_db is not None
    ]
    return [
        "",
        heading("Tried on this model: SQNR of the outputs' worst part, and what is gained"),
        *(Text(f"  {sqnr:>9}  {gain:>9}  {options}") for sqnr, gain, options in rows),
        "",
        heading("The best command"),
        Text(f"  {best.command}"),
    ]
