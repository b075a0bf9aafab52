"""Measured latencies as terminal text."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

from edgeq.device_runners.devices.cores import show_cores
from edgeq.render.parts import harmless, indented, issue_parts, render
from edgeq.render.tables import FittingTable
from edgeq.values import BenchResult, BenchRun, DeviceFacts, Sustained
from edgeq.wording import file_name, plural, show_bare_ms, show_bytes, show_ms, show_ratio


@harmless
def show_bench(result: BenchResult) -> str:
    """Summary of `edgeq bench`."""
    table = FittingTable("<latency in ms", ">p50", ">p90", ">p99", ">min", ">runs", ">init",
                         ">first", ">memory", ">arena")  # fmt: skip
    for run in result.runs:
        latency = run.latency
        figures = (latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.min_ms)
        cells = (
            file_name(run.model.path), *map(show_bare_ms, figures), str(latency.count),
            f"{run.init_ms:.3g}", f"{run.first_ms:.3g}", show_bytes(run.peak_rss_bytes),
            show_bytes(run.arena_bytes),
        )  # fmt: skip
        table.add_row(*cells)
    parts: list[RenderableType] = [facts_line(result.facts, result.runs[0]), "", table]
    if result.speedups:
        parts += ["", Text(f"against {file_name(result.runs[0].model.path)}:", style="dim")]
    for run, ratio in zip(result.runs[1:], result.speedups, strict=False):
        parts.append(Text(f"  {file_name(run.model.path)}  {show_ratio(ratio)}"))
    for run in result.runs:
        parts += _run_parts(run)
    validities = {run.validity for run in result.runs}
    if "invalid" in validities:
        parts += ["", Text("INVALID: compare these figures with nothing", style="bold red")]
    elif "degraded" in validities:
        parts += ["", Text("degraded: measure again", style="yellow")]
    issues = [issue for run in result.runs for issue in run.issues]
    return render(*parts, *issue_parts(list(dict.fromkeys(issues))))


def facts_line(facts: DeviceFacts, run: BenchRun) -> Text:
    """The device, and the runtime that ran there."""
    governor = f", governor {facts.governor}" if facts.governor else ""
    load = "" if run.load_average is None else f", load {run.load_average:.2f}"
    noun = "core" if len(run.cores) == 1 else "cores"
    cores = f" on {noun} {show_cores(run.cores)}" if run.cores else ""
    return Text(
        f"{facts.device}: {facts.processor}, {plural(facts.core_count, 'core')}{governor}{load}; "
        f"{run.runtime.name} {run.runtime.version}, {plural(run.threads, 'thread')}{cores}"
    )


def _run_parts(run: BenchRun) -> list[RenderableType]:
    """Figures of a program that reports no single runs, the energy, and the sustained run."""
    parts: list[RenderableType] = []
    name, latency, energy = file_name(run.model.path), run.latency, run.energy
    if not run.latencies_ms:
        figures = {
            "mean": latency.mean_ms, "stddev": latency.stddev_ms, "p5": latency.p5_ms,
            "p95": latency.p95_ms, "max": latency.max_ms,
        }  # fmt: skip
        shown = [f"{key} {show_ms(value)}" for key, value in figures.items() if value is not None]
        parts.append(Text(f"{run.runtime.name} of {name}: {', '.join(shown)}"))
    if energy is not None:
        used = f"{energy.mean_power_w:.3g} W, {energy.per_inference_mj:.3g} mJ per inference"
        parts.append(Text(f"energy of {name}: {used} ({energy.meter}, idle power included)"))
    if run.sustained is not None:
        parts += _sustained_parts(run.sustained)
    return parts


def _sustained_parts(sustained: Sustained) -> list[RenderableType]:
    """The windows of a sustained run, burst beside steady state, and when it slowed."""
    table = FittingTable(
        ">from", ">p50 ms", ">p90 ms", ">inferences", ">clock MHz", ">celsius", "slowed by"
    )
    for window in sustained.windows:
        clock, heat = window.clock_mhz, window.temperature_celsius
        cells = (
            _duration(window.began_s),
            show_bare_ms(window.p50_ms),
            show_bare_ms(window.p90_ms),
            str(window.count),
            "-" if clock is None else f"{clock:.0f}",
            "-" if heat is None else f"{heat:.0f}",
            ", ".join(window.throttling),
        )
        table.add_row(*cells)
    if sustained.throttled_after_s is not None:
        throttled = f"after {_duration(sustained.throttled_after_s)}"
    elif sustained.watched:
        throttled = f"never, by {', '.join(sustained.watched)}"
    else:
        throttled = "not known: neither clock nor throttling can be read there"
    burst, steady = sustained.burst.p50_ms, sustained.steady.p50_ms
    lines = (
        f"burst         p50 {show_ms(burst)} (first {_duration(sustained.window_s)})",
        f"steady state  p50 {show_ms(steady)} (last third), {sustained.slowdown:.2f}x the burst's",
        f"throttled     {throttled}",
    )
    return ["", indented(table), "", *(Text(f"  {line}") for line in lines)]


def _duration(seconds: float) -> str:
    """Minutes where they are whole, seconds otherwise."""
    if seconds >= 60 and seconds % 60 == 0:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.3g} s" if seconds < 60 else f"{seconds:.0f} s"
