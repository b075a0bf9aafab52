"""How the candidate was made: calibration, what the file is, and what a search tried."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from edgeq.converters.samples.input_shapes import show_shape
from edgeq.render.parts import common_prefix, describe_tensor, first_name, plural, show_bytes
from edgeq.render.tuning import describe_recipe
from edgeq.reporting import text
from edgeq.reporting.gathered import Material
from edgeq.reporting.values import (
    Block,
    Cell,
    Column,
    Facts,
    Panel,
    Point,
    Prose,
    Section,
    Series,
    Spark,
    Table,
    XYPlot,
)
from edgeq.values import Certificate, Histogram, TensorRange, TfliteModel, Trial, Tuning

# ---------------------------------------------------------------- calibration

_CUT_OFF = (
    "Share of the values that calibration saw beyond the range; no loss where the operator that "
    "reads them saturates there anyway."
)
_VALUES = "Histogram of what calibration saw; what lies between the two lines is kept."


def calibration_section(material: Material) -> Section | None:
    """Ranges with their histograms, the ways that were tried, and what was corrected."""
    blocks: list[Block] = []
    for value in material.made():
        model: TfliteModel = value.model
        if model.ranges is not None and model.ranges.tensors:
            blocks.append(_range_table(model))
        if model.candidates:
            blocks.append(_candidate_table(model))
        if model.corrections:
            blocks.append(_correction_table(model))
    if not blocks:
        return None
    lead = "What the representative dataset showed, and the range that was chosen for each tensor."
    return Section("calibration", "Calibration", lead, tuple(blocks))


def _range_table(model: TfliteModel) -> Table:
    ranges = model.ranges
    assert ranges is not None
    histograms = {item.index: item for item in model.histograms}
    prefix = common_prefix([first_name(item.name) for item in ranges.tensors])
    columns = (
        Column("tensor"),
        Column("chosen from", True),
        Column("to", True),
        Column("seen from", True),
        Column("to", True),
        Column("cut off", True, _CUT_OFF),
        Column("values", False, _VALUES),
    )
    rows = [_range_row(item, histograms.get(item.index), prefix) for item in ranges.tensors]
    caption = (
        f"{plural(len(rows), 'tensor')}, statistic {ranges.statistic}, "
        f"{plural(ranges.sample_count, 'sample')}"
    )
    note = text.left_out(prefix)
    if len(histograms) < len(ranges.tensors):
        kept = plural(len(histograms), "tensor")
        note = f"{note} Histograms are kept of the {kept} that are cut most.".strip()
        if not histograms:
            note = f"{text.left_out(prefix)} Calibration kept extremes only.".strip()
    return Table(caption, columns, tuple(rows), note, by_layer=True)


def _range_row(item: TensorRange, seen: Histogram | None, prefix: str) -> tuple[Cell, ...]:
    cells = (
        Cell(text.short(item.name, prefix)),
        text.number(item.minimum, "{:.4g}"),
        text.number(item.maximum, "{:.4g}"),
    )
    if seen is None:
        return (*cells, *[Cell("-")] * 4)
    cut = cut_share(seen, item.minimum, item.maximum)
    spark = Spark(seen.minimum, seen.maximum, seen.counts, item.minimum, item.maximum)
    return (
        *cells,
        text.number(seen.minimum, "{:.4g}"),
        text.number(seen.maximum, "{:.4g}"),
        Cell(f"{cut:.2%}", cut),
        Cell("", cut, "", spark),
    )


def cut_share(seen: Histogram, low: float, high: float) -> float:
    """Values in the bins beyond the range; of a bin that it ends in, its part."""
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
    columns = (
        Column("statistic"),
        Column("channels stretched"),
        Column("layers corrected"),
        Column("SQNR dB", True, "Of the outputs' worst part, on calibration samples kept apart."),
    )
    rows = tuple(
        (
            Cell(f"{item.statistic} (chosen)" if number == 0 else item.statistic),
            Cell("yes" if item.is_equalized else "no"),
            Cell("yes" if item.is_corrected else "no"),
            text.db(item.sqnr_db),
        )
        for number, item in enumerate(model.candidates)
    )
    return Table("Ways to quantize that were tried", columns, rows)


def _correction_table(model: TfliteModel) -> Table:
    prefix = common_prefix([first_name(item.layer) for item in model.corrections])
    columns = (
        Column("layer"),
        Column("operator"),
        Column("correction"),
        Column("before dB", True, "SQNR of its own output as quantized."),
        Column("after dB", True),
    )
    rows = tuple(
        (
            Cell(text.short(item.layer, prefix)), Cell(item.operator), Cell(item.chosen),
            text.db(item.plain_db), text.db(item.corrected_db),
        )
        for item in model.corrections
    )  # fmt: skip
    caption = f"Corrections after quantization, {plural(model.correction_samples, 'sample')}"
    return Table(caption, columns, rows, text.left_out(prefix), by_layer=True)


# ---------------------------------------------------------------- the file


def certificate_section(material: Material) -> Section | None:
    """What the exported file is, from its bytes."""
    proof = material.certificate()
    if proof is None:
        return None
    blocks: list[Block] = [_proof_facts(proof), _kind_table(proof), _content_table(proof)]
    blocks[:0] = [Prose(f"Not what was asked for: {problem}", "bad") for problem in proof.problems]
    lead = "Read back from the exported file, whatever made it."
    return Section("certificate", "Certificate", lead, tuple(blocks))


def _proof_facts(proof: Certificate) -> Facts:
    rows = [(f"input {spec.name}", Cell(describe_tensor(spec))) for spec in proof.inputs]
    rows += [(f"output {spec.name}", Cell(describe_tensor(spec))) for spec in proof.outputs]
    per = {True: "per channel", False: "per tensor", None: "not quantized"}[proof.is_per_channel]
    rows += [
        ("weights", Cell(per)),
        ("float islands", Cell(str(proof.float_islands), proof.float_islands,
                               "doubt" if proof.float_islands else "")),
        ("QUANTIZE, DEQUANTIZE", Cell(f"{proof.quantize_ops}, {proof.dequantize_ops}")),
        ("needs Flex", _names(proof.flex_ops)),
        ("custom operators", _names(proof.custom_ops)),
        ("float weights left", _names(proof.unquantized_weights)),
        ("oldest runtime", Cell(f"TensorFlow Lite {proof.min_runtime_version or 'not stated'}")),
        ("size", text.size(proof.size_bytes)),
    ]  # fmt: skip
    return Facts("What the file is", tuple(rows))


def _names(names: Sequence[str]) -> Cell:
    shown = ", ".join(text.short(name) for name in names[:8])
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return Cell(f"{shown}{more}", len(names), "bad") if names else Cell("none", 0)


def _kind_table(proof: Certificate) -> Table:
    counts = Counter((op.name, op.precision) for op in proof.operators)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rows = tuple(
        (Cell(name), _precision(precision), Cell(str(count), count))
        for (name, precision), count in ordered
    )
    columns = (Column("type"), Column("precision"), Column("operators", True))
    return Table(f"{plural(len(proof.operators), 'operator')} by type", columns, rows)


def _precision(precision: str) -> Cell:
    return Cell(precision, None, "doubt" if precision == "float32" else "")


def _content_table(proof: Certificate) -> Table:
    prefix = common_prefix([first_name(op.output) for op in proof.operators])
    columns = (
        Column("layer", False, "The operator's first output."),
        Column("#", True, "Position in execution order."),
        Column("operator"),
        Column("precision"),
        Column("weights"),
        Column("granularity"),
        Column("version", True),
    )
    rows = tuple(
        (
            Cell(text.short(op.output, prefix)),
            Cell(str(op.index), op.index),
            Cell(op.name),
            _precision(op.precision),
            Cell("-" if op.weight_dtype is None
                 else f"{op.weight_dtype} {show_shape(op.weight_shape)}"),
            Cell(op.granularity or "-"),
            Cell(str(op.version), op.version),
        )
        for op in proof.operators
    )  # fmt: skip
    return Table("Every operator", columns, rows, text.left_out(prefix), by_layer=True)


# ---------------------------------------------------------------- the search


def search_section(material: Material) -> Section | None:
    """What `tune` tried, and what is best in one thing without being worse in another."""
    blocks: list[Block] = []
    for part in material.of("tune"):
        blocks += [_pareto(part.value), _trial_table(part.value)]
    if not blocks:
        return None
    lead = "Every recipe that was tried; the Pareto ones are beaten by no other in all respects."
    return Section("search", "What tune tried", lead, tuple(blocks))


def _pareto(tuning: Tuning) -> XYPlot:
    trials = [trial for trial in tuning.trials if trial.failure is None]
    timed = tuning.options.objective == "latency" and any(trial.latency_ms for trial in trials)
    labelled = any(trial.drop_points is not None for trial in trials)
    rest = trials[1:]
    options = tuning.options.convert
    limit = options.max_drop_points if labelled else options.min_sqnr_db
    groups = (
        ("other", "other", "dots", [trial for trial in rest if not trial.is_pareto]),
        ("Pareto", "candidate", "diamonds", [trial for trial in rest if trial.is_pareto]),
        ("chosen", "accent", "rings", trials[:1]),
    )
    series = tuple(
        Series(name, role, shape, tuple(_places(group, timed=timed, labelled=labelled)))
        for name, role, shape, group in groups
    )
    title = "lost accuracy, points" if labelled else "SQNR, dB"
    panel = Panel(title, series, limit, "" if limit is None else "budget", is_stretched=labelled)
    axis = f"latency on {tuning.facts.device}, ms" if timed else "size, kB"
    description = f"Chosen: {_trial_tip(trials[0])}. {plural(len(tuning.trials), 'trial')}."
    return XYPlot("Quality against cost", description, axis, (panel,))


def _places(trials: Sequence[Trial], *, timed: bool, labelled: bool) -> Iterator[Point]:
    for trial in trials:
        across = trial.latency_ms if timed else trial.size_bytes / 1000
        drop = trial.drop_points
        up = trial.sqnr_db if not labelled else None if drop is None else drop.value
        if across is not None and up is not None:
            yield Point(across, up, _trial_tip(trial))


def _trial_tip(trial: Trial) -> str:
    parts = [describe_recipe(trial.recipe)]
    if trial.drop_points is not None:
        parts.append(f"drop {trial.drop_points.value:+.2f} points")
    parts.append(f"SQNR {text.db(trial.sqnr_db).text} dB")
    if trial.latency_ms is not None:
        parts.append(text.ms(trial.latency_ms).text)
    parts.append(show_bytes(trial.size_bytes))
    return ", ".join(parts)


def _trial_table(tuning: Tuning) -> Table:
    columns = (
        Column("recipe"),
        Column(""),
        Column("drop", True, "Lost accuracy in points, with its paired interval."),
        Column("SQNR dB", True),
        Column("latency", True),
        Column("speed-up", True, "Against the FP32 model on the same device."),
        Column("size", True),
        Column("why not"),
    )
    rows = []
    for number, trial in enumerate(tuning.trials):
        mark = "Pareto" if trial.is_pareto else "refuted" if trial.is_refuted else ""
        mark = "chosen" if number == 0 else mark
        if trial.failure is not None:
            cells = (Cell(f"failed: {trial.failure}", None, "bad"), *[Cell("-")] * 5)
        else:
            ratio = trial.speedup
            cells = (
                Cell(mark), text.points(trial.drop_points), text.db(trial.sqnr_db),
                text.ms(trial.latency_ms),
                Cell("-") if ratio is None else Cell(text.times(ratio.value), ratio.value),
                text.size(trial.size_bytes),
            )  # fmt: skip
        rows.append((Cell(describe_recipe(trial.recipe)), *cells, Cell(trial.rejected or "-")))
    caption = f"{plural(len(rows), 'trial')}, on {plural(tuning.search_samples, 'sample')}"
    return Table(caption, columns, tuple(rows))
