"""What `edgeq bench` shows below its table: energy, a sustained run, and whether to believe it."""

from __future__ import annotations

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from edgeq.render.parts import show_ms
from edgeq.values import BenchResult, BenchRun, Energy, Sustained, SustainedWindow


def told_line(name: str, run: BenchRun) -> list[RenderableType]:
    """What a program printed that keeps the single runs to itself; nothing of the agent's runs."""
    if run.latencies_ms:
        return []
    latency = run.latency
    figures = {
        "mean": latency.mean_ms, "stddev": latency.stddev_ms, "p5": latency.p5_ms,
        "p95": latency.p95_ms, "max": latency.max_ms,
    }  # fmt: skip
    shown = [f"{key} {show_ms(value)}" for key, value in figures.items() if value is not None]
    return [Text(f"{run.runtime.name} of {name}: {', '.join(shown)}")]


def energy_line(name: str, energy: Energy | None) -> list[RenderableType]:
    """Power and energy of one model; nothing when it was not measured."""
    if energy is None:
        return []
    shown = f"{energy.mean_power_w:.3g} W, {energy.per_inference_mj:.3g} mJ per inference"
    return [Text(f"energy of {name}: {shown} ({energy.meter}, idle power included)")]


def sustained_parts(sustained: Sustained | None) -> list[RenderableType]:
    """The windows of a sustained run, burst beside steady state, and when it slowed."""
    if sustained is None:
        return []
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("from", "p50 ms", "p90 ms", "inferences", "clock MHz", "celsius"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("slowed by")
    for window in sustained.windows:
        table.add_row(*map(Text, _window_cells(window)))
    burst, steady = sustained.burst.p50_ms, sustained.steady.p50_ms
    lines = (
        f"burst         p50 {show_ms(burst)} (first {_duration(sustained.window_s)})",
        f"steady state  p50 {show_ms(steady)} (last third), {sustained.slowdown:.2f}x the burst's",
        f"throttled     {_throttled(sustained)}",
    )
    return ["", Padding(table, (0, 0, 0, 2)), "", *(Text(f"  {line}") for line in lines)]


def _window_cells(window: SustainedWindow) -> tuple[str, ...]:
    return (
        _duration(window.began_s),
        "-" if window.p50_ms is None else f"{window.p50_ms:.3g}",
        "-" if window.p90_ms is None else f"{window.p90_ms:.3g}",
        str(window.count),
        "-" if window.clock_mhz is None else f"{window.clock_mhz:.0f}",
        "-" if window.temperature_celsius is None else f"{window.temperature_celsius:.0f}",
        ", ".join(window.throttling),
    )


def _throttled(sustained: Sustained) -> str:
    if sustained.throttled_after_s is not None:
        return f"after {_duration(sustained.throttled_after_s)}"
    if not sustained.watched:
        return "not known: neither clock nor throttling can be read there"
    return f"never, by {', '.join(sustained.watched)}"


def _duration(seconds: float) -> str:
    """Minutes where they are whole, seconds otherwise."""
    if seconds >= 60 and seconds % 60 == 0:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.3g} s" if seconds < 60 else f"{seconds:.0f} s"


def validity_line(result: BenchResult) -> list[RenderableType]:
    """A line when the figures are not to be taken as they stand."""
    found = {run.validity for run in result.runs}
    if "invalid" in found:
        return ["", Text("INVALID: compare these figures with nothing", style="bold red")]
    return ["", Text("degraded: measure again", style="yellow")] if "degraded" in found else []
