"""Latency, clock and temperature over the time of a long run."""

from __future__ import annotations

from edgeq.reporting import cells
from edgeq.reporting.gathered import CANDIDATE, Gathered, Measured
from edgeq.reporting.sections.latency import run_label
from edgeq.reporting.values import Block, Cell, Panel, Point, Section, Series, Table, XYPlot
from edgeq.values import Sustained
from edgeq.wording import plural, show_ms

_TITLES = cells.columns(
    ">from", ">p50 ms", ">p90 ms", ">inferences", ">clock", ">temperature", "slowed by"
)


def section(gathered: Gathered) -> Section:
    """A plot and a table for each sustained run."""
    blocks: list[Block] = []
    for item in gathered.measured():
        for run, role in item.runs():
            if run.sustained is None:
                continue
            label = f"{run_label(run, role)} on {item.label}"
            blocks.append(_time_plot(label, item, run.sustained, role))
            rows = tuple(
                (
                    Cell(f"{round(window.began_s, 1):g} s", window.began_s),
                    cells.bare_ms(window.p50_ms),
                    cells.bare_ms(window.p90_ms),
                    cells.count(window.count),
                    cells.number(window.clock_mhz, "{:.0f} MHz"),
                    cells.number(window.temperature_celsius, "{:.0f} °C"),
                    Cell(", ".join(window.throttling) or "-"),
                )
                for window in run.sustained.windows
            )
            blocks.append(Table(f"{label}, {plural(len(rows), 'window')}", _TITLES, rows))
    lead = "How the latency changes when the model runs for minutes and the processor warms up."
    return Section("sustained", "Sustained run", lead, tuple(blocks))


def _time_plot(label: str, item: Measured, sustained: Sustained, role: str) -> XYPlot:
    colour = role if role != "other" else CANDIDATE
    p50 = _window_series(sustained, "p50", colour, "p50_ms")
    p90 = _window_series(sustained, "p90", "accent", "p90_ms")
    panels = [Panel("latency, ms", (p50, p90))]
    for axis, field in (
        ("clock, MHz", "clock_mhz"),
        ("temperature, celsius", "temperature_celsius"),
    ):
        points = tuple(
            Point(entry.elapsed_s, value, f"{value:.0f} at {entry.elapsed_s:.0f} s")
            for entry in item.result.looks
            if (value := getattr(entry, field)) is not None
        )
        series = Series(axis, "other", "line", points)
        if len(points) < 2:
            series = _window_series(sustained, axis, "other", field)
        if series.points:
            panels.append(Panel(axis, (series,)))
    if sustained.throttled_after_s is not None:
        throttled = f"The processor was slowed after {sustained.throttled_after_s:.0f} s."
    elif sustained.watched:
        throttled = f"It was never throttled, by {', '.join(sustained.watched)}."
    else:
        throttled = "Whether it was throttled is not known: the device does not show it."
    burst, steady = show_ms(sustained.burst.p50_ms), show_ms(sustained.steady.p50_ms)
    description = (
        f"Burst p50 {burst}, steady state p50 {steady}: {sustained.slowdown:.2f} times the burst's."
        f" {throttled}"
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
