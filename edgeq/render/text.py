"""Results as terminal text. Every number is taken from the value; nothing is computed here."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from edgeq.converters.schemes import SCHEMES
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
    Quality,
    Ratio,
    TensorSpec,
    TfliteModel,
)

_NARROWEST = 80
_WIDEST = 120


def _render(*parts: RenderableType) -> str:
    """Rich renderables as text with colours; `click.echo` drops them when nobody would see."""
    width = min(max(shutil.get_terminal_size((100, 24)).columns, _NARROWEST), _WIDEST)
    console = Console(width=width, force_terminal=True, color_system="standard", highlight=False)
    with console.capture() as capture:
        for part in parts:
            # Lines with paths are left whole, so that they can be copied.
            console.print(part, soft_wrap=isinstance(part, (str, Text)))
    return capture.get().rstrip("\n")


def _grid(rows: Iterable[Sequence[str]]) -> Padding:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    return Padding(grid, (0, 0, 0, 2))


def _heading(text: str) -> Text:
    return Text(text, style="bold")


def show_bytes(count: int | None) -> str:
    """A size with the unit a reader expects, "-" when not measured."""
    if count is None:
        return "-"
    if count < 1000:
        return f"{count} B"
    units = (("kB", 1e3), ("MB", 1e6), ("GB", 1e9))
    unit, size = next((u for u in units if count < 999.5 * u[1]), units[-1])
    return f"{count / size:.1f} {unit}"


def show_sizes(ratio: float) -> str:
    """How many times smaller; a file that grew is said, not left to a number below one."""
    return f"{ratio:.1f}x smaller" if ratio >= 1 else f"{1 / ratio:.1f}x LARGER"


def show_ms(value: float) -> str:
    """A latency with three significant digits."""
    if value >= 100:
        return f"{value:.0f} ms"
    digits = 2 - math.floor(math.log10(value)) if value > 0 else 2
    return f"{value:.{max(digits, 0)}f} ms"


def show_db(value: float) -> str:
    """An SQNR; identical outputs have no noise."""
    return "identical" if math.isinf(value) and value > 0 else f"{value:.1f} dB"


# ---------------------------------------------------------------- convert


def show_conversion(result: Conversion) -> str:
    """Summary of `edgeq convert`."""
    proof = result.certificate
    source = result.source
    title = f"{source.source.path} ({source.framework}) -> {result.model.file.path}"
    parts: list[RenderableType] = [
        _heading(title),
        "",
        _heading(f"Read back from the file: {_scheme_line(result)}"),
        _grid(_certificate_rows(result, proof)),
    ]
    if result.model.candidates:
        count = _plural(len(result.model.candidates), "candidate")
        heading = f"The best of {count} on calibration samples kept apart"
        parts += ["", _heading(heading), _grid(_choice_rows(result.model))]
    if result.quality is not None:
        kind = "held-out" if result.quality.is_held_out else "calibration"
        count = _plural(result.quality.sample_count, f"{kind} sample")
        heading = f"Against the float model on {count}"
        parts += ["", _heading(heading), _grid(_quality_rows(result.quality))]
    parts += _issue_parts([*_notes(result), *result.issues])
    parts += ["", f"Wrote {result.model.file.path} and {result.model.file.path}.json"]
    return _render(*parts)


def _scheme_line(result: Conversion) -> str:
    summary = SCHEMES[result.model.scheme].summary
    counts = Counter(operator.precision for operator in result.certificate.operators)
    exceptions = [
        f"{_plural(counts[precision], 'operator')} {words}"
        for selectors, precision, words in (
            (result.options.keep_float, "float32", "kept in float"),
            (result.options.int16, "int16x8", "with INT16 activations"),
        )
        if selectors
    ]
    return f"{summary}, but {' and '.join(exceptions)}" if exceptions else summary


def _certificate_rows(result: Conversion, proof: Certificate) -> list[tuple[str, ...]]:
    rows = [("input", *_tensor_cells(spec)) for spec in proof.inputs]
    rows += [("output", *_tensor_cells(spec)) for spec in proof.outputs]
    counts = Counter(operator.precision for operator in proof.operators)
    operators = ", ".join(f"{count} {precision}" for precision, count in counts.most_common())
    rows.append(("operators", f"{operators}; {_plural(proof.float_islands, 'float island')}"))
    rows.append(
        ("conversions", f"{proof.quantize_ops} QUANTIZE, {proof.dequantize_ops} DEQUANTIZE")
    )
    if proof.is_per_channel is not None:
        rows.append(("weights", "INT8 per channel" if proof.is_per_channel else "INT8 per tensor"))
    for label, names in (("flex ops", proof.flex_ops), ("custom ops", proof.custom_ops)):
        if names:
            rows.append((label, ", ".join(names)))
    rows.append(("runtime", f"TensorFlow Lite {proof.min_runtime_version or 'unknown'} or newer"))
    before, after = result.source.file.size_bytes, proof.size_bytes
    rows.append(
        ("size", f"{show_bytes(before)} -> {show_bytes(after)}, {show_sizes(before / after)}")
    )
    return rows


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
        rows.append(("layers", f"{kinds}; {untouched} as rounded"))
    rows.append(
        (
            "SQNR there",
            f"{show_db(chosen.sqnr_db)}; {plain.statistic} alone {show_db(plain.sqnr_db)}",
        )
    )
    return rows


def _tensor_cells(spec: TensorSpec) -> tuple[str, ...]:
    shape = "x".join("?" if size == -1 else str(size) for size in spec.shape)
    quantized = ""
    if spec.scales:
        quantized = f", scale {spec.scales[0]:.6g}, zero point {spec.zero_points[0]}"
    return (f"{spec.name}  {spec.dtype} {shape}{quantized}",)


def _quality_rows(quality: Quality) -> list[tuple[str, str]]:
    rows = [
        (
            "SQNR" if len(quality.outputs) == 1 else f"SQNR {output.name}",
            f"{show_db(output.sqnr_db)}  (MSE {output.mse:.3g}, "
            f"largest error {output.max_error:.3g})",
        )
        for output in quality.outputs
    ]
    if quality.agreement_percent is not None:
        rows.append(("top-1", f"{quality.agreement_percent:.1f} % the same"))
    if quality.drop_points is not None and quality.paired is not None:
        drop, pairs = quality.drop_points, quality.paired
        rows.append(
            (
                "accuracy" if len(quality.outputs) == 1 else f"accuracy {quality.scored_output}",
                f"{quality.baseline_accuracy_percent:.2f} % -> "
                f"{quality.candidate_accuracy_percent:.2f} %, drop {drop.value:+.2f} points "
                f"(95 % interval {drop.low:+.2f} to {drop.high:+.2f})",
            )
        )
        rows.append(
            (
                "in pairs",
                f"{pairs.both_right} both right, {pairs.only_baseline} only float, "
                f"{pairs.only_candidate} only quantized, {pairs.both_wrong} both wrong",
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


def _issue_parts(issues: Sequence[Issue]) -> list[RenderableType]:
    if not issues:
        return []
    styles = {"error": "red", "warning": "yellow", "note": "cyan"}
    grid = Table.grid(padding=(0, 1))
    for number, issue in enumerate(issues, 1):
        label = Text(issue.severity, style=styles[issue.severity])
        code = f" [{issue.code}]" if issue.code else ""
        grid.add_row(Text(f"{number}."), label, Text(issue.message + code))
    return ["", Padding(grid, (0, 0, 0, 2))]


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


# ---------------------------------------------------------------- bench


def show_bench(result: BenchResult) -> str:
    """Summary of `edgeq bench`."""
    return _render(*_bench_parts(result))


def _bench_parts(result: BenchResult) -> list[RenderableType]:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("latency in ms", overflow="fold")
    for column in ("p50", "p90", "p99", "min", "runs", "init", "first", "memory", "arena"):
        table.add_column(column, justify="right", no_wrap=True)
    for run in result.runs:
        table.add_row(*map(Text, _bench_cells(run)))
    parts: list[RenderableType] = [_facts_line(result.facts, result.runs[0]), "", table]
    if len(result.runs) > 1:
        parts += ["", Text(f"against {_base(result.runs[0].model)}:", style="dim")]
    for run, ratio in zip(result.runs[1:], result.speedups, strict=True):
        parts.append(Text(f"  {_base(run.model)}  {show_ratio(ratio)}"))
    issues = [issue for run in result.runs for issue in run.issues]
    return parts + _issue_parts(list(dict.fromkeys(issues)))


def _bench_cells(run: BenchRun) -> tuple[str, ...]:
    latency = run.latency
    figures = (latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.min_ms)
    return (
        _base(run.model),
        *(f"{value:.3g}" for value in figures),
        str(latency.count),
        f"{run.init_ms:.3g}",
        f"{run.first_ms:.3g}",
        show_bytes(run.peak_rss_bytes),
        show_bytes(run.arena_bytes),
    )


def _base(file: FileRef) -> str:
    return file.path.rsplit("/", 1)[-1]


def show_ratio(ratio: Ratio) -> str:
    """A speed-up with its interval; slower is said, not left to a number below one."""
    interval = f"(ratio {ratio.value:.2f}, 95 % interval {ratio.low:.2f} to {ratio.high:.2f})"
    if ratio.low <= 1 <= ratio.high:
        return f"no difference {interval}"
    word = "faster" if ratio.value >= 1 else "SLOWER"
    value = ratio.value if ratio.value >= 1 else 1 / ratio.value
    return f"{value:.2f}x {word} {interval}"


def _facts_line(facts: DeviceFacts, run: BenchRun) -> Text:
    cpu = facts.cpu_model or facts.machine
    governor = f", governor {facts.governor}" if facts.governor else ""
    load = "" if run.load_average is None else f", load {run.load_average:.2f}"
    return Text(
        f"{facts.device}: {cpu}, {_plural(facts.core_count, 'core')}{governor}{load}; "
        f"{run.runtime.name} {run.runtime.version}, {_plural(run.threads, 'thread')}"
    )


# ---------------------------------------------------------------- eval, compare


def show_metric(value: MetricValue) -> str:
    """A metric with its unit."""
    return f"{value.value:.2f} %" if value.unit == "percent" else f"{value.value:.6g}"


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
    return _render(table, *_issue_parts(list(dict.fromkeys(issues))))


_VERDICTS = {
    "ship": ("SHIP", "bold green"),
    "check": ("CHECK", "bold yellow"),
    "no": ("NO", "bold red"),
}


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
            _plural(quality.sample_count, "sample"),
        )
    for ours, theirs in zip(result.metrics_baseline, result.metrics_candidate, strict=True):
        if ours.name != "top1" or quality.baseline_accuracy_percent is None:
            table.add_row(ours.name, show_metric(ours), show_metric(theirs), "")
    sizes = result.baseline.size_bytes, result.candidate.size_bytes
    table.add_row("size", *map(show_bytes, sizes), show_sizes(result.size_ratio))
    if result.bench is not None:
        _add_latency_rows(table, result.bench)
    parts: list[RenderableType] = [
        _heading(f"{result.baseline.path} against {result.candidate.path}"),
        "",
        table,
        "",
        _grid(_quality_rows(quality)),
    ]
    issues = list(result.issues)
    if result.bench is not None:
        parts += ["", _facts_line(result.bench.facts, result.bench.runs[0])]
        issues += [issue for run in result.bench.runs for issue in run.issues]
    parts += _issue_parts(list(dict.fromkeys(issues)))
    return _render(*parts, "", *_verdict_parts(result))


def _add_latency_rows(table: Table, bench: BenchResult) -> None:
    ours, theirs = bench.runs
    ratio = bench.speedups[0]
    table.add_row(
        "latency p50",
        show_ms(ours.latency.p50_ms),
        show_ms(theirs.latency.p50_ms),
        show_ratio(ratio),
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
