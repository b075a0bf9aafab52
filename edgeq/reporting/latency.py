"""Latency distributions and memory per device, and what becomes of them over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain

from edgeq import timing
from edgeq.render.parts import plural
from edgeq.reporting import text
from edgeq.reporting.gathered import CANDIDATE, Material, Measured
from edgeq.reporting.values import (
    Block,
    Cell,
    Column,
    DistributionPlot,
    DistributionRow,
    Panel,
    Point,
    Section,
    Series,
    Table,
    XYPlot,
)
from edgeq.values import BenchRun, Sustained, SustainedWindow

_BINS = 60
_MOST_TIMES = 3  # the slowest model's p90 is a third of the axis, or more


def latency_section(material: Material) -> Section | None:
    """Every device's runs."""
    measured = material.measured()
    if not measured:
        return None
    bursts = [item for item in measured if not _is_sustained(item)]
    blocks: list[Block] = [plot for item in bursts if (plot := _distributions(item)) is not None]
    blocks.append(_runs_table(measured))
    lead = "Single inferences, measured in turns; how they scatter, not just their middle."
    return Section("latency", "Latency and memory", lead, tuple(blocks))


def _is_sustained(item: Measured) -> bool:
    return any(run.sustained is not None for run in item.result.runs)


def _label(run: BenchRun, role: str) -> str:
    name = text.base(run.model.path)
    return {"baseline": f"FP32, {name}", "candidate": f"candidate, {name}"}.get(role, name)


def _distributions(item: Measured) -> DistributionPlot | None:
    """Histograms in bins that are equally wide on a logarithmic axis."""
    runs = [
        (run, role) for run, role in zip(item.result.runs, item.roles, strict=True)
        if run.latencies_ms
    ]  # fmt: skip
    times = [sorted(chain.from_iterable(run.latencies_ms)) for run, _ in runs]
    times = [own for own in times if own and own[0] > 0]
    if not times or len(times) != len(runs):
        return None
    low, high = min(own[0] for own in times), _axis_end(times)
    rows = tuple(
        DistributionRow(
            _label(run, role), role, _bin(own, low, high), run.latency.p50_ms, run.latency.p90_ms
        )
        for (run, role), own in zip(runs, times, strict=True)
    )
    figures = "; ".join(
        f"{row.label}: p50 {text.ms(row.p50).text}, p90 {text.ms(row.p90).text}" for row in rows
    )
    beyond = sum(value > high for own in times for value in own) / sum(map(len, times))
    return DistributionPlot(
        f"Latency on {item.label}",
        f"How often an inference took how long. {figures}. {beyond:.1%} took longer than the axis "
        "is long, and are counted in the last bar.",
        "milliseconds",
        low,
        high,
        rows,
    )


def _axis_end(times: Sequence[Sequence[float]]) -> float:
    """Beyond it, a few interruptions would squeeze everything else together."""
    low = min(own[0] for own in times)
    slow = max(own[int(0.9 * (len(own) - 1))] for own in times)
    last = max(own[-1] for own in times)
    return max(min(_MOST_TIMES * slow, last), low * 1.01)


def _bin(times: Sequence[float], low: float, high: float) -> tuple[int, ...]:
    counts = [0] * _BINS
    width = math.log(high / low) / _BINS
    for value in times:
        place = int(math.log(max(value, low) / low) / width)
        counts[min(place, _BINS - 1)] += 1
    return tuple(counts)


def _runs_table(measured: Sequence[Measured]) -> Table:
    columns = (
        Column("model"),
        Column("device"),
        Column("p50", True, "Median, with its 95 % interval."),
        Column("p90", True),
        Column("p99", True),
        Column("first", True, "The first inference after loading."),
        Column("load", True, "Loading the file and allocating its tensors."),
        Column("peak memory", True, "Most resident memory of the process that ran it alone."),
        Column("arena", True, "Activation memory as TensorFlow Lite plans it."),
        Column("inferences", True),
        Column("threads", True),
        Column("runtime"),
        Column("energy", True, "Per inference, idle power of the board included."),
        Column("trust"),
    )
    rows = []
    for item in measured:
        for run, role in zip(item.result.runs, item.roles, strict=True):
            rows.append(_run_row(item, run, role))
    return Table("Every run", columns, tuple(rows), _conditions(measured))


def _run_row(item: Measured, run: BenchRun, role: str) -> tuple[Cell, ...]:
    latency, energy = run.latency, run.energy
    p50 = text.ms(latency.p50_ms)
    known = timing.p50_interval(run)
    if known is not None:
        interval = f"({known.low:.3g} to {known.high:.3g})"
        p50 = Cell(f"{p50.text} {interval}", latency.p50_ms)
    tone = {"valid": "good", "degraded": "doubt", "invalid": "bad"}[run.validity]
    codes = ", ".join(dict.fromkeys(issue.code for issue in run.issues if issue.severity != "note"))
    trust = Cell(f"{run.validity}: {codes}" if codes else run.validity, None, tone)
    used = Cell("-") if energy is None else Cell(
        f"{energy.per_inference_mj:.3g} mJ", energy.per_inference_mj
    )  # fmt: skip
    return (
        Cell(_label(run, role)), Cell(item.label), p50, text.ms(latency.p90_ms),
        text.ms(latency.p99_ms), text.ms(run.first_ms), text.ms(run.init_ms),
        text.size(run.peak_rss_bytes), text.size(run.arena_bytes),
        Cell(str(latency.count), latency.count), Cell(str(run.threads), run.threads),
        Cell(f"{run.runtime.name} {run.runtime.version}"), used, trust,
    )  # fmt: skip


def _conditions(measured: Sequence[Measured]) -> str:
    """Columns that have nothing on these devices are told apart from zero."""
    has_energy = any(run.energy is not None for item in measured for run in item.result.runs)
    return "" if has_energy else "No device here has an energy meter that edgeq may read."


# ---------------------------------------------------------------- over time


def sustained_section(material: Material) -> Section | None:
    """Latency, clock and temperature of each sustained run."""
    blocks: list[Block] = []
    for item in material.measured():
        for run, role in zip(item.result.runs, item.roles, strict=True):
            if run.sustained is not None:
                label = f"{_label(run, role)} on {item.label}"
                blocks += [
                    _time_plot(label, item, run.sustained, role),
                    _windows(label, run.sustained),
                ]
    if not blocks:
        return None
    lead = "What becomes of the latency when the model runs on and on and the processor warms up."
    return Section("sustained", "Sustained run", lead, tuple(blocks))


def _time_plot(label: str, item: Measured, sustained: Sustained, role: str) -> XYPlot:
    colour = role if role != "other" else CANDIDATE
    latency = Panel(
        "latency, ms",
        (
            _window_series(sustained, "p50", colour, "p50_ms"),
            _window_series(sustained, "p90", "accent", "p90_ms"),
        ),
    )
    panels = [latency]
    for axis, field, look in (
        ("clock, MHz", "clock_mhz", "clock_mhz"),
        ("temperature, celsius", "temperature_celsius", "temperature_celsius"),
    ):
        points = tuple(
            Point(entry.elapsed_s, value, f"{value:.0f} at {entry.elapsed_s:.0f} s")
            for entry in item.result.looks
            if (value := getattr(entry, look)) is not None
        )
        if len(points) > 1:
            panels.append(Panel(axis, (Series(axis, "other", "line", points),)))
        else:
            series = _window_series(sustained, axis, "other", field)
            if series.points:
                panels.append(Panel(axis, (series,)))
    burst, steady = text.ms(sustained.burst.p50_ms).text, text.ms(sustained.steady.p50_ms).text
    description = (
        f"Burst p50 {burst}, steady state p50 {steady}: {sustained.slowdown:.2f} times the burst's."
        f" {throttled(sustained)}"
    )
    return XYPlot(label, description, "seconds since the run began", tuple(panels))


def _window_series(sustained: Sustained, name: str, role: str, field: str) -> Series:
    middle = sustained.window_s / 2
    points = tuple(
        Point(window.began_s + middle, value, f"{name} {value:.3g} at {window.began_s:.0f} s")
        for window in sustained.windows
        if (value := getattr(window, field)) is not None
    )
    return Series(name, role, "line", points)


def throttled(sustained: Sustained) -> str:
    """A sentence about whether the processor was slowed."""
    if sustained.throttled_after_s is not None:
        return f"The processor was slowed after {sustained.throttled_after_s:.0f} s."
    if not sustained.watched:
        return "Whether it was throttled is not known: nothing there tells."
    return f"It was never throttled, by {', '.join(sustained.watched)}."


def _windows(label: str, sustained: Sustained) -> Table:
    columns = (
        Column("from", True), Column("p50", True), Column("p90", True), Column("inferences", True),
        Column("clock", True), Column("temperature", True), Column("slowed by"),
    )  # fmt: skip
    caption = f"{label}, {plural(len(sustained.windows), 'window')}"
    return Table(caption, columns, tuple(map(_window_row, sustained.windows)))


def _window_row(window: SustainedWindow) -> tuple[Cell, ...]:
    clock, heat = window.clock_mhz, window.temperature_celsius
    return (
        Cell(f"{window.began_s:.0f} s", window.began_s),
        text.ms(window.p50_ms),
        text.ms(window.p90_ms),
        Cell(str(window.count), window.count),
        Cell("-") if clock is None else Cell(f"{clock:.0f} MHz", clock),
        Cell("-") if heat is None else Cell(f"{heat:.0f} °C", heat),
        Cell(", ".join(window.throttling) or "-"),
    )
