"""What a stage of `edgeq run` left, as half a line."""

from __future__ import annotations

from edgeq.accuracy.verdict import worst_sqnr_db
from edgeq.files.storage import find_issues
from edgeq.records.reading import Record
from edgeq.render.parts import harmless
from edgeq.values import BenchResult, Quality
from edgeq.wording import show_bytes, show_db, show_ms


@harmless
def sum_up(record: Record) -> str:
    """The figures of a record that a reader looks for first; "" for a kind without any."""
    value = record.value
    parts: list[str] = []
    if record.kind in ("convert", "tune"):
        scheme = value.model.scheme.upper()
        parts = [f"{scheme}, {show_bytes(value.model.file.size_bytes)}"]
        if value.quality is not None:
            parts += _quality(value.quality)
    elif record.kind == "compare":
        parts = [value.verdict.upper(), *_quality(value.quality), *_latency(value.bench)]
    elif record.kind == "gate":
        parts = [value.verdict.upper().replace("-", " ")]
    return ", ".join([*parts, *_warnings(record)])


def _warnings(record: Record) -> list[str]:
    """Codes of everything that makes the figures less trustworthy."""
    found = [issue.code for issue in find_issues(record.value) if issue.severity != "note"]
    return [f"DOUBTED: {', '.join(dict.fromkeys(found))}"] if found else []


def _quality(quality: Quality) -> list[str]:
    worst = worst_sqnr_db(quality)
    parts = [f"SQNR {show_db(worst)}"]
    if quality.drop_points is not None:
        parts.append(
            f"accuracy {quality.baseline_accuracy_percent:.2f} % -> "
            f"{quality.candidate_accuracy_percent:.2f} %, drop "
            f"{quality.drop_points.value:+.2f} points"
        )
    return parts


def _latency(bench: BenchResult | None) -> list[str]:
    if bench is None:
        return []
    parts = [f"p50 {show_ms(bench.runs[-1].latency.p50_ms)}"]
    if bench.speedups:
        parts.append(f"speed-up {bench.speedups[0].value:.2f}x")
    return parts
