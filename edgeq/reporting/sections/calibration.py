"""The ranges of the candidate's tensors, the ways that were tried, and what was corrected."""

from __future__ import annotations

from edgeq.reporting import cells
from edgeq.reporting.cells import short
from edgeq.reporting.gathered import Gathered
from edgeq.reporting.values import Block, Cell, Section, Spark, Table
from edgeq.values import Histogram, Ranges, TfliteModel
from edgeq.wording import common_prefix, left_out, plural


def section(gathered: Gathered) -> Section:
    """A table each for the ranges, the candidates and the corrections."""
    blocks: list[Block] = []
    for value in gathered.made():
        model: TfliteModel = value.model
        if model.ranges is not None and model.ranges.tensors:
            blocks.append(_range_table(model, model.ranges))
        if model.candidates:
            blocks.append(_candidate_table(model))
        if model.corrections:
            blocks.append(_correction_table(model))
    lead = "The values of the representative dataset, and the range chosen for each tensor."
    return Section("calibration", "Calibration", lead, tuple(blocks))


def _range_table(model: TfliteModel, ranges: Ranges) -> Table:
    titles = cells.columns(
        "tensor",
        ">chosen from",
        ">to",
        ">seen from",
        ">to",
        (
            ">cut off",
            "Share of the values that calibration saw beyond the range; no loss where the operator "
            "that reads them saturates there anyway.",
        ),
        (
            "values",
            "Histogram of what calibration saw; values between the two lines are kept.",
        ),
    )
    histograms = {item.index: item for item in model.histograms}
    prefix = common_prefix([item.name for item in ranges.tensors])
    rows = []
    for item in ranges.tensors:
        seen, low, high = histograms.get(item.index), item.minimum, item.maximum
        own = [Cell("-")] * 4
        if seen is not None:
            cut = cut_share(seen, low, high)
            spark = Spark(seen.minimum, seen.maximum, seen.counts, low, high)
            own = [
                cells.number(seen.minimum, "{:.4g}"), cells.number(seen.maximum, "{:.4g}"),
                cells.percent(cut, 2), Cell("", cut, "", spark),
            ]  # fmt: skip
        chosen = (cells.number(value, "{:.4g}") for value in (low, high))
        rows.append((Cell(short(item.name, prefix)), *chosen, *own))
    notes = [left_out(prefix)]
    if not histograms:
        notes.append("Calibration kept extremes only.")
    elif len(histograms) < len(ranges.tensors):
        kept = plural(len(histograms), "tensor")
        notes.append(f"Histograms are kept of the {kept} that are cut most.")
    caption = (
        f"{plural(len(rows), 'tensor')}, statistic {ranges.statistic}, "
        f"{plural(ranges.sample_count, 'sample')}"
    )
    return Table(caption, titles, tuple(rows), " ".join(filter(None, notes)), by_layer=True)


def cut_share(seen: Histogram, low: float, high: float) -> float:
    """Share of values in the bins beyond the range; a bin that it ends in counts in part."""
    total = sum(seen.counts)
    width = (seen.maximum - seen.minimum) / len(seen.counts)
    if not total or width <= 0:
        return 0.0
    kept = 0.0
    for number, count in enumerate(seen.counts):
        start = seen.minimum + number * width
        inside = min(high, start + width) - max(low, start)
        kept += count * min(max(inside / width, 0.0), 1.0)
    return max(0.0, 1.0 - kept / total)


def _candidate_table(model: TfliteModel) -> Table:
    titles = cells.columns(
        "statistic", "channels stretched", "layers corrected",
        (">SQNR dB", "SQNR of the outputs' worst part, on calibration samples kept apart."),
    )  # fmt: skip
    rows = tuple(
        (
            Cell(f"{item.statistic} (chosen)" if number == 0 else item.statistic),
            Cell("yes" if item.is_equalized else "no"),
            Cell("yes" if item.is_corrected else "no"),
            cells.db(item.sqnr_db),
        )
        for number, item in enumerate(model.candidates)
    )
    return Table("Ways to quantize that were tried", titles, rows)


def _correction_table(model: TfliteModel) -> Table:
    prefix = common_prefix([item.layer for item in model.corrections])
    titles = cells.columns(
        "layer", "operator", "correction",
        (">before dB", "SQNR of the layer's output as quantized."), ">after dB",
    )  # fmt: skip
    rows = tuple(
        (
            Cell(short(item.layer, prefix)), Cell(item.operator), Cell(item.chosen),
            cells.db(item.plain_db), cells.db(item.corrected_db),
        )
        for item in model.corrections
    )  # fmt: skip
    caption = f"Corrections after quantization, {plural(model.correction_samples, 'sample')}"
    return Table(caption, titles, rows, left_out(prefix), by_layer=True)
