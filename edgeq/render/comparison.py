"""Accuracy of models, and FP32 beside INT8, as terminal text."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.text import Text

from edgeq.metrics.catalogue import ACCURACY
from edgeq.render.bench import facts_line
from edgeq.render.parts import (
    grid,
    harmless,
    heading,
    issue_parts,
    quality_rows,
    render,
    way_out_parts,
)
from edgeq.render.tables import FittingTable
from edgeq.values import Comparison, Evaluation
from edgeq.wording import (
    plural,
    show_bytes,
    show_interval,
    show_loss,
    show_metric,
    show_ms,
    show_ratio,
    show_sizes,
)

_VERDICTS = {
    "ship": ("SHIP", "bold green"),
    "check": ("CHECK", "bold yellow"),
    "no": ("NO", "bold red"),
}


@harmless
def show_evaluations(results: Sequence[Evaluation]) -> str:
    """Summary of `edgeq eval`."""
    table = FittingTable("<model", "metric", ">value", ">95 % interval", ">samples", "runtime")
    for result in results:
        runtime = f"{result.runtime.name} {result.runtime.version}"
        for number, metric in enumerate(result.metrics):
            first = number == 0
            table.add_row(
                result.model.path if first else "",
                metric.name,
                show_metric(metric),
                show_interval(metric),
                str(result.sample_count) if first else "",
                runtime if first else "",
            )
    issues = [issue for result in results for issue in result.issues]
    return render(*_place_parts(results[0]), table, *issue_parts(list(dict.fromkeys(issues))))


def _place_parts(result: Evaluation | Comparison) -> list[RenderableType]:
    """The device that the samples ran on; nothing for records of edgeq 0.1, which have none."""
    return [] if result.device is None else [Text(f"{result.device}: {result.processor}"), ""]


@harmless
def show_comparison(result: Comparison) -> str:
    """Summary of `edgeq compare`: one table, then the verdict."""
    quality, bench = result.quality, result.bench
    table = FittingTable("", ">FP32", ">candidate", "")
    accuracies = (quality.baseline_accuracy_percent, quality.candidate_accuracy_percent)
    if accuracies[0] is not None:
        shown = (f"{value:.2f} %" for value in accuracies)
        table.add_row("accuracy", *shown, plural(quality.sample_count, "sample"))
    losses = {found.name: show_loss(found) for found in result.losses}
    for ours, theirs in zip(result.metrics_baseline, result.metrics_candidate, strict=True):
        if ours.name != ACCURACY or accuracies[0] is None:
            row = ours.name, show_metric(ours), show_metric(theirs), losses.get(ours.name, "")
            table.add_row(*row)
    sizes = result.baseline.size_bytes, result.candidate.size_bytes
    table.add_row("size", *map(show_bytes, sizes), show_sizes(result.size_ratio))
    issues = list(result.issues)
    where: list[RenderableType] = []
    if bench is not None:
        speed = show_ratio(bench.speedups[0]) if bench.speedups else "invalid"
        table.add_row("latency p50", *(show_ms(run.latency.p50_ms) for run in bench.runs), speed)
        table.add_row("latency p90", *(show_ms(run.latency.p90_ms) for run in bench.runs), "")
        peaks = [run.peak_rss_bytes for run in bench.runs]
        smaller = show_sizes(peaks[0] / peaks[1]) if peaks[0] and peaks[1] else ""
        table.add_row("peak memory", *map(show_bytes, peaks), smaller)
        where = ["", facts_line(bench.facts, bench.runs[0])]
        issues += [issue for run in bench.runs for issue in run.issues]
    word, style = _VERDICTS[result.verdict]
    return render(
        heading(f"{result.baseline.path} against {result.candidate.path}"),
        "",
        *(_place_parts(result) if bench is None else []),  # otherwise facts_line has more
        table,
        "",
        grid(quality_rows(quality)),
        *where,
        *issue_parts(list(dict.fromkeys(issues))),
        "",
        Text.assemble("Verdict: ", (word, style)),
        *(Text(f"  - {reason}") for reason in result.reasons),
        *way_out_parts(result.ways_out),
    )
