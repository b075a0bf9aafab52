"""The result of a stage of `edgeq run`, as half a line."""

from __future__ import annotations

from edgeq.accuracy.verdict import worst_sqnr_db
from edgeq.files.storage import find_issues
from edgeq.records.reading import Record
from edgeq.render.parts import harmless
from edgeq.values import Quality
from edgeq.wording import show_bytes, show_db, show_ms, signed


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
        parts, bench = [value.verdict.upper(), *_quality(value.quality)], value.bench
        if bench is not None:
            parts.append(f"p50 {show_ms(bench.runs[-1].latency.p50_ms)}")
            parts += [f"speed-up {ratio.value:.2f}x" for ratio in bench.speedups[:1]]
    elif record.kind == "fit":
        parts = [f"{board.verdict.upper()} on {board.board.name}" for board in value.boards]
    elif record.kind == "gate":
        parts = [value.verdict.upper().replace("-", " ")]
    codes = [issue.code for issue in find_issues(record.value) if issue.severity != "note"]
    if codes:
        parts.append(f"DOUBTED: {', '.join(dict.fromkeys(codes))}")
    return ", ".join(parts)


def _quality(quality: Quality) -> list[str]:
    parts = [f"SQNR {show_db(worst_sqnr_db(quality))}"]
    if quality.drop_points is not None:
        parts.append(
            f"accuracy {quality.baseline_accuracy_percent:.2f} % -> "
            f"{quality.candidate_accuracy_percent:.2f} %, drop "
            f"{signed(quality.drop_points.value)} points"
        )
    return parts
