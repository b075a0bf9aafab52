"""Several devices as one table: device, model, latency or accuracy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from edgeq.accuracy.verdict import worst_sqnr_db
from edgeq.devices.fleet import Fleet
from edgeq.files.storage import find_issues
from edgeq.render.parts import harmless, issue_parts, render
from edgeq.render.tables import FittingTable
from edgeq.values import Issue
from edgeq.wording import file_name, show_bare_ms, show_bytes, show_interval, show_metric, signed

Cells = tuple[str, ...]

_COLUMNS: dict[str, tuple[str, ...]] = {
    "bench": ("<model", ">p50 ms", ">p90 ms", ">runs", ">memory", "runtime", "run"),
    "eval": ("<model", "metric", ">value", ">95 % interval", ">samples", "runtime"),
    "compare": ("verdict", ">accuracy", ">drop", ">SQNR dB", ">p50 ms", ">speed-up"),
}


@harmless
def show_fleet(fleet: Fleet) -> str:
    """One row for each device and model; a device that failed has its reason under the table."""
    table = FittingTable("<device", *_COLUMNS[fleet.verb])
    doubts: dict[Issue, list[str]] = {}
    for entry in fleet.entries:
        if entry.error is not None:
            table.add_row(entry.device, "failed, see below")
            continue
        for cells in _ROWS[fleet.verb](entry.result):
            table.add_row(entry.device, *cells)
        # Those of the comparison before those of its runs.
        own = getattr(entry.result, "issues", ())
        for issue in dict.fromkeys((*own, *find_issues(entry.result))):
            doubts.setdefault(issue, []).append(entry.device)
    parts: list[RenderableType] = [table]
    for entry in fleet.entries:
        if fleet.verb == "compare" and entry.error is None:
            parts += ["", Text(f"{entry.device}: {entry.result.verdict.upper()}")]
            parts += [Text(f"  - {reason}") for reason in entry.result.reasons]
        if entry.error is not None:
            name = "" if entry.device in entry.error else f"{entry.device}: "
            parts += ["", Text(f"{name}{entry.error} {entry.hint or ''}".rstrip())]
    issues = [
        replace(issue, message=f"{', '.join(devices)}: {issue.message}")
        for issue, devices in doubts.items()
    ]
    return render(*parts, *issue_parts(issues))


def _bench_rows(result: Any) -> Iterator[Cells]:
    for run in result.runs:
        latency = run.latency
        yield (
            file_name(run.model.path),
            show_bare_ms(latency.p50_ms),
            show_bare_ms(latency.p90_ms),
            str(latency.count),
            show_bytes(run.peak_rss_bytes),
            f"{run.runtime.name} {run.runtime.version}",
            run.validity,
        )


def _eval_rows(results: Any) -> Iterator[Cells]:
    for item in results:
        for metric in item.metrics:
            yield (
                file_name(item.model.path),
                metric.name,
                show_metric(metric),
                show_interval(metric),
                str(item.sample_count),
                f"{item.runtime.name} {item.runtime.version}",
            )


def _compare_rows(result: Any) -> Iterator[Cells]:
    drop, bench = result.quality.drop_points, result.bench
    first = next(iter(result.metrics_baseline), None)
    second = next(iter(result.metrics_candidate), None)
    accuracy = ""
    if first is not None and second is not None:
        accuracy = f"{show_metric(first)} -> {show_metric(second)}"
    times = (
        "" if bench is None else " -> ".join(show_bare_ms(run.latency.p50_ms) for run in bench.runs)
    )
    yield (
        result.verdict.upper(),
        accuracy,
        "" if drop is None else signed(drop.value),
        f"{worst_sqnr_db(result.quality):.1f}",
        times,
        "" if bench is None or not bench.speedups else f"{bench.speedups[0].value:.2f}x",
    )


_ROWS = {"bench": _bench_rows, "eval": _eval_rows, "compare": _compare_rows}
