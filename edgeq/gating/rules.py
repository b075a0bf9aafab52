"""The rules a policy can have, in one table."""

from __future__ import annotations

from dataclasses import dataclass

from edgeq.gating import policy as reading
from edgeq.gating.figures import (
    find_drops,
    find_latencies,
    find_memories,
    find_sizes,
    find_sqnrs,
)
from edgeq.gating.intervals import growth_percent, increase
from edgeq.gating.judges import (
    Judge,
    judge_drop,
    judge_islands,
    judge_latency,
    judge_memory,
    judge_runtime,
    judge_size,
    judge_speedup,
    judge_sqnr,
    lost_db,
    on_all,
    regression,
)
from edgeq.gating.policy import Reader


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        key: in the policy.
        place: "", "devices" or "regression": the tables it may stand in; "any" is the policy itself
            (for every device that was measured) or a device's.
        read: from the file's value to a number.
        unit: of a bare number, behind it.
        meaning: for the reference.
        example: a value as it is written.
        judge: one finding for each figure; none when no record has one.
        missing: what to do then.
    """

    key: str
    place: str
    read: Reader
    unit: str
    meaning: str
    example: str
    judge: Judge
    missing: str


_COMPARE = "Give the record of edgeq compare with labelled samples."
_CONVERT = "Give the record that convert wrote beside the model."
_BENCH = "Give a record of edgeq bench or compare from that device."

RULES: dict[tuple[str, str], Rule] = {
    (rule.place, rule.key): rule
    for rule in (
        Rule(
            "max_drop_points",
            "",
            reading.read_number,
            " points",
            "accuracy lost against FP32, in points",
            "0.5",
            judge_drop,
            _COMPARE,
        ),
        Rule(
            "min_sqnr_db",
            "",
            reading.read_number,
            " dB",
            "SQNR of the worst output",
            "25",
            judge_sqnr,
            _COMPARE,
        ),
        Rule(
            "max_size",
            "",
            reading.read_size,
            "",
            "size of the file",
            '"300 kB"',
            judge_size,
            _CONVERT,
        ),
        Rule(
            "max_float_islands",
            "",
            reading.read_count,
            "",
            "groups of float operators inside",
            "0",
            judge_islands,
            _CONVERT,
        ),
        Rule(
            "runs_on",
            "",
            reading.read_version,
            "",
            "TensorFlow Lite release that must be able to load the file",
            '"2.14"',
            judge_runtime,
            _CONVERT,
        ),
        Rule(
            "max_p50_ms",
            "devices",
            reading.read_positive,
            " ms",
            "median latency",
            "12",
            judge_latency(0.5),
            _BENCH,
        ),
        Rule(
            "max_p90_ms",
            "devices",
            reading.read_positive,
            " ms",
            "latency of nine in ten inferences",
            "15",
            judge_latency(0.9),
            _BENCH,
        ),
        Rule(
            "min_speedup",
            "any",
            reading.read_positive,
            "x",
            "latency of the first model (FP32) over this one's, in one measurement",
            "1.5",
            judge_speedup,
            "Give a record of edgeq compare, or of bench with FP32 first.",
        ),
        Rule(
            "max_peak_memory",
            "any",
            reading.read_size,
            "",
            "memory of the process that ran it",
            '"80 MB"',
            judge_memory,
            _BENCH,
        ),
        Rule(
            "max_drop_points",
            "regression",
            reading.read_number,
            " points",
            "more accuracy lost than the baseline lost, in points",
            "0.5",
            regression(find_drops, increase, "points", "{:+.2f} points"),
            _COMPARE,
        ),
        Rule(
            "max_sqnr_loss_db",
            "regression",
            reading.read_number,
            " dB",
            "SQNR below the baseline's",
            "1",
            regression(find_sqnrs, lost_db, "dB", "{:+.1f} dB"),
            _COMPARE,
        ),
        Rule(
            "max_size_percent",
            "regression",
            reading.read_number,
            " %",
            "growth of the file",
            "2",
            regression(find_sizes, growth_percent, "percent", "{:+.1f} %"),
            _CONVERT,
        ),
        Rule(
            "max_p50_percent",
            "regression",
            reading.read_number,
            " %",
            "growth of the median latency",
            "5",
            regression(
                on_all(find_latencies(0.5)), growth_percent, "percent", "{:+.1f} %", is_timed=True
            ),
            _BENCH,
        ),
        Rule(
            "max_p90_percent",
            "regression",
            reading.read_number,
            " %",
            "growth of the p90 latency",
            "10",
            regression(
                on_all(find_latencies(0.9)), growth_percent, "percent", "{:+.1f} %", is_timed=True
            ),
            _BENCH,
        ),
        Rule(
            "max_peak_memory_percent",
            "regression",
            reading.read_number,
            " %",
            "growth of the peak memory",
            "5",
            regression(on_all(find_memories), growth_percent, "percent", "{:+.1f} %"),
            _BENCH,
        ),
    )
}


def rules_in(place: str) -> dict[str, Rule]:
    """The rules that may stand in a table: "", "devices" or "regression"."""
    tables = {place} if place == "regression" else {place, "any"}
    return {rule.key: rule for rule in RULES.values() if rule.place in tables}
