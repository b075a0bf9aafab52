"""The per-layer error picture and its culprits, and where the time goes."""

from __future__ import annotations

from collections.abc import Sequence

from edgeq.render.parts import common_prefix, first_name, plural
from edgeq.reporting import text
from edgeq.reporting.gathered import BASELINE, CANDIDATE, Material
from edgeq.reporting.values import (
    Bar,
    BarGroup,
    BarPlot,
    Block,
    Cell,
    Column,
    Culprit,
    Panel,
    Point,
    Prose,
    Section,
    Series,
    Share,
    Table,
    XYPlot,
)
from edgeq.values import DebugReport, LayerReport, ModelProfile, OperatorTime, Profile

_CULPRITS = 3
_BARS = 12
# Of identical results; beyond what any quantization reaches.
_TOP_DB = 100.0


def find_culprits(material: Material) -> tuple[Culprit, ...]:
    """The layers that cost most, with their cause and what to type."""
    found: list[Culprit] = []
    for part in material.of("debug"):
        report: DebugReport = part.value
        prefix = _prefix(report)
        for layer in report.layers[:_CULPRITS]:
            if layer.cause and layer.remedy:
                name = text.short(layer.name, prefix)
                item = Culprit(name, layer.operator, _costs(layer), layer.cause, layer.remedy)
                if item not in found:
                    found.append(item)
    return tuple(found[:_CULPRITS])


def _prefix(report: DebugReport) -> str:
    return common_prefix([first_name(layer.name) for layer in report.layers])


def _costs(layer: LayerReport) -> str:
    own, all_ = text.db(layer.own_sqnr_db).text, layer.effect_sqnr_db
    parts = [f"its own result has {own} dB"]
    if all_ is not None:
        parts.append(f"alone it leaves the outputs {text.db(all_).text} dB")
    if layer.lost_points is not None:
        verb = "costs" if layer.lost_points >= 0 else "happens to gain"
        parts.append(f"{verb} {abs(layer.lost_points):.1f} points")
    elif layer.changed_percent is not None:
        parts.append(f"changes the top-1 of {layer.changed_percent:.1f} % of the samples")
    return "; ".join(parts)


# ---------------------------------------------------------------- errors


def layers_section(material: Material) -> Section | None:
    """Each debugged layer, in execution order and in a table."""
    blocks: list[Block] = []
    for part in material.of("debug"):
        report: DebugReport = part.value
        if report.layers:
            blocks += [_error_plot(report), _layer_table(report)]
        if report.unmatched:
            names = ", ".join(text.short(name) for name in report.unmatched[:10])
            count = plural(len(report.unmatched), "operator")
            blocks.append(Prose(f"{count} of the FP32 model have no quantized twin: {names}."))
    if not blocks:
        return None
    lead = "Where the error is made, and where it has piled up; low is bad."
    return Section("layers", "Error by layer", lead, tuple(blocks))


def _error_plot(report: DebugReport) -> XYPlot:
    # Records of before the position was kept show the layers in the order of their cost.
    ordered = sorted(report.layers, key=lambda layer: layer.position or 0)
    is_ordered = all(layer.position is not None for layer in report.layers)
    prefix = _prefix(report)

    series = tuple(
        Series(name, role, shape, _error_points(ordered, field))
        for name, role, shape, field in (
            ("of its own result", "candidate", "dots", "own_sqnr_db"),
            ("so far", "baseline", "line", "accumulated_sqnr_db"),
            ("of the outputs, its error alone", "accent", "diamonds", "effect_sqnr_db"),
        )
    )
    shown = tuple(item for item in series if item.points)
    tips = tuple(_error_tip(layer, prefix) for layer in ordered)
    worst = report.layers[0]
    return XYPlot(
        f"SQNR of {plural(len(report.layers), 'layer')}",
        f"The worst is {text.short(worst.name, prefix)} ({worst.operator}): {_costs(worst)}. "
        f"Identical results stand at {_TOP_DB:g} dB.",
        "layers in execution order" if is_ordered else "layers, the most costly first",
        (Panel("SQNR, dB", shown, tips=tips),),
    )


def _error_points(layers: Sequence[LayerReport], field: str) -> tuple[Point, ...]:
    figures = [(place, getattr(layer, field)) for place, layer in enumerate(layers)]
    return tuple(
        Point(place, min(value, _TOP_DB), "") for place, value in figures if value is not None
    )


def _error_tip(layer: LayerReport, prefix: str) -> str:
    parts = [f"own {text.db(layer.own_sqnr_db).text} dB"]
    parts.append(f"so far {text.db(layer.accumulated_sqnr_db).text} dB")
    if layer.effect_sqnr_db is not None:
        parts.append(f"outputs {text.db(layer.effect_sqnr_db).text} dB")
    return f"{text.short(layer.name, prefix)} ({layer.operator}): {', '.join(parts)}"


def _layer_table(report: DebugReport) -> Table:
    prefix = _prefix(report)
    columns = (
        Column("layer"),
        Column("#", True, "Position in execution order."),
        Column("operator"),
        Column("outputs dB", True, "SQNR of the model's outputs with this layer's error alone."),
        Column("top-1 changed", True, "Share of samples whose largest class it changes alone."),
        Column("lost points", True, "Accuracy that its error alone costs; below 0 is gained."),
        Column("own dB", True, "SQNR of its result, run on the FP32 model's inputs."),
        Column("so far dB", True, "SQNR of its result in the quantized model."),
        Column("range used", True, "Share of its quantized range that FP32 values fill."),
        Column("cut off", True, "Share of FP32 values beyond its quantized range."),
        Column("weight spread", True, "Widest channel's range over the median channel's."),
        Column("cause"),
        Column("try"),
    )
    rows = tuple(_layer_row(layer, prefix) for layer in report.layers)
    caption = f"Layers, the most costly first ({plural(report.sample_count, 'sample')})"
    return Table(caption, columns, rows, text.left_out(prefix), by_layer=True)


def _layer_row(layer: LayerReport, prefix: str) -> tuple[Cell, ...]:
    changed, lost = layer.changed_percent, layer.lost_points
    position = "-" if layer.position is None else str(layer.position)
    return (
        Cell(text.short(layer.name, prefix)),
        Cell(position, layer.position),
        Cell(layer.operator),
        text.db(layer.effect_sqnr_db),
        Cell("-") if changed is None else Cell(f"{changed:.1f} %", changed),
        Cell("-") if lost is None else Cell(f"{lost:+.2f}", lost),
        text.db(layer.own_sqnr_db),
        text.db(layer.accumulated_sqnr_db),
        Cell(f"{layer.range_use:.0%}", layer.range_use),
        Cell(f"{layer.saturation_share:.2%}", layer.saturation_share),
        text.number(layer.weight_spread, "{:.1f}x"),
        Cell(layer.cause or "-"),
        Cell(layer.remedy or "-"),
    )


# ---------------------------------------------------------------- time


def operators_section(material: Material) -> Section | None:
    """Each profile: bars of the longest operators, all of them in a table, and why."""
    blocks: list[Block] = []
    for part in material.of("profile"):
        profile: Profile = part.value
        blocks += [_time_bars(profile, material), _operator_table(profile), _type_table(profile)]
        blocks += [Prose(reason) for reason in profile.reasons]
    if not blocks:
        return None
    lead = "Time per operator of one inference, the profiler's own cost apart."
    return Section("operators", "Latency by operator", lead, tuple(blocks))


def _twins(profile: Profile) -> dict[int | None, OperatorTime]:
    """The second model's operator for each of the first one's."""
    if len(profile.models) < 2:
        return {}
    theirs = {op.index: op for op in profile.models[1].operators}
    return {ours: theirs[other] for ours, other in profile.pairs}


def _timed(model: ModelProfile) -> list[OperatorTime]:
    found = [op for op in (*model.operators, *model.unmapped) if op.time_ms is not None]
    return sorted(found, key=lambda op: -(op.time_ms or 0.0))


def _time_bars(profile: Profile, material: Material) -> BarPlot:
    own, twins = profile.models[0], _twins(profile)
    prefix = common_prefix([first_name(op.name) for op in own.operators])
    first = material.role(own.model.sha256)
    first = first if first != "other" else CANDIDATE
    second = BASELINE if first != BASELINE else CANDIDATE
    groups = []
    for op in _timed(own)[:_BARS]:
        bars = [Bar(first, op.time_ms or 0.0, text.ms(op.time_ms).text)]
        twin = twins.get(op.index)
        if twin is not None and twin.time_ms is not None:
            bars.append(Bar(second, twin.time_ms, text.ms(twin.time_ms).text))
        groups.append(BarGroup(f"{text.short(op.name, prefix)} ({op.operator})", tuple(bars)))
    legend = [(first, text.base(own.model.path))]
    if len(profile.models) > 1:
        legend.append((second, text.base(profile.models[1].model.path)))
    shown = sum(op.share for op in _timed(own)[:_BARS])
    return BarPlot(
        f"The longest operators on {profile.facts.device}",
        f"{plural(len(groups), 'operator')} with {shown:.0%} of the time of all. "
        f"Whole inference {text.ms(own.latency_ms).text}.",
        "milliseconds per inference",
        tuple(legend),
        tuple(groups),
    )


def _operator_table(profile: Profile) -> Table:
    own, twins = profile.models[0], _twins(profile)
    prefix = common_prefix([first_name(op.name) for op in own.operators])
    columns = [
        Column("layer"),
        Column("#", True, "Position in execution order."),
        Column("operator"),
        Column("precision"),
        Column("ms", True),
        Column("share", True, "Of the sum of all operators' times."),
    ]
    if twins:
        other = text.base(profile.models[1].model.path)
        columns += [Column(f"ms in {other}", True), Column("gain", True)]
    columns.append(Column("kernel", False, "What the runtime computed it with."))
    rows = tuple(
        _operator_row(op, prefix, twins if twins else None)
        for op in sorted(
            (*own.operators, *own.unmapped), key=lambda op: -(op.time_ms or 0.0)
        )
    )  # fmt: skip
    caption = f"Operators of {text.base(own.model.path)} on {profile.facts.device}"
    note = f"{text.left_out(prefix)} {plural(own.runs, 'inference')}.".strip()
    return Table(caption, tuple(columns), rows, note, by_layer=True)


def _operator_row(
    op: OperatorTime, prefix: str, twins: dict[int | None, OperatorTime] | None
) -> tuple[Cell, ...]:
    index = "-" if op.index is None else str(op.index)
    cells = [
        Cell(text.short(op.name, prefix)),
        Cell(index, op.index),
        Cell(op.operator),
        Cell(f"{op.precision} (island)" if op.is_island else op.precision or "-", None,
             "doubt" if op.is_island else ""),
        Cell("-") if op.time_ms is None else Cell(f"{op.time_ms:.4f}", op.time_ms),
        Cell(f"{op.share:.1%}", op.share, "", Share(op.share)),
    ]  # fmt: skip
    if twins is not None:
        twin = twins.get(op.index)
        theirs = None if twin is None else twin.time_ms
        cells.append(Cell("-") if theirs is None else Cell(f"{theirs:.4f}", theirs))
        gain = theirs / op.time_ms if theirs is not None and op.time_ms else None
        tone = "" if gain is None or gain >= 0.95 else "bad"
        cells.append(Cell("-") if gain is None else Cell(text.times(gain), gain, tone))
    kernel = " + ".join(dict.fromkeys(op.kernels)) or "inside another"
    cells.append(Cell(kernel))
    return tuple(cells)


def _type_table(profile: Profile) -> Table:
    columns = [Column("type"), Column("operators", True), Column("ms", True), Column("share", True)]
    theirs = {}
    if len(profile.models) > 1:
        columns.append(Column(f"ms in {text.base(profile.models[1].model.path)}", True))
        theirs = {item.operator: item.time_ms for item in profile.models[1].types}
    rows = []
    for item in profile.models[0].types:
        cells = [
            Cell(item.operator),
            Cell(str(item.count), item.count),
            Cell(f"{item.time_ms:.4f}", item.time_ms),
            Cell(f"{item.share:.1%}", item.share, "", Share(item.share)),
        ]
        if len(profile.models) > 1:
            other = theirs.get(item.operator)
            cells.append(Cell("-") if other is None else Cell(f"{other:.4f}", other))
        rows.append(tuple(cells))
    return Table("By type of operator", tuple(columns), tuple(rows))
