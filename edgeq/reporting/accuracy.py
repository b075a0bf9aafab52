"""FP32 against the candidate in one table, and how accuracy and outputs compare."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from edgeq.accuracy.verdict import output_sqnr_db
from edgeq.render.parts import plural, show_sizes
from edgeq.reporting import text
from edgeq.reporting.gathered import BASELINE, CANDIDATE, Judged, Material, Measured
from edgeq.reporting.subject import evaluations
from edgeq.reporting.values import (
    Block,
    Cell,
    Column,
    IntervalPlot,
    IntervalRow,
    Section,
    Table,
)
from edgeq.reporting.verdict import model_sizes
from edgeq.values import BenchRun, OutputQuality

Row = tuple[Cell, ...]


def make_comparison(material: Material) -> Table:
    """The gist: one row for each figure that both models have."""
    made = material.made()
    scheme = "candidate" if not made else made[-1].model.scheme.upper()
    rows = [*_quality_rows(material), *_size_row(material)]
    for item in material.measured():
        rows += _latency_rows(item)
    return Table(
        "FP32 against the candidate",
        (Column(""), Column("FP32", True), Column(scheme, True), Column("difference", True)),
        tuple(rows),
        "In brackets: 95 % intervals. A drop above 0 is lost accuracy.",
    )


def _quality_rows(material: Material) -> Iterator[Row]:
    for item in material.judged():
        quality = item.quality
        where = f"{item.label}, {item.samples}"
        if quality.drop_points is not None:
            before = text.percent(quality.baseline_accuracy_percent)
            after = text.percent(quality.candidate_accuracy_percent)
            drop = text.points(quality.drop_points, material.drop_limit())
            yield Cell(f"accuracy, {where}"), before, after, drop
        for output in quality.outputs:
            name = "" if len(quality.outputs) == 1 else f" of {output.name}"
            sqnr = text.db(output_sqnr_db(output))
            is_plain = sqnr.value is None or sqnr.text == "identical"
            shown = sqnr if is_plain else Cell(f"{sqnr.text} dB", sqnr.value)
            yield Cell(f"SQNR{name}, {where}"), Cell(""), Cell(""), shown


def _part_sqnrs(output: OutputQuality) -> Iterator[tuple[str, float | None]]:
    """Place and SQNR of each part, of the whole in records of edgeq 0.1."""
    if not output.parts:
        yield output.name, output.sqnr_db
    for part in output.parts:
        yield part.where, part.sqnr_db


def _size_row(material: Material) -> Iterator[Row]:
    sizes = model_sizes(material)
    if sizes is not None and sizes[0] is not None:
        ratio = sizes[0] / sizes[1]
        tone = "good" if ratio > 1 else "bad"
        difference = Cell(show_sizes(ratio), ratio, tone)
        yield Cell("size of the .tflite"), text.size(sizes[0]), text.size(sizes[1]), difference


def _latency_rows(item: Measured) -> Iterator[Row]:
    ours, theirs = item.run(CANDIDATE), item.run(BASELINE)
    if ours is None or theirs is None:
        return
    invalid = "invalid" in (ours.validity, theirs.validity)
    runtime = f"{ours.runtime.name} {ours.runtime.version}, {plural(ours.threads, 'thread')}"
    where = f"on {item.label} ({runtime})"
    codes = ", ".join(
        dict.fromkeys(
            issue.code for run in (theirs, ours) for issue in run.issues
            if issue.severity == "error"
        )
    )  # fmt: skip
    difference = Cell(f"invalid: {codes}", None, "bad") if invalid else text.speedup(item.speedup)
    if not invalid and "degraded" in (ours.validity, theirs.validity):
        difference = replace(difference, text=f"{difference.text}, degraded", tone="doubt")
    yield (
        Cell(f"latency p50 {where}"),
        text.ms(theirs.latency.p50_ms),
        text.ms(ours.latency.p50_ms),
        difference,
    )
    yield (
        Cell(f"latency p90 on {item.label}"),
        text.ms(theirs.latency.p90_ms),
        text.ms(ours.latency.p90_ms),
        _ratio(theirs.latency.p90_ms, ours.latency.p90_ms, invalid=invalid),
    )
    yield from _memory_rows(item.label, theirs, ours)


def _memory_rows(device: str, theirs: BenchRun, ours: BenchRun) -> Iterator[Row]:
    for label, before, after in (
        (f"peak memory on {device}", theirs.peak_rss_bytes, ours.peak_rss_bytes),
        (f"tensor arena on {device}", theirs.arena_bytes, ours.arena_bytes),
    ):
        if before is not None and after is not None:
            difference = Cell(show_sizes(before / after), before / after) if after else Cell("-")
            yield Cell(label), text.size(before), text.size(after), difference


def _ratio(before: float | None, after: float | None, *, invalid: bool) -> Cell:
    if invalid or not before or not after:
        return Cell("-")
    return Cell(text.times(before / after), before / after)


# ---------------------------------------------------------------- the section


def accuracy_section(material: Material) -> Section | None:
    """Drops with their intervals, counts in pairs, outputs, metrics."""
    judged = material.judged()
    blocks: list[Block] = []
    with_labels = [item for item in judged if item.quality.drop_points is not None]
    if with_labels:
        blocks += [_drop_plot(with_labels, material.drop_limit()), _pairs_table(with_labels)]
    if judged:
        blocks.append(_outputs_table(judged))
    metrics = [*_metric_rows(material)]
    if metrics:
        columns = (
            Column("metric"), Column("model"), Column("value", True), Column("measured by"),
        )  # fmt: skip
        blocks.append(Table("Metrics", columns, tuple(metrics)))
    if not blocks:
        return None
    lead = "The same samples through both models; pairs tell a real loss from chance."
    return Section("accuracy", "Accuracy", lead, tuple(blocks))


def _drop_plot(judged: list[Judged], limit: float) -> IntervalPlot:
    rows = []
    for item in judged:
        drop = item.quality.drop_points
        assert drop is not None
        shown = f"{drop.value:+.2f} ({drop.low:+.2f} to {drop.high:+.2f}) points"
        label = f"{item.label}, {item.samples}"
        rows.append(IntervalRow(label, shown, drop.value, drop.low, drop.high))
    return IntervalPlot(
        "Accuracy lost to quantization",
        "Each drop in percentage points with its 95 % interval; right of 0 is lost. "
        + "; ".join(f"{row.label}: {row.text}" for row in rows),
        "lost accuracy in percentage points",
        tuple(rows),
        0.0,
        limit,
        "1 point" if limit == 1 else f"{limit:g} points",
    )


def _pairs_table(judged: list[Judged]) -> Table:
    columns = (
        Column("measured by"),
        Column("both right", True),
        Column(
            "only FP32",
            True,
            "Only the FP32 model is right: what quantization broke.",
        ),
        Column(
            "only candidate",
            True,
            "Only the candidate is right: what it happened to mend.",
        ),
        Column("both wrong", True),
        Column("same top-1", True, "Share of samples with the same largest class."),
        Column("drop", True),
    )
    rows = []
    for item in judged:
        pairs, quality = item.quality.paired, item.quality
        if pairs is None:
            continue
        counts = (pairs.both_right, pairs.only_baseline, pairs.only_candidate, pairs.both_wrong)
        agreement = quality.agreement_percent
        rows.append(
            (
                Cell(f"{item.label}, {item.samples}"),
                *(Cell(str(count), count) for count in counts),
                Cell("-") if agreement is None else Cell(f"{agreement:.2f} %", agreement),
                text.points(quality.drop_points),
            )
        )
    return Table("Samples in pairs", columns, tuple(rows))


def _outputs_table(judged: list[Judged]) -> Table:
    columns = (
        Column("output"),
        Column("measured by"),
        Column(
            "SQNR dB",
            True,
            "Variance of the FP32 values about their column's mean over that of the error.",
        ),
        Column("MSE", True),
        Column("largest error", True),
    )
    rows = tuple(
        (
            Cell(where), Cell(f"{item.label}, {item.samples}"), text.db(value),
            text.number(output.mse), text.number(output.max_error),
        )
        for item in judged
        for output in item.quality.outputs
        for where, value in _part_sqnrs(output)
    )  # fmt: skip
    return Table("Outputs", columns, rows)


def _metric_rows(material: Material) -> Iterator[Row]:
    for part in material.of("compare"):
        value = part.value
        samples = f"compare, {value.quality.sample_count} of {text.base(value.data.source)}"
        for model, metrics in (
            (value.baseline, value.metrics_baseline),
            (value.candidate, value.metrics_candidate),
        ):
            for metric in metrics:
                shown = _metric(metric.value, metric.unit)
                yield Cell(metric.name), Cell(text.base(model.path)), shown, Cell(samples)
    for part in material.of("eval"):
        for item in evaluations(part):
            device = part.device or item.device
            where = "" if device is None else f" on {device}"
            samples = f"eval{where}, {item.sample_count} of {text.base(item.data.source)}"
            for number, metric in enumerate(item.metrics):
                shown = _metric(metric.value, metric.unit)
                if number == 0 and item.interval is not None:
                    interval = f"({item.interval.low:.2f} to {item.interval.high:.2f})"
                    shown = Cell(f"{shown.text} {interval}", metric.value)
                yield Cell(metric.name), Cell(text.base(item.model.path)), shown, Cell(samples)


def _metric(value: float, unit: str) -> Cell:
    return text.percent(value) if unit == "percent" else text.number(value, "{:.4g}")
