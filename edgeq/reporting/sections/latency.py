"""Latency distributions and memory of each device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain

from edgeq import timing
from edgeq.reporting import cells
from edgeq.reporting.gathered import Gathered, Measured
from edgeq.reporting.values import Block, Cell, DistributionPlot, DistributionRow, Section, Table
from edgeq.values import BenchRun
from edgeq.wording import file_name, plural, show_ms

_BINS = 60
_MOST_TIMES = 3  # the slowest model's p90 is a third of the axis, or more


def section(gathered: Gathered) -> Section:
    """Every device's runs."""
    measured = gathered.measured()
    blocks: list[Block] = []
    for item in measured:
        if all(run.sustained is None for run in item.result.runs):
            plot = _distributions(item)
            blocks += [] if plot is None else [plot]
    if measured:
        blocks.append(_runs_table(measured))
    lead = "Single inferences, the models alternating; their spread, not only their median."
    return Section("latency", "Latency and memory", lead, tuple(blocks))


def run_label(run: BenchRun, role: str) -> str:
    """A run's model and its role."""
    name = file_name(run.model.path)
    return {"baseline": f"FP32, {name}", "candidate": f"candidate, {name}"}.get(role, name)


def _distributions(item: Measured) -> DistributionPlot | None:
    """Histograms in bins that are equally wide on a logarithmic axis."""
    runs = [(run, role) for run, role in item.runs() if run.latencies_ms]
    times = [sorted(chain.from_iterable(run.latencies_ms)) for run, _ in runs]
    if not times or not all(own and own[0] > 0 for own in times):
        return None
    # Beyond the end of the axis, a few interruptions would squeeze everything else together.
    low = min(own[0] for own in times)
    slow = max(own[int(0.9 * (len(own) - 1))] for own in times)
    high = max(min(_MOST_TIMES * slow, max(own[-1] for own in times)), low * 1.01)
    rows = tuple(
        DistributionRow(
            run_label(run, role), role, _bin(own, low, high), run.latency.p50_ms, run.latency.p90_ms
        )
        for (run, role), own in zip(runs, times, strict=True)
    )
    figures = "; ".join(
        f"{row.label}: p50 {show_ms(row.p50)}, p90 {show_ms(row.p90)}" for row in rows
    )
    beyond = sum(value > high for own in times for value in own)
    cut = f" The last bar also counts {beyond} beyond the axis." if beyond else ""
    return DistributionPlot(
        f"Latency on {item.label}",
        f"Number of inferences by latency. {figures}.{cut}",
        "milliseconds",
        low,
        high,
        rows,
    )


def _bin(times: Sequence[float], low: float, high: float) -> tuple[int, ...]:
    counts = [0] * _BINS
    width = math.log(high / low) / _BINS
    for value in times:
        place = int(math.log(max(value, low) / low) / width)
        counts[min(place, _BINS - 1)] += 1
    return tuple(counts)


def _runs_table(measured: Sequence[Measured]) -> Table:
    titles = cells.columns(
        "model",
        "device",
        (">p50 ms", "Median, with its 95 % interval."),
        "trust",
        ">p90 ms",
        ">p99 ms",
        (">first ms", "The first inference after loading."),
        (">load ms", "Loading the file and allocating its tensors."),
        (">peak memory", "Most resident memory of the process that ran it alone."),
        (">arena", "Activation memory as TensorFlow Lite plans it."),
        ">inferences",
        "runtime",
        (">energy", "Per inference, idle power of the board included."),
    )
    rows = []
    for item in measured:
        for run, role in item.runs():
            latency = run.latency
            p50, interval = cells.bare_ms(latency.p50_ms), timing.p50_interval(run)
            if interval is not None:
                ends = f"({interval.low:.3g} to {interval.high:.3g})"
                p50 = Cell(f"{p50.text} {ends}", latency.p50_ms)
            codes = dict.fromkeys(issue.code for issue in run.issues if issue.severity != "note")
            trust = f"{run.validity}: {', '.join(codes)}" if codes else run.validity
            threads = plural(run.threads, "thread")
            runtime = f"{run.runtime.name} {run.runtime.version}, {threads}"
            energy = None if run.energy is None else run.energy.per_inference_mj
            rows.append(
                (
                    Cell(run_label(run, role)), Cell(item.label), p50,
                    Cell(trust, None, cells.VALIDITY_TONES[run.validity]),
                    cells.bare_ms(latency.p90_ms), cells.bare_ms(latency.p99_ms),
                    cells.bare_ms(run.first_ms), cells.bare_ms(run.init_ms),
                    cells.size(run.peak_rss_bytes), cells.size(run.arena_bytes),
                    cells.count(latency.count), Cell(runtime), cells.number(energy, "{:.3g} mJ"),
                )
            )  # fmt: skip
    return Table("Every run", titles, tuple(rows))
