"""Results as terminal text. Every number is taken from the value; nothing is computed here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from edgeq.device_runners.devices.cores import show_cores
from edgeq.render.latency import energy_line, sustained_parts, told_line, validity_line
from edgeq.render.parts import (
    grid,
    harmless,
    heading,
    issue_parts,
    plural,
    quality_rows,
    render,
    show_bare_ms,
    show_bytes,
    show_db,
    show_ms,
    show_ratio,
    show_sizes,
    tensor_cells,
    way_out_parts,
)
from edgeq.values import (
    BenchResult,
    BenchRun,
    Certificate,
    Comparison,
    Conversion,
    DeviceFacts,
    Evaluation,
    FileRef,
    Issue,
    MetricValue,
    OperatorReport,
    Quality,
    TfliteModel,
)
from edgeq.values.schemes import SCHEMES

# ---------------------------------------------------------------- convert


@harmless
def show_conversion(result: Conversion) -> str:
    """Summary of `edgeq convert`."""
    proof = result.certificate
    source = result.source
    title = f"{source.source.path} ({source.framework}) -> {result.model.file.path}"
    parts: list[RenderableType] = [
        heading(title),
        "",
        heading(f"Read back from the file: {_scheme_line(result)}"),
        grid(_certificate_rows(result, proof)),
    ]
    if result.model.candidates:
        count = plural(len(result.model.candidates), "candidate")
        title = f"The best of {count} on calibration samples kept apart"
        parts += ["", heading(title), grid(_choice_rows(result.model))]
    if result.quality is not None:
        title = f"Against the float model on {_judged_on(result, result.quality)}"
        parts += ["", heading(title), grid(quality_rows(result.quality))]
    parts += issue_parts([*_notes(result), *result.issues])
    parts += way_out_parts(result.ways_out)
    parts += ["", f"Wrote {result.model.file.path} and {result.model.file.path}.json"]
    return render(*parts)


def _judged_on(result: Conversion, quality: Quality) -> str:
    if quality.is_held_out:
        return plural(quality.sample_count, "held-out sample")
    if result.test_data is not None:
        return f"{plural(quality.sample_count, 'sample')}, those that calibrated among them"
    return f"{plural(quality.sample_count, 'calibration sample')}, as none are left to hold out"


def _scheme_line(result: Conversion) -> str:
    summary = SCHEMES[result.model.scheme].summary
    counts = Counter(operator.precision for operator in result.certificate.operators)
    if not (result.options.keep_float or result.options.int16):
        return summary
    parts = [
        f"{plural(counts[precision], 'operator')} {words}"
        for precision, words in (
            ("int8", "in INT8"),
            ("int16x8", "with INT16 activations"),
            ("float32", "kept in float"),
        )
        if counts[precision]
    ]
    return f"mixed: {', '.join(parts)}" if len(parts) > 1 else parts[0]


def _certificate_rows(result: Conversion, proof: Certificate) -> list[tuple[str, ...]]:
    rows = [("input", *tensor_cells(spec)) for spec in proof.inputs]
    rows += [("output", *tensor_cells(spec)) for spec in proof.outputs]
    counts = Counter(operator.precision for operator in proof.operators)
    operators = ", ".join(f"{count} {precision}" for precision, count in counts.most_common())
    # A file that computes in float throughout is no sea with islands.
    has_sea = bool(counts.keys() & {"int8", "int16x8"})
    islands = f"; {plural(proof.float_islands, 'float island')}" if has_sea else ""
    rows.append(("operators", f"{operators}{islands}"))
    rows.append(
        ("conversions", f"{proof.quantize_ops} QUANTIZE, {proof.dequantize_ops} DEQUANTIZE")
    )
    rows += quantization_rows(proof)
    for label, names in (("flex ops", proof.flex_ops), ("custom ops", proof.custom_ops)):
        if names:
            rows.append((label, ", ".join(names)))
    rows.append(("runtime", f"TensorFlow Lite {proof.min_runtime_version or 'unknown'} or newer"))
    before, after = result.source.file.size_bytes, proof.size_bytes
    rows.append(
        ("size", f"{show_bytes(before)} -> {show_bytes(after)}, {show_sizes(before / after)}")
    )
    return rows


def quantization_rows(proof: Certificate) -> list[tuple[str, str]]:
    """How weights and activations are quantized, as their scales and zero points tell."""
    rows = []
    kinds = Counter(
        (op.weight_dtype, _own_symmetry(op, proof), op.granularity)
        for op in proof.operators
        if op.granularity is not None
    )
    if kinds:
        shown = [
            f"{str(dtype).upper()} {symmetry} per {str(granularity).replace(':', ' of ')}"
            + (f" ({plural(count, 'operator')})" if len(kinds) > 1 else "")
            for (dtype, symmetry, granularity), count in kinds.most_common()
        ]
        rows.append(("weights", ", ".join(shown)))
    if proof.activation_dtypes:
        kinds_shown = [
            f"{dtype.upper()} {_symmetry(dtype in proof.symmetric_activation_dtypes)}"
            for dtype in proof.activation_dtypes
        ]
        shown_as = f"{', '.join(kinds_shown)} per tensor"
        rows.append(("activations", shown_as))
    elif kinds:
        rows.append(("activations", "float"))
    return rows


def _own_symmetry(operator: OperatorReport, proof: Certificate) -> str:
    """Of an operator's weights; records of edgeq 0.1 tell it of all of them at once."""
    own = operator.is_symmetric
    return _symmetry(proof.weights_symmetric if own is None else own)


def _symmetry(is_symmetric: bool | None) -> str:
    return "symmetric" if is_symmetric else "asymmetric"


def _choice_rows(model: TfliteModel) -> list[tuple[str, str]]:
    """How the integers were chosen: ranges, corrections, and what they gained."""
    chosen = model.candidates[0]
    plain = next((c for c in model.candidates if not (c.is_equalized or c.is_corrected)), chosen)
    equalized = ", channels equalized" if chosen.is_equalized else ""
    rows = [("ranges", f"{chosen.statistic}{equalized}")]
    counts = Counter(item.chosen for item in model.corrections)
    untouched = counts.pop("plain", 0)
    if counts:
        kinds = ", ".join(f"{name} {count}" for name, count in counts.most_common())
        count = model.correction_samples
        rows.append(("layers", f"{kinds}; {untouched} as rounded; on {count} samples"))
    rows.append(
        (
            "SQNR there",
            f"{show_db(chosen.sqnr_db)}; {plain.statistic} alone {show_db(plain.sqnr_db)}",
        )
    )
    return rows


def _notes(result: Conversion) -> list[Issue]:
    source = result.source
    notes = [Issue("", "note", note) for note in source.notes]
    if source.unrolled_layers:
        names = ", ".join(source.unrolled_layers)
        notes.append(Issue("", "note", f"recurrent layers unrolled into single steps: {names}"))
    return notes


# ---------------------------------------------------------------- bench


@harmless
def show_bench(result: BenchResult) -> str:
    """Summary of `edgeq bench`."""
    return render(*_bench_parts(result))


def _bench_parts(result: BenchResult) -> list[RenderableType]:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("latency in ms", overflow="fold")
    for column in ("p50", "p90", "p99", "min", "runs", "init", "first", "memory", "arena"):
        table.add_column(column, justify="right", no_wrap=True)
    for run in result.runs:
        table.add_row(*map(Text, _bench_cells(run)))
    parts: list[RenderableType] = [_facts_line(result.facts, result.runs[0]), "", table]
    if result.speedups:
        parts += ["", Text(f"against {_base(result.runs[0].model)}:", style="dim")]
    for run, ratio in zip(result.runs[1:], result.speedups, strict=False):
        parts.append(Text(f"  {_base(run.model)}  {show_ratio(ratio)}"))
    for run in result.runs:
        parts += told_line(_base(run.model), run)
        parts += energy_line(_base(run.model), run.energy)
        parts += sustained_parts(run.sustained)
    parts += validity_line(result)
    issues = [issue for run in result.runs for issue in run.issues]
    return parts + issue_parts(list(dict.fromkeys(issues)))


def _bench_cells(run: BenchRun) -> tuple[str, ...]:
    latency = run.latency
    figures = (latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.min_ms)
    return (
        _base(run.model),
        *map(show_bare_ms, figures),
        str(latency.count),
        f"{run.init_ms:.3g}",
        f"{run.first_ms:.3g}",
        show_bytes(run.peak_rss_bytes),
        show_bytes(run.arena_bytes),
    )


def _base(file: FileRef) -> str:
    return file.path.rsplit("/", 1)[-1]


def _facts_line(facts: DeviceFacts, run: BenchRun) -> Text:
    cpu = facts.processor
    governor = f", governor {facts.governor}" if facts.governor else ""
    load = "" if run.load_average is None else f", load {run.load_average:.2f}"
    noun = "core" if len(run.cores) == 1 else "cores"
    cores = f" on {noun} {show_cores(run.cores)}" if run.cores else ""
    return Text(
        f"{facts.device}: {cpu}, {plural(facts.core_count, 'core')}{governor}{load}; "
        f"{run.runtime.name} {run.runtime.version}, {plural(run.threads, 'thread')}{cores}"
    )


# ---------------------------------------------------------------- eval, compare


def show_metric(value: MetricValue) -> str:
    """A metric with its unit."""
    return f"{value.value:.2f} %" if value.unit == "percent" else f"{value.value:.6g}"


@harmless
def show_evaluations(results: Sequence[Evaluation]) -> str:
    """Summary of `edgeq eval`."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("model")
    for metric in results[0].metrics:
        table.add_column(metric.name, justify="right")
    table.add_column("95 % interval", justify="right")
    table.add_column("samples", justify="right")
    table.add_column("runtime")
    for result in results:
        interval = result.interval
        table.add_row(
            Text(result.model.path),
            *(show_metric(metric) for metric in result.metrics),
            "-" if interval is None else f"{interval.low:.2f}..{interval.high:.2f}",
            str(result.sample_count),
            f"{result.runtime.name} {result.runtime.version}",
        )
    issues = [issue for result in results for issue in result.issues]
    return render(*_place_parts(results[0]), table, *issue_parts(list(dict.fromkeys(issues))))


def _place_parts(result: Evaluation | Comparison) -> list[RenderableType]:
    """Where the samples ran; nothing for older records, which do not tell."""
    return [] if result.device is None else [Text(f"{result.device}: {result.processor}"), ""]


_VERDICTS = {
    "ship": ("SHIP", "bold green"),
    "check": ("CHECK", "bold yellow"),
    "no": ("NO", "bold red"),
}


@harmless
def show_comparison(result: Comparison) -> str:
    """Summary of `edgeq compare`: one table, then the verdict."""
    quality = result.quality
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    table.add_column("FP32", justify="right")
    table.add_column("candidate", justify="right")
    table.add_column("", justify="left")
    if quality.baseline_accuracy_percent is not None:
        table.add_row(
            "accuracy",
            f"{quality.baseline_accuracy_percent:.2f} %",
            f"{quality.candidate_accuracy_percent:.2f} %",
            plural(quality.sample_count, "sample"),
        )
    for ours, theirs in zip(result.metrics_baseline, result.metrics_candidate, strict=True):
        if ours.name != "top1" or quality.baseline_accuracy_percent is None:
            table.add_row(ours.name, show_metric(ours), show_metric(theirs), "")
    sizes = result.baseline.size_bytes, result.candidate.size_bytes
    table.add_row("size", *map(show_bytes, sizes), show_sizes(result.size_ratio))
    if result.bench is not None:
        _add_latency_rows(table, result.bench)
    parts: list[RenderableType] = [
        heading(f"{result.baseline.path} against {result.candidate.path}"),
        "",
        *(_place_parts(result) if result.bench is None else []),  # below, a line tells more
        table,
        "",
        grid(quality_rows(quality)),
    ]
    issues = list(result.issues)
    if result.bench is not None:
        parts += ["", _facts_line(result.bench.facts, result.bench.runs[0])]
        issues += [issue for run in result.bench.runs for issue in run.issues]
    parts += issue_parts(list(dict.fromkeys(issues)))
    return render(*parts, "", *_verdict_parts(result), *way_out_parts(result.ways_out))


def _add_latency_rows(table: Table, bench: BenchResult) -> None:
    ours, theirs = bench.runs
    table.add_row(
        "latency p50",
        show_ms(ours.latency.p50_ms),
        show_ms(theirs.latency.p50_ms),
        show_ratio(bench.speedups[0]) if bench.speedups else "invalid",
    )
    table.add_row("latency p90", show_ms(ours.latency.p90_ms), show_ms(theirs.latency.p90_ms), "")
    table.add_row(
        "peak memory", show_bytes(ours.peak_rss_bytes), show_bytes(theirs.peak_rss_bytes), ""
    )


def _verdict_parts(result: Comparison) -> list[RenderableType]:
    word, style = _VERDICTS[result.verdict]
    lines: list[RenderableType] = [Text.assemble("Verdict: ", (word, style))]
    lines += [Text(f"  - {reason}") for reason in result.reasons]
    return lines
