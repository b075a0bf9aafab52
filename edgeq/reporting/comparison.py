"""FP32 against the candidate in one table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from edgeq.accuracy.verdict import output_sqnr_db
from edgeq.reporting import cells
from edgeq.reporting.gathered import BASELINE, CANDIDATE, Gathered, Measured
from edgeq.reporting.values import Cell, Column, Table
from edgeq.wording import plural

Row = tuple[Cell, ...]


def make_comparison(gathered: Gathered) -> Table:
    """One row for each figure that both models have."""
    made = gathered.made()
    scheme = "candidate" if not made else made[-1].model.scheme.upper()
    rows = [*_quality_rows(gathered)]
    sizes = model_sizes(gathered)
    if sizes is not None and sizes[0] is not None:
        ratio = sizes[0] / sizes[1]
        difference = cells.times_smaller(ratio)
        rows.append((Cell("size of the .tflite"), *map(cells.size, sizes), difference))
    for item in gathered.measured():
        rows += _latency_rows(item)
    return Table(
        "FP32 against the candidate",
        (Column(""), Column("FP32", True), Column(scheme, True), Column("difference", True)),
        tuple(rows),
        "In brackets: 95 % intervals. A drop above 0 is lost accuracy.",
    )


def model_sizes(gathered: Gathered) -> tuple[int | None, int] | None:
    """Bytes of the float `.tflite`, None without one, and of the candidate."""
    candidate = gathered.subject.candidate
    if candidate is None:
        return None
    for part in gathered.of("compare"):
        return part.value.baseline.size_bytes, part.value.candidate.size_bytes
    for value in gathered.made():
        return value.source.file.size_bytes, value.model.file.size_bytes
    for item in gathered.measured():
        run = item.run(BASELINE)
        if run is not None:
            return run.model.size_bytes, candidate.size_bytes
    return None, candidate.size_bytes


def _quality_rows(gathered: Gathered) -> Iterator[Row]:
    for item in gathered.judged():
        quality = item.quality
        where = f"{item.label}, {item.samples}"
        if quality.drop_points is not None:
            yield (
                Cell(f"accuracy, {where}"),
                cells.number(quality.baseline_accuracy_percent, "{:.2f} %"),
                cells.number(quality.candidate_accuracy_percent, "{:.2f} %"),
                cells.points(quality.drop_points, gathered.drop_limit()),
            )
        for output in quality.outputs:
            name = "" if len(quality.outputs) == 1 else f" of {output.name}"
            sqnr = cells.db(output_sqnr_db(output))
            if sqnr.value is not None and sqnr.text != "identical":
                sqnr = replace(sqnr, text=f"{sqnr.text} dB")
            yield Cell(f"SQNR{name}, {where}"), Cell(""), Cell(""), sqnr


def _latency_rows(item: Measured) -> Iterator[Row]:
    ours, theirs = item.run(CANDIDATE), item.run(BASELINE)
    if ours is None or theirs is None:
        return
    validities = (ours.validity, theirs.validity)
    p50 = cells.speedup(item.speedup)
    before, after = theirs.latency.p90_ms, ours.latency.p90_ms
    p90 = cells.times(before / after if before and after else None)
    if "invalid" in validities:
        issues = (*theirs.issues, *ours.issues)
        codes = dict.fromkeys(issue.code for issue in issues if issue.severity == "error")
        p50, p90 = Cell(f"invalid: {', '.join(codes)}", None, "bad"), Cell("-")
    elif "degraded" in validities:
        p50 = replace(p50, text=f"{p50.text}, degraded", tone="doubt")
    runtime = f"{ours.runtime.name} {ours.runtime.version}, {plural(ours.threads, 'thread')}"
    label = Cell(f"latency p50 on {item.label} ({runtime})")
    yield label, cells.ms(theirs.latency.p50_ms), cells.ms(ours.latency.p50_ms), p50
    yield Cell(f"latency p90 on {item.label}"), cells.ms(before), cells.ms(after), p90
    for name, own, other in (
        ("peak memory", theirs.peak_rss_bytes, ours.peak_rss_bytes),
        ("tensor arena", theirs.arena_bytes, ours.arena_bytes),
    ):
        if own is not None and other is not None:
            difference = cells.times_smaller(own / other) if other else Cell("-")
            yield Cell(f"{name} on {item.label}"), cells.size(own), cells.size(other), difference
