"""The error of each layer, and the layers that cost most."""

from __future__ import annotations

from collections.abc import Sequence

from edgeq.reporting import cells
from edgeq.reporting.cells import short
from edgeq.reporting.gathered import Gathered
from edgeq.reporting.values import (
    Block,
    Cell,
    Culprit,
    Panel,
    Point,
    Prose,
    Section,
    Series,
    Table,
    XYPlot,
)
from edgeq.values import DebugReport, LayerReport
from edgeq.wording import common_prefix, left_out, plural

_CULPRITS = 3
# Drawn for identical results; beyond what any quantization reaches.
_TOP_DB = 100.0


def find_culprits(gathered: Gathered) -> tuple[Culprit, ...]:
    """The layers that cost most, with their cause and what to type."""
    found: list[Culprit] = []
    for part in gathered.of("debug"):
        report: DebugReport = part.value
        prefix = common_prefix([layer.name for layer in report.layers])
        for layer in report.layers[:_CULPRITS]:
            if layer.cause and layer.remedy:
                name = short(layer.name, prefix)
                item = Culprit(name, layer.operator, _costs(layer), layer.cause, layer.remedy)
                if item not in found:
                    found.append(item)
    return tuple(found[:_CULPRITS])


def _costs(layer: LayerReport) -> str:
    parts = [f"its own result has {_db(layer.own_sqnr_db)}"]
    if layer.effect_sqnr_db is not None:
        parts.append(f"alone it leaves the outputs {_db(layer.effect_sqnr_db)}")
    if layer.lost_points is not None:
        verb = "costs" if layer.lost_points >= 0 else "happens to gain"
        parts.append(f"{verb} {abs(layer.lost_points):.1f} points")
    elif layer.changed_percent is not None:
        parts.append(f"changes the top-1 of {layer.changed_percent:.1f} % of the samples")
    return "; ".join(parts)


def _db(value: float | None) -> str:
    return f"{cells.db(value).text} dB"


def section(gathered: Gathered) -> Section:
    """Each debugged layer, in execution order and in a table."""
    blocks: list[Block] = []
    for part in gathered.of("debug"):
        report: DebugReport = part.value
        if report.layers:
            prefix = common_prefix([layer.name for layer in report.layers])
            blocks += [_error_plot(report, prefix), _layer_table(report, prefix)]
        if report.unmatched:
            names = ", ".join(short(name) for name in report.unmatched[:10])
            count = plural(len(report.unmatched), "operator")
            blocks.append(
                Prose(f"No quantized twin was found for {count} of the FP32 model: {names}.")
            )
    lead = "Where the error is made, and where it has piled up; low is bad."
    return Section("layers", "Error by layer", lead, tuple(blocks))


def _error_plot(report: DebugReport, prefix: str) -> XYPlot:
    # Records of edgeq 0.1 have no position; their layers are in the order of their cost.
    ordered = sorted(report.layers, key=lambda layer: layer.position or 0)
    is_ordered = all(layer.position is not None for layer in report.layers)
    series = tuple(
        Series(name, role, shape, points)
        for name, role, shape, field in (
            ("of the layer's result", "candidate", "dots", "own_sqnr_db"),
            ("so far", "baseline", "line", "accumulated_sqnr_db"),
            ("of the outputs, its error alone", "accent", "diamonds", "effect_sqnr_db"),
        )
        if (points := _error_points(ordered, field))
    )
    tips = []
    for layer in ordered:
        parts = [f"own {_db(layer.own_sqnr_db)}", f"so far {_db(layer.accumulated_sqnr_db)}"]
        if layer.effect_sqnr_db is not None:
            parts.append(f"outputs {_db(layer.effect_sqnr_db)}")
        tips.append(f"{short(layer.name, prefix)} ({layer.operator}): {', '.join(parts)}")
    worst = report.layers[0]
    return XYPlot(
        f"SQNR of {plural(len(report.layers), 'layer')}",
        f"The worst is {short(worst.name, prefix)} ({worst.operator}): {_costs(worst)}. "
        f"Identical results are drawn at {_TOP_DB:g} dB.",
        "layers in execution order" if is_ordered else "layers, the most costly first",
        (Panel("SQNR, dB", series, tips=tuple(tips)),),
    )


def _error_points(layers: Sequence[LayerReport], field: str) -> tuple[Point, ...]:
    figures = [(place, getattr(layer, field)) for place, layer in enumerate(layers)]
    return tuple(
        Point(place, min(value, _TOP_DB), "") for place, value in figures if value is not None
    )


def _layer_table(report: DebugReport, prefix: str) -> Table:
    titles = cells.columns(
        "layer",
        (">outputs dB", "SQNR of the model's outputs with this layer's error alone."),
        (">top-1 changed", "Share of samples whose largest class it changes alone."),
        (
            f">lost {report.metric or 'points'}",
            f"{report.metric or 'Accuracy'} in points that its error alone costs; below 0: gained.",
        ),
        (">own dB", "SQNR of its result, run on the FP32 model's inputs."),
        (">so far dB", "SQNR of its result in the quantized model."),
        "operator",
        (">#", "Position in execution order."),
        (">range used", "Share of its quantized range that FP32 values fill."),
        (">cut off", "Share of FP32 values beyond its quantized range."),
        (">weight spread", "Widest channel's range over the median channel's."),
        "cause",
        "try",
    )
    rows = tuple(
        (
            Cell(short(layer.name, prefix)),
            cells.db(layer.effect_sqnr_db),
            cells.number(layer.changed_percent, "{:.1f} %"),
            cells.number(layer.lost_points, "{:+.2f}"),
            cells.db(layer.own_sqnr_db),
            cells.db(layer.accumulated_sqnr_db),
            Cell(layer.operator),
            cells.count(layer.position),
            cells.percent(layer.range_use, 0),
            cells.percent(layer.saturation_share, 2),
            cells.number(layer.weight_spread, "{:.1f}x"),
            Cell(layer.cause or "-"),
            Cell(layer.remedy or "-"),
        )
        for layer in report.layers
    )
    caption = f"Layers, the most costly first ({plural(report.sample_count, 'sample')})"
    return Table(caption, titles, rows, left_out(prefix), by_layer=True)
