"""How accuracy and outputs of the candidate compare with FP32."""

from __future__ import annotations

from collections.abc import Iterator

from edgeq.reporting import cells
from edgeq.reporting.gathered import Gathered, Judged
from edgeq.reporting.values import Block, Cell, IntervalPlot, IntervalRow, Section, Table
from edgeq.values import MetricLoss, MetricValue
from edgeq.wording import file_name, show_interval, show_loss, show_metric


def section(gathered: Gathered) -> Section:
    """Drops with their intervals, counts in pairs, outputs, metrics."""
    judged = gathered.judged()
    blocks: list[Block] = []
    with_labels = [item for item in judged if item.quality.drop_points is not None]
    if with_labels:
        blocks += [_drop_plot(with_labels, gathered.drop_limit()), _pairs_table(with_labels)]
    if judged:
        blocks.append(_outputs_table(judged))
    if metrics := tuple(_metric_rows(gathered)):
        titles = cells.columns("metric", "model", ">value", "measured by")
        blocks.append(Table("Metrics", titles, metrics))
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
    titles = cells.columns(
        "measured by",
        ">both right",
        (">only FP32", "Only the FP32 model is right: what quantization broke."),
        (">only candidate", "Only the candidate is right: what it repaired by chance."),
        ">both wrong",
        (">same top-1", "Share of samples with the same largest class."),
        ">drop",
    )
    rows = []
    for item in judged:
        pairs, quality = item.quality.paired, item.quality
        if pairs is None:
            continue
        counts = (pairs.both_right, pairs.only_baseline, pairs.only_candidate, pairs.both_wrong)
        rows.append(
            (
                Cell(f"{item.label}, {item.samples}"),
                *map(cells.count, counts),
                cells.number(quality.agreement_percent, "{:.2f} %"),
                cells.points(quality.drop_points),
            )
        )
    return Table("Samples in pairs", titles, tuple(rows))


def _outputs_table(judged: list[Judged]) -> Table:
    meaning = "Variance of the FP32 values about their column's mean over that of the error."
    titles = cells.columns("output", "measured by", (">SQNR dB", meaning), ">MSE", ">largest error")
    rows = tuple(
        (
            Cell(where), Cell(f"{item.label}, {item.samples}"), cells.db(sqnr),
            cells.number(output.mse), cells.number(output.max_error),
        )
        for item in judged
        for output in item.quality.outputs
        # Records of edgeq 0.1 do not have the parts of outputs.
        for where, sqnr in [(part.where, part.sqnr_db) for part in output.parts]
        or [(output.name, output.sqnr_db)]
    )  # fmt: skip
    return Table("Outputs", titles, rows)


def _metric_rows(gathered: Gathered) -> Iterator[tuple[Cell, ...]]:
    for part in gathered.of("compare"):
        value = part.value
        samples = f"compare, {value.quality.sample_count} of {file_name(value.data.source)}"
        for model, metrics in (
            (value.baseline, value.metrics_baseline),
            (value.candidate, value.metrics_candidate),
        ):
            for metric in metrics:
                yield _metric_row(metric, file_name(model.path), samples)
        for found in value.losses:
            yield _loss_row(found, file_name(value.candidate.path), samples)
    for judged in gathered.judged():
        samples = f"{judged.label}, {judged.samples}"
        for pair in judged.quality.metrics:
            for model, metric in (("FP32", pair.baseline), ("candidate", pair.candidate)):
                yield _metric_row(metric, model, samples)
            if pair.loss is not None:
                yield _loss_row(pair.loss, "candidate", samples)
    for part in gathered.of("eval"):
        for item in part.value:
            device = part.device or item.device
            where = "" if device is None else f" on {device}"
            samples = f"eval{where}, {item.sample_count} of {file_name(item.data.source)}"
            for metric in item.metrics:
                yield _metric_row(metric, file_name(item.model.path), samples)


def _loss_row(found: MetricLoss, model: str, samples: str) -> tuple[Cell, ...]:
    shown = Cell(show_loss(found), found.loss.value)
    return Cell(f"{found.name}, lost"), Cell(model), shown, Cell(samples)


def _metric_row(metric: MetricValue, model: str, samples: str) -> tuple[Cell, ...]:
    interval = "" if metric.interval is None else f" ({show_interval(metric)})"
    shown = Cell(f"{show_metric(metric, 4)}{interval}", metric.value)
    return Cell(metric.name), Cell(model), shown, Cell(samples)
