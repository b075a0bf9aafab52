"""The rules a policy can have: one table."""

from __future__ import annotations

from dataclasses import dataclass

from edgeq.gating import figures
from edgeq.gating import policy as reading
from edgeq.gating.intervals import growth_percent, increase, lost_db
from edgeq.gating.judges import Judge, at_least, at_most, judge_fit, judge_runtime
from edgeq.gating.policy import Reader
from edgeq.gating.regressions import latency_regression, regression, sqnr_regression


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        key: in the policy.
        place: the table that it belongs in: "" (the policy itself), "metrics", "devices" or
            "regression"; "any" is the policy (for every measured device) or a device's table.
        read: from the file's value to a number.
        unit: of a bare number, behind it.
        meaning: for the reference.
        example: a value as it is written.
        judge: one finding for each figure; none when no record has one.
        missing: what to do then.
        improve: what to do when it is missed.
        words: before the value, where a rule is not a lower or an upper limit.
    """

    key: str
    place: str
    read: Reader
    unit: str
    meaning: str
    example: str
    judge: Judge
    missing: str
    improve: str
    words: str = ""


_DROP, _SPEED = "drop_must_be", "speed_must_be"
_COMPARE = "Give the record of edgeq compare with labelled samples."
_METRIC = "Give the record of edgeq compare or eval with --metric and labelled samples."
_EVAL = "Give the record of edgeq compare or eval with labelled samples."
_CONVERT = "Give the record that convert wrote beside the model, or that of edgeq inspect."
_BENCH = "Give a record of edgeq bench or compare from that device."
_ARENA = "Give a record of edgeq bench that tells the arena, such as one from this machine."
_PAIR = "Give a record of edgeq compare, or of bench with FP32 first."
_DEBUG = "See which layers lose it with edgeq debug, or search with edgeq tune."
_TRAINING = "See with edgeq compare what FP32 reaches: what it lacks too, only training brings."
_PROFILE = "See where the time goes with edgeq profile."
_SIZE = "See what is left in float with edgeq profile, or search with edgeq tune --objective size."
_SMALLER = "Make the file smaller, or load it before it is needed."
_MEMORY = "Use a smaller input or batch, or a smaller model."

_RULES = (
    Rule("max_drop_points", "", reading.read_number, " points",
         "accuracy lost against FP32, in points", "0.5", at_most(figures.find_drops, _DROP),
         _COMPARE, _DEBUG),
    Rule("min_accuracy", "", reading.read_percent, " %",
         "the model's own top-1 accuracy, in per cent", "90",
         at_least(figures.find_accuracies, _DROP), _EVAL, _TRAINING),
    Rule("min_sqnr_db", "", reading.read_number, " dB", "SQNR of the outputs' worst part", "25",
         at_least(figures.find_sqnrs), _COMPARE, _DEBUG),
    Rule("max_lost_parts", "", reading.read_count, "",
         "parts and columns of the outputs that INT8 has lost", "0",
         at_most(figures.find_lost_parts), _COMPARE, _DEBUG),
    Rule("max_size", "", reading.read_size, "", "size of the file", '"300 kB"',
         at_most(figures.find_sizes), _CONVERT, _SIZE),
    Rule("max_float_islands", "", reading.read_count, "",
         "groups of float operators inside, without those at the ends", "0",
         at_most(figures.find_islands), _CONVERT,
         "Convert without --keep-float and --allow-float."),
    Rule("runs_on", "", reading.read_version, "",
         "TensorFlow Lite release that must be able to load the file", '"2.14"',
         judge_runtime, _CONVERT,
         "Convert with --granularity tensor or another --scheme."),
    Rule("fit", "", reading.read_board, "", "microcontroller board that it must fit",
         '"raspberry-pi-pico"', judge_fit, "Give the record of edgeq fit --board for this board.",
         "See with edgeq fit what is missing and where memory peaks.", "on"),
    Rule("max_loss", "metrics", reading.read_number, "",
         "how much worse than FP32 the metric is, in points or in its unit", "0.5",
         at_most(figures.find_losses, _DROP), _METRIC, _DEBUG),
    Rule("min_value", "metrics", reading.read_number, "", "the model's own value", "40",
         at_least(figures.find_metrics, _DROP), _METRIC, _TRAINING),
    Rule("max_value", "metrics", reading.read_number, "",
         "the model's own value of an error", "0.3", at_most(figures.find_metrics, _DROP), _METRIC,
         _TRAINING),
    Rule("max_p50_ms", "devices", reading.read_positive, " ms", "median latency", "12",
         at_most(figures.find_p50s, _SPEED), _BENCH, _PROFILE),
    Rule("max_p90_ms", "devices", reading.read_positive, " ms",
         "latency of nine in ten inferences", "15", at_most(figures.find_p90s, _SPEED), _BENCH,
         _PROFILE),
    Rule("max_p99_ms", "devices", reading.read_positive, " ms",
         "latency of 99 in 100 inferences", "20",
         at_most(figures.find_tails, _SPEED), _BENCH, _PROFILE),
    Rule("max_init_ms", "devices", reading.read_positive, " ms", "time to load the model", "50",
         at_most(figures.find_inits, _SPEED), _BENCH, _SMALLER),
    Rule("min_speedup", "any", reading.read_positive, "x",
         "latency of the first model (FP32) over this one's, in one measurement", "1.5",
         at_least(figures.find_speedups, _SPEED), _PAIR, _PROFILE),
    Rule("max_peak_memory", "any", reading.read_size, "", "memory of the process that ran it",
         '"80 MB"', at_most(figures.find_memories), _BENCH, _MEMORY),
    Rule("max_arena", "any", reading.read_size, "", "memory for activations, where it is known",
         '"200 kB"', at_most(figures.find_arenas), _ARENA, _MEMORY),
    Rule("max_drop_points", "regression", reading.read_number, " points",
         "more accuracy lost than the baseline lost, in points", "0.5",
         regression(figures.find_drops, increase, "points", "{:+.2f} points"), _COMPARE, _DEBUG),
    Rule("max_sqnr_loss_db", "regression", reading.read_number, " dB",
         "SQNR below the baseline's", "1",
         sqnr_regression(lost_db, "dB", "{:+.2f} dB"), _COMPARE, _DEBUG),
    Rule("max_size_percent", "regression", reading.read_number, " %", "growth of the file", "2",
         regression(figures.find_sizes, growth_percent, "percent", "{:+.2f} %"), _CONVERT, _SIZE),
    Rule("max_p50_percent", "regression", reading.read_number, " %",
         "growth of the median latency", "5",
         latency_regression("p50_ms"), _BENCH, _PROFILE),
    Rule("max_p90_percent", "regression", reading.read_number, " %",
         "growth of the p90 latency", "10",
         latency_regression("p90_ms"), _BENCH, _PROFILE),
    Rule("max_peak_memory_percent", "regression", reading.read_number, " %",
         "growth of the peak memory", "5",
         regression(figures.find_memories, growth_percent, "percent", "{:+.2f} %"),
         _BENCH, _MEMORY),
)  # fmt: skip

RULES: dict[tuple[str, str], Rule] = {(rule.place, rule.key): rule for rule in _RULES}


def rules_in(place: str) -> dict[str, Rule]:
    """The rules that a table can have: "", "metrics", "devices" or "regression"."""
    tables = {place} if place in ("metrics", "regression") else {place, "any"}
    return {rule.key: rule for rule in RULES.values() if rule.place in tables}
