"""For each rule a record that passes, one that fails, and one that cannot be judged."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeq.comparison.parity import Parity
from edgeq.devices.fleet import Fleet, FleetEntry
from edgeq.errors import RecordError, UsageError
from edgeq.gating.figures import tail_interval
from edgeq.gating.gate import apply_policy, weigh
from edgeq.gating.intervals import Estimate
from edgeq.gating.parsing import read_policy
from edgeq.gating.rules import RULES, rules_in
from edgeq.inspection.contents import inspect_model
from edgeq.issues import make_issue
from edgeq.records.reading import Evaluations, Record
from edgeq.values import (
    BenchRun,
    Board,
    BoardFit,
    Evaluation,
    Finding,
    Fit,
    GateResult,
    Interval,
    LostColumn,
    MetricLoss,
    MetricValue,
    Origin,
    OutputQuality,
    PartQuality,
    Ratio,
    Round,
    RuntimeInfo,
)
from tests import tiny_models

Alter = Callable[[Any], Any]


@pytest.fixture
def gate(tmp_path: Path) -> Callable[..., GateResult]:
    def run(text: str, records: Sequence[Record], baseline: Sequence[Record] = ()) -> GateResult:
        path = tmp_path / "edgeq.toml"
        path.write_text(text)
        return apply_policy(read_policy(path), records, baseline)

    return run


def in_rounds(run: BenchRun, *factors: float) -> BenchRun:
    """A run as edgeq 0.2 measures, in rounds that take their p50 and p90 by these factors."""
    latency = run.latency
    rounds = tuple(
        Round(500, factor * latency.p50_ms, factor * latency.p90_ms, 1.0, 1.0)
        for factor in factors or (1.0,) * 9
    )
    latency = replace(latency, p90_low_ms=0.99 * latency.p90_ms, p90_high_ms=1.01 * latency.p90_ms)
    return replace(run, issues=(), validity="valid", peak_rss_bytes=60_000_000, rounds=rounds,
                   latency=latency)  # fmt: skip


def sound(record: Record) -> Record:
    """The comparison with measurements that nobody disturbed, and figures known to the test."""
    value = record.value
    runs = tuple(map(in_rounds, value.bench.runs))
    bench = replace(value.bench, runs=runs, speedups=(Ratio(1.5, 1.4, 1.6),))
    quality = replace(value.quality, drop_points=Interval(0.2, -0.1, 0.5))
    return replace(record, value=replace(value, bench=bench, quality=quality, issues=()))


def with_quality(record: Record, **fields: Any) -> Record:
    value = record.value
    return replace(record, value=replace(value, quality=replace(value.quality, **fields)))


def with_runs(record: Record, **fields: Any) -> Record:
    value = record.value
    runs = tuple(replace(run, **fields) for run in value.bench.runs)
    return replace(record, value=replace(value, bench=replace(value.bench, runs=runs)))


def with_facts(record: Record, **fields: Any) -> Record:
    bench = record.value.bench
    facts = replace(bench.facts, **fields)
    return replace(record, value=replace(record.value, bench=replace(bench, facts=facts)))


def with_certificate(record: Record, **fields: Any) -> Record:
    value = record.value
    return replace(record, value=replace(value, certificate=replace(value.certificate, **fields)))


def times_longer(record: Record, factor: float) -> Record:
    """So many times the time of each inference of the first run, in both."""
    run = record.value.bench.runs[0]
    names = ("p50_ms", "p50_low_ms", "p50_high_ms", "p90_ms", "p90_low_ms", "p90_high_ms")
    latency = replace(run.latency, **{name: factor * getattr(run.latency, name) for name in names})
    times = tuple(tuple(factor * time for time in times) for times in run.latencies_ms)
    return with_runs(record, latency=latency, latencies_ms=times)


def slower(record: Record) -> Record:
    return times_longer(record, 2.0)


def without_bench(record: Record) -> Record:
    return replace(record, value=replace(record.value, bench=None))


def loaded(record: Record) -> Record:
    return with_runs(record, issues=(make_issue("bench.load", "Others used 2 cores."),))


def unlabelled(record: Record) -> Record:
    return with_quality(
        record,
        drop_points=None,
        paired=None,
        baseline_accuracy_percent=None,
        candidate_accuracy_percent=None,
    )


def only_named(record: Record) -> Record:
    """A record about the same model, which has no figure that a rule is about."""
    value = record.value
    model = value.candidate if record.kind == "compare" else value.model.file
    return replace(record, kind="parity", value=Parity(model, 8, (), ()))


def half_as_large_again(record: Record) -> Record:
    value = record.value
    size = value.candidate.size_bytes * 3 // 2
    candidate = replace(value.candidate, sha256="0" * 64, size_bytes=size)
    return replace(record, value=replace(value, candidate=candidate, bench=None))


def same(record: Record) -> Record:
    return record


LOST = 'max_drop_points = 0.5\ndrop_must_be = "{}"'
TIGHT = "max_drop_points = 0.3"
WEAK = (make_issue("data.not_normalized", "The samples look raw."),)

# Rule, policy, what is done to the comparison, verdict, and the reason that decides.
CASES: list[tuple[str, str, Alter, str, str]] = [
    ("max_drop_points", "max_drop_points = 0.5", same, "pass",
     "the whole interval is within the limit"),
    ("max_drop_points", "max_drop_points = 0.4", same, "cannot-tell",
     "the interval reaches from within the limit to beyond it"),
    ("max_drop_points", 'max_drop_points = 0.4\ndrop_must_be = "not-disproven"', same, "pass",
     "not proven to be beyond the limit"),
    ("max_drop_points", "max_drop_points = 0.5",
     lambda r: with_quality(r, drop_points=Interval(2.0, 1.0, 3.0)), "fail",
     "the whole interval is beyond the limit"),
    ("max_drop_points", "max_drop_points = 0.5", unlabelled, "cannot-tell",
     "no record has such a figure"),
    ("max_drop_points", "max_drop_points = 0.5",
     lambda r: replace(r, value=replace(r.value, issues=WEAK)), "cannot-tell",
     "the figure is doubted: The samples look raw. [data.not_normalized]"),
    ("min_sqnr_db", "min_sqnr_db = 20", same, "pass", "within the limit"),
    ("min_sqnr_db", "min_sqnr_db = 90", same, "fail", "beyond the limit"),
    ("min_sqnr_db", "min_sqnr_db = 20",
     lambda r: replace(r, value=replace(r.value, issues=WEAK)), "cannot-tell",
     "the figure is doubted: The samples look raw. [data.not_normalized]"),
    ("max_lost_parts", "max_lost_parts = 0", lambda r: with_parts(r, 40, 12), "pass",
     "within the limit"),
    ("max_lost_parts", "max_lost_parts = 0", lambda r: with_parts(r, 40, 3), "fail",
     "beyond the limit"),
    ("max_lost_parts", "max_lost_parts = 0", same, "cannot-tell", "no record has such a figure"),
    ("max_size", 'max_size = "1 MB"', same, "pass", "within the limit"),
    ("max_size", 'max_size = "80 kB"', same, "fail", "beyond the limit"),
    ("max_size", 'max_size = "1 MB"', only_named, "cannot-tell", "no record has such a figure"),
    ("min_speedup", "min_speedup = 1.3", same, "pass", "the whole interval is within the limit"),
    ("min_speedup", "min_speedup = 2", same, "fail", "the whole interval is beyond the limit"),
    ("min_speedup", "min_speedup = 1.3", loaded, "cannot-tell",
     "the figure is doubted: Others used 2 cores. [bench.load]"),
    ("min_speedup", 'min_speedup = 1.3\naccept = ["bench.load"]', loaded, "pass",
     "the whole interval is within the limit"),
    ("min_speedup", "min_speedup = 1.3", without_bench, "cannot-tell",
     "no record has such a figure"),
    ("max_peak_memory", 'max_peak_memory = "80 MB"', same, "pass", "within the limit"),
    ("max_peak_memory", 'max_peak_memory = "80 MB"', loaded, "pass", "within the limit"),
    ("max_peak_memory", 'max_peak_memory = "50 MB"', same, "fail", "beyond the limit"),
    ("max_peak_memory", 'max_peak_memory = "80 MB"',
     lambda r: with_runs(r, peak_rss_bytes=None), "cannot-tell", "no record has such a figure"),
    ("max_p50_ms", "[policy.devices.local]\nmax_p50_ms = 1000", same, "pass",
     "the whole interval is within the limit"),
    ("max_p50_ms", "[policy.devices.local]\nmax_p50_ms = 0.000001", same, "fail",
     "the whole interval is beyond the limit"),
    ("max_p50_ms", "[policy.devices.local]\nmax_p50_ms = 1000", loaded, "cannot-tell",
     "the figure is doubted: Others used 2 cores. [bench.load]"),
    ("max_p50_ms", "[policy.devices.pi4]\nmax_p50_ms = 1000", same, "cannot-tell",
     "no record has such a figure of pi4; there are records of local"),
    ("max_p90_ms", "[policy.devices.local]\nmax_p90_ms = 1000", same, "pass",
     "the whole interval is within the limit"),
    ("max_p90_ms", "[policy.devices.local]\nmax_p90_ms = 0.000001", same, "fail",
     "the whole interval is beyond the limit"),
    ("max_p90_ms", "[policy.devices.local]\nmax_p90_ms = 1000",
     lambda r: with_facts(r, device="pi4"), "cannot-tell",
     "no record has such a figure of local; there are records of pi4"),
    # 464 of 500 are right: 92.8 %, with an interval of 90.2 % to 94.8 %.
    ("min_accuracy", "min_accuracy = 90", same, "pass", "the whole interval is within the limit"),
    ("min_accuracy", "min_accuracy = 95", same, "fail", "the whole interval is beyond the limit"),
    ("min_accuracy", "min_accuracy = 92", same, "cannot-tell",
     "the interval reaches from within the limit to beyond it"),
    ("min_accuracy", 'min_accuracy = 92\ndrop_must_be = "not-disproven"', same, "pass",
     "not proven to be beyond the limit"),
    ("min_accuracy", "min_accuracy = 90", unlabelled, "cannot-tell", "no record has such a figure"),
    ("max_p99_ms", "[policy.devices.local]\nmax_p99_ms = 1000", same, "pass",
     "not proven to be beyond the limit"),
    ("max_p99_ms", "[policy.devices.local]\nmax_p99_ms = 0.01", same, "fail",
     "the whole interval is beyond the limit"),
    ("max_p99_ms", "[policy.devices.local]\nmax_p99_ms = 1000", loaded, "cannot-tell",
     "the figure is doubted: Others used 2 cores. [bench.load]"),
    ("max_init_ms", "[policy.devices.local]\nmax_init_ms = 1", same, "pass",
     "the whole interval is within the limit"),
    ("max_init_ms", "[policy.devices.local]\nmax_init_ms = 0.9", same, "fail",
     "the whole interval is beyond the limit"),
    ("max_init_ms", "[policy.devices.local]\nmax_init_ms = 1", loaded, "cannot-tell",
     "the figure is doubted: Others used 2 cores. [bench.load]"),
    ("max_arena", 'max_arena = "32192 B"', same, "pass", "within the limit"),
    ("max_arena", 'max_arena = "32191 B"', loaded, "fail", "beyond the limit"),
    ("max_arena", '[policy.devices.local]\nmax_arena = "100 kB"',
     lambda r: with_runs(r, arena_bytes=None), "cannot-tell",
     "no record has such a figure of local; there are records of local"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "policy", "alter", "verdict", "reason"), CASES)
def test_each_rule(
    gate: Any, compared: Record, rule: str, policy: str, alter: Alter, verdict: str, reason: str
) -> None:
    result = gate(f"[policy]\n{policy}\n", [alter(sound(compared))])
    (only,) = result.rules
    assert only.rule.rpartition(".")[2] == rule
    assert (result.verdict, only.findings[0].reason) == (verdict, reason)
    assert (only.findings[0].remedy is None) == (verdict == "pass")


ON_FILE: list[tuple[str, Alter, str, str]] = [
    ("max_float_islands = 0", same, "pass", "within the limit"),
    ("max_float_islands = 0", lambda r: with_certificate(r, float_islands=1), "fail",
     "beyond the limit"),
    ("max_float_islands = 0", only_named, "cannot-tell", "no record has such a figure"),
    ('runs_on = "2.14"', lambda r: with_certificate(r, min_runtime_version="2.14.1"), "pass",
     "within the limit"),
    ('runs_on = "2.14"', lambda r: with_certificate(r, min_runtime_version="2.17.0"), "fail",
     "newer than the limit"),
    ('runs_on = "2.14"', lambda r: with_certificate(r, min_runtime_version=None), "cannot-tell",
     "the file does not say which runtime it needs"),
    ('runs_on = "2.14"', lambda r: with_certificate(r, flex_ops=("FlexErf",)), "cannot-tell",
     "no release has all of its operators: FlexErf must be brought along"),
]  # fmt: skip


@pytest.mark.parametrize(("policy", "alter", "verdict", "reason"), ON_FILE)
def test_rules_on_the_file_itself(
    gate: Any, converted: Record, policy: str, alter: Alter, verdict: str, reason: str
) -> None:
    result = gate(f"[policy]\n{policy}\n", [alter(converted)])
    assert (result.verdict, result.rules[0].findings[0].reason) == (verdict, reason)


def fitted(record: Record, verdict: str, *reasons: str) -> Record:
    """The record of `fit` for one board, of the converted model."""
    board = Board("own", "own", "", 1 << 20, 1 << 18, "", ())
    file = record.value.model.file
    found = BoardFit(board, verdict, reasons, 1, 1)
    value = Fit(file, (), (), 0, 0, None, None, (found,))
    return replace(record, path="fit.json", kind="fit", value=value)


ON_BOARD: list[tuple[str, Alter, str, str]] = [
    ('fit = "own"', lambda r: fitted(r, "fits"), "pass", "it fits, with room for your program"),
    ('fit = "own"', lambda r: fitted(r, "no", "one", "two"), "fail", "one; two"),
    ('fit = "own"', lambda r: fitted(r, "tight", "little room"), "cannot-tell", "little room"),
    ('fit = "other"', lambda r: fitted(r, "fits"), "cannot-tell", "no record has such a figure"),
]  # fmt: skip


@pytest.mark.parametrize(("policy", "alter", "verdict", "reason"), ON_BOARD)
def test_a_board(
    gate: Any, converted: Record, policy: str, alter: Alter, verdict: str, reason: str
) -> None:
    result = gate(f"[policy]\n{policy}\n", [converted, alter(converted)])
    assert (result.verdict, result.rules[0].findings[0].reason) == (verdict, reason)
    assert result.rules[0].limit == f"on {policy.split(chr(34))[1]}"
    remedies = {
        "pass": None,
        "fail": "See with edgeq fit what is missing and where memory peaks.",
        "cannot-tell": "Give the record of edgeq fit --board for this board.",
    }
    if reason == "little room":
        remedies["cannot-tell"] = (
            "If your program needs less, give the record of edgeq fit with a smaller "
            "--headroom-flash or --headroom-ram."
        )
    assert result.rules[0].findings[0].remedy == remedies[verdict]


# Limits of the metric `map`, and its loss or its value in the comparison.
METRICS: list[tuple[str, Interval, str, str]] = [
    ("max_loss = 1", Interval(0.5, 0.0, 0.9), "pass", "the whole interval is within the limit"),
    ("max_loss = 1", Interval(2.0, 1.1, 2.9), "fail", "the whole interval is beyond the limit"),
    ("min_value = 40", Interval(45.0, 41, 49), "pass", "the whole interval is within the limit"),
    ("min_value = 40", Interval(35.0, 31, 39), "fail", "the whole interval is beyond the limit"),
    ("max_value = 40", Interval(35.0, 31, 39), "pass", "the whole interval is within the limit"),
    ("max_value = 40", Interval(45.0, 41, 49), "fail", "the whole interval is beyond the limit"),
    *(
        (rule, Interval(40.0, 0, 60), "cannot-tell",
         "the interval reaches from within the limit to beyond it")
        for rule in ("max_loss = 1", "min_value = 40", "max_value = 40")
    ),
]  # fmt: skip


@pytest.mark.parametrize(("policy", "figure", "verdict", "reason"), METRICS)
def test_rules_on_any_metric(
    gate: Any, compared: Record, policy: str, figure: Interval, verdict: str, reason: str
) -> None:
    other = Interval(0.0, 0.0, 0.0)
    metrics = (
        MetricValue("f1", 0.0, "percent", True, other),
        MetricValue("map", figure.value, "percent", True, figure),
    )
    losses = MetricLoss("f1", "percent", other), MetricLoss("map", "percent", figure)
    value = replace(
        compared.value, metrics_baseline=metrics, metrics_candidate=metrics, losses=losses
    )
    proven = '[policy]\ndrop_must_be = "proven"\n'
    result = gate(f"{proven}[policy.metrics.map]\n{policy}\n", [replace(compared, value=value)])
    (finding,) = result.rules[0].findings
    assert (result.verdict, finding.reason) == (verdict, reason)
    assert (finding.value, finding.low, finding.high) == (figure.value, figure.low, figure.high)
    path = "losses[1].loss" if "loss" in policy else "metrics_candidate[1].value"
    assert [origin.json_path for origin in finding.origins] == [f"$.{path}"]


@pytest.mark.parametrize("policy", ["max_float_islands = 0", 'runs_on = "2.14"'])
def test_what_only_the_conversion_knows_cannot_be_judged_without_it(
    gate: Any, compared: Record, policy: str
) -> None:
    result = gate(f"[policy]\n{policy}\n", [compared])
    (finding,) = result.rules[0].findings
    assert result.verdict == "cannot-tell"
    assert finding.remedy == (
        "Give the record that convert wrote beside the model, or that of edgeq inspect."
    )


def test_what_the_file_is_can_be_read_from_an_inspection(
    gate: Any, compared: Record, tmp_path: Path
) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(tiny_models.double_int8())
    inspected = inspect_model(path)
    proof = replace(inspected.certificate, min_runtime_version="2.14.0")
    inspected = replace(inspected, certificate=proof)
    record = replace(compared, path="inspect.json", kind="inspect", value=inspected)
    compared = replace(compared, value=replace(compared.value, candidate=inspected.model))
    compared = without_bench(compared)
    result = gate('[policy]\nmax_float_islands = 0\nruns_on = "2.14"\n', [compared, record])
    assert result.verdict == "pass"
    assert result.rules[0].findings[0].origins[0].json_path == "$.certificate.float_islands"


APART = "measured apart, so with 2 % for the time between the two runs"
REGRESSIONS: list[tuple[str, Alter, str, str]] = [
    ("max_drop_points = 1", same, "pass", "the whole interval is within the limit"),
    ("max_drop_points = 0.5", lambda r: with_quality(r, drop_points=Interval(3, 2.5, 3.5)), "fail",
     "the whole interval is beyond the limit"),
    ("max_drop_points = 0.5", unlabelled, "cannot-tell", "no record has such a figure"),
    ("max_sqnr_loss_db = 1", same, "pass", "within the limit"),
    ("max_sqnr_loss_db = 1",
     lambda r: with_quality(r, outputs=(replace(r.value.quality.outputs[0], sqnr_db=9.0),)),
     "fail", "beyond the limit"),
    ("max_sqnr_loss_db = 1", lambda r: with_quality(r, sample_count=400), "cannot-tell",
     "it has 400 samples, the baseline's has 500"),
    ("max_size_percent = 1", same, "pass", "within the limit"),
    ("max_size_percent = 49", half_as_large_again, "fail", "beyond the limit"),
    ("max_size_percent = 1", only_named, "cannot-tell", "no record has such a figure"),
    ("max_p50_percent = 50", same, "pass",
     f"the whole interval is within the limit, {APART}"),
    ("max_p50_percent = 5", slower, "fail",
     f"the whole interval is beyond the limit, {APART}"),
    ("max_p50_percent = 5", loaded, "cannot-tell",
     "the figure is doubted: Others used 2 cores. [bench.load]"),
    ("max_p50_percent = 5", lambda r: with_facts(r, device="pi4"), "cannot-tell",
     "it is measured on pi4, the baseline's measured on local"),
    ("max_p50_percent = 5", lambda r: with_runs(r, threads=2), "cannot-tell",
     "The latencies of {model} and {model} cannot be compared: threads 2 against 1"),
    ("max_p90_percent = 900", same, "pass",
     f"the whole interval is within the limit, {APART}"),
    ("max_p90_percent = 1", slower, "fail",
     f"the whole interval is beyond the limit, {APART}"),
    ("max_p90_percent = 1", without_bench, "cannot-tell", "no record has such a figure"),
    ("max_peak_memory_percent = 5", same, "pass", "within the limit"),
    ("max_peak_memory_percent = 5", lambda r: with_runs(r, peak_rss_bytes=90_000_000), "fail",
     "beyond the limit"),
    ("max_peak_memory_percent = 5", lambda r: with_runs(r, peak_rss_bytes=None), "cannot-tell",
     "no record has such a figure"),
]  # fmt: skip


@pytest.mark.parametrize(("policy", "alter", "verdict", "reason"), REGRESSIONS)
def test_regressions(
    gate: Any, compared: Record, policy: str, alter: Alter, verdict: str, reason: str
) -> None:
    before = sound(compared)
    result = gate(f"[policy.regression]\n{policy}\n", [alter(before)], [before])
    model = compared.value.candidate.path
    finding = result.rules[0].findings[0]
    assert (result.verdict, finding.reason) == (verdict, reason.replace("{model}", model))


def held(
    gate: Any, rule: str, now: Record, before: Record, proof: str = "not-disproven"
) -> tuple[str, str]:
    """Verdict and reason of what decides a rule about a regression."""
    policy = f'[policy]\nspeed_must_be = "{proof}"\n[policy.regression]\n{rule}\n'
    result = gate(policy, [now], [before])
    return result.verdict, result.rules[0].findings[0].reason


def test_two_runs_apart_are_held_with_2_per_cent_for_the_time_between(
    gate: Any, compared: Record
) -> None:
    before = with_runs(sound(compared), latency=replace(
        sound(compared).value.bench.runs[0].latency, p50_ms=1.0, p50_low_ms=0.999, p50_high_ms=1.001
    ))  # fmt: skip
    rule = "max_p50_percent = 0"
    # 0.2 % of both intervals, 2 % between the runs
    for factor, verdict in ((1.021, "pass"), (1.024, "fail"), (0.977, "pass")):
        assert held(gate, rule, times_longer(before, factor), before)[0] == verdict
    for factor, verdict in ((0.977, "pass"), (0.979, "cannot-tell"), (1.03, "fail")):
        assert held(gate, rule, times_longer(before, factor), before, "proven")[0] == verdict


@pytest.mark.parametrize("rule", ["max_p50_percent = 0", "max_p90_percent = 0"])
def test_records_of_one_process_are_held_with_10_per_cent_each(
    gate: Any, compared: Record, rule: str
) -> None:
    new = times_longer(sound(compared), 1.0)
    old = with_runs(new, rounds=())
    reason = (
        "the whole interval is beyond the limit, with 10 % for a record of one process, by edgeq "
        f"0.1 or a phone's benchmark_model; {APART}"
    )
    assert held(gate, rule, times_longer(new, 1.06), new)[0] == "fail"
    for now, before in ((new, old), (old, new), (old, old)):
        assert held(gate, rule, times_longer(now, 1.06), before)[0] == "pass"
        assert held(gate, rule, times_longer(now, 1.5), before) == ("fail", reason)


def test_p90_of_two_runs_apart_is_held_with_what_other_programs_delay(
    gate: Any, compared: Record
) -> None:
    """Of 100 inferences 8 take ten times as long, in the other run 12: the same machine."""

    def with_slow(count: int, **fields: Any) -> Record:
        times = ((1.0,) * (100 - count) + (10.0,) * count,)
        latency = replace(
            now.value.bench.runs[0].latency, p90_ms=times[0][90], p90_low_ms=times[0][90],
            p90_high_ms=times[0][90],
        )  # fmt: skip
        return with_runs(now, latency=latency, latencies_ms=times, **fields)

    now, rule = sound(compared), "max_p90_percent = 0"
    assert held(gate, rule, with_slow(12), with_slow(8))[0] == "pass"
    assert held(gate, rule, with_slow(20), with_slow(2))[0] == "fail"
    # On a busy machine any share may be delayed; what all inferences need is still told.
    busy = {"validity": "degraded"}
    assert held(gate, rule, with_slow(20), with_slow(2, **busy))[0] == "pass"
    assert held(gate, rule, with_slow(20, **busy), with_slow(2))[0] == "pass"
    more = times_longer(with_slow(20, **busy), 11.0)
    assert held(gate, rule, more, with_slow(2, **busy))[0] == "fail"


def in_turns(compared: Record, *factors: float) -> tuple[Record, Record]:
    """A bench of the baseline's file and this one by turns, and the baseline's own record.

    The machine slows down from round to round, for both.
    """
    now = sound(compared)
    first, second = now.value.bench.runs
    latency = first.latency
    machine = [1.0 + 0.1 * number for number in range(len(factors))]
    rounds = [slow * factor for slow, factor in zip(machine, factors, strict=True)]
    runs = in_rounds(first, *machine), in_rounds(replace(second, latency=latency), *rounds)
    bench = replace(now.value.bench, runs=runs)
    baseline = replace(now.value, candidate=first.model, bench=replace(bench, runs=runs[::-1]))
    return replace(now, value=replace(now.value, bench=bench)), replace(now, value=baseline)


@pytest.mark.parametrize("quantile", ["p50", "p90"])
def test_in_turns_with_the_baselines_file_the_rounds_decide(
    gate: Any, compared: Record, quantile: str
) -> None:
    reason = "the whole interval is {} the limit, measured alternating with the baseline's file"
    rule = f"max_{quantile}_percent = 1"
    now, before = in_turns(compared, *[1.02] * 8, 0.5)
    assert held(gate, rule, now, before) == ("fail", reason.format("beyond"))
    now, before = in_turns(compared, *[1.005] * 8, 2.0)
    assert held(gate, rule, now, before, "proven") == ("pass", reason.format("within"))
    finding = gate(f"[policy.regression]\n{rule}\n", [now], [before]).rules[0].findings
    assert [origin.json_path for origin in finding[0].origins] == [
        "$.bench.runs[1].rounds", "$.bench.runs[0].rounds"
    ]  # fmt: skip
    assert len(finding) == 1 and finding[0].value == pytest.approx(0.5)
    # Rounds that are doubted do not decide over what was measured apart and is sound.
    doubted = loaded(now)
    assert held(gate, rule, doubted, before)[1].endswith("[bench.load]")


def test_the_baselines_file_may_be_measured_after_this_one(
    gate: Any, compared: Record, converted: Record
) -> None:
    now, before = in_turns(compared, *[1.02] * 8, 0.5)
    bench = now.value.bench
    runs = bench.runs[::-1]
    after = replace(now, kind="bench", value=replace(bench, runs=runs, speedups=()))
    (rule,) = gate("[policy.regression]\nmax_p50_percent = 1\n", [after, converted], [before]).rules
    assert [rule.verdict, *(item.reason for item in rule.findings)] == [
        "fail", "the whole interval is beyond the limit, measured alternating with the baseline's "
        "file",
    ]  # fmt: skip


def test_rounds_that_are_not_all_known_have_no_turns(gate: Any, compared: Record) -> None:
    now, before = in_turns(compared, *[1.02] * 9)
    first, second = now.value.bench.runs
    for rounds in (
        (), second.rounds[1:], (*second.rounds[1:], replace(second.rounds[0], p50_ms=None)),
        (*second.rounds[1:], replace(second.rounds[0], p50_ms=0.0)),
    ):  # fmt: skip
        bench = replace(now.value.bench, runs=(first, replace(second, rounds=rounds)))
        other = replace(now, value=replace(now.value, bench=bench))
        assert "measured apart" in held(gate, "max_p50_percent = 900", other, before)[1]


def test_a_speed_up_of_one_process_is_known_to_10_per_cent_more(
    gate: Any, compared: Record
) -> None:
    """1.4 to 1.6 is 1.27 to 1.76."""
    old = with_runs(sound(compared), rounds=())
    for least, verdict in ((1.28, "cannot-tell"), (1.27, "pass"), (1.75, "cannot-tell"),
                           (1.77, "fail")):  # fmt: skip
        policy = f'[policy]\nmin_speedup = {least}\nspeed_must_be = "proven"\n'
        assert gate(policy, [old]).verdict == verdict


def test_without_a_baseline_no_regression_is_judged(gate: Any, compared: Record) -> None:
    result = gate("[policy.regression]\nmax_size_percent = 5\n", [compared])
    assert (result.verdict, only(result).reason) == ("cannot-tell", "there is no baseline")


def test_every_rule_has_a_record_that_passes_one_that_fails_and_one_that_cannot_be_judged(
    tmp_path: Path,
) -> None:
    cases = [("policy", case[1], case[3]) for case in CASES]
    cases += [("policy", case[0], case[2]) for case in (*ON_FILE, *ON_BOARD)]
    cases += [("policy.regression", case[0], case[2]) for case in REGRESSIONS]
    cases += [("policy.metrics.map", case[0], case[2]) for case in METRICS]
    path, found = tmp_path / "edgeq.toml", {rule: set() for rule in RULES}
    for table, policy, verdict in cases:
        path.write_text(f"[{table}]\n{policy}\n")
        for limit in read_policy(path).limits:
            found[limit.rule].add(verdict)
    all_three = {"pass", "fail", "cannot-tell"}
    assert {rule: all_three - verdicts for rule, verdicts in found.items()} == {
        rule: set() for rule in RULES
    }


def test_each_table_has_its_own_rules() -> None:
    anywhere = {"min_speedup", "max_peak_memory", "max_arena"}
    assert set(rules_in("devices")) == anywhere | {
        "max_p50_ms", "max_p90_ms", "max_p99_ms", "max_init_ms"
    }  # fmt: skip
    assert set(rules_in("")) == anywhere | {
        "max_drop_points", "min_accuracy", "min_sqnr_db", "max_lost_parts", "max_size",
        "max_float_islands", "runs_on", "fit",
    }  # fmt: skip
    assert set(rules_in("regression")) == {
        "max_drop_points", "max_sqnr_loss_db", "max_size_percent", "max_p50_percent",
        "max_p90_percent", "max_peak_memory_percent",
    }  # fmt: skip


def evaluated(record: Record, right: int, **fields: Any) -> Record:
    """What `eval` says about the compared model on the same 500 samples."""
    value = record.value
    found = Evaluation(
        model=value.candidate, data=value.data, sample_count=500, interval=None,
        runtime=RuntimeInfo("ai-edge-litert", "2.3.0"), preprocessing=value.preprocessing,
        metrics=(MetricValue("top1", right / 5, "percent", True),), **fields,
    )  # fmt: skip
    return replace(record, path="eval.json", kind="eval", value=Evaluations((found,)))


def test_an_evaluation_tells_the_accuracy(gate: Any, compared: Record, converted: Record) -> None:
    policy, alone = "[policy]\nmin_accuracy = 90\n", evaluated(compared, 464)
    finding = only(gate(policy, [alone]))
    assert (finding.verdict, finding.figure) == ("pass", "92.80 % (90.19 to 94.75)")
    assert finding.origins[0].json_path == "$.evaluations[0].metrics[0].value"
    assert gate(policy, [sound(compared), evaluated(compared, 400)]).verdict == "fail"
    entries = (FleetEntry("local", alone.value.evaluations, None),)
    several = replace(alone, kind="fleet-eval", value=Fleet("eval", entries))
    finding = only(gate(policy, [several]))
    assert (finding.verdict, finding.figure) == ("pass", "92.80 % (90.19 to 94.75)")
    assert finding.origins[0].json_path == "$.entries[0].result[0].metrics[0].value"
    doubted = evaluated(compared, 464, issues=WEAK)
    assert only(gate(policy, [doubted])).verdict == "cannot-tell"
    # That the search chose on these very samples is known from another record.
    same = replace(compared.value.candidate, sha256=converted.value.model.file.sha256)
    ours = replace(compared, value=replace(compared.value, candidate=same))
    shown = replace(converted.value, data=compared.value.data)
    found = only(gate(policy, [replace(converted, value=shown), evaluated(ours, 464)]))
    assert "[convert.not_held_out]" in found.reason
    # So is that the samples look raw, however the same preprocessing is written.
    made = replace(converted, value=replace(converted.value, issues=WEAK))
    for texts, doubts in (
        (("resize=28x28,channels=gray,scale=0.0039216",), True),
        (("scale=1/127.5",), False),
    ):
        fed = replace(ours, value=replace(ours.value, preprocessing=texts))
        found = only(gate(policy, [made, evaluated(fed, 464)]))
        assert ("[data.not_normalized]" in found.reason) == doubts


def test_an_evaluation_of_another_model_is_refused(gate: Any, compared: Record) -> None:
    other = replace(compared.value.candidate, sha256="0" * 64)
    stranger = replace(compared, value=replace(compared.value, candidate=other))
    with pytest.raises(RecordError, match=r"^The records are about different models: "):
        gate("[policy]\nmin_accuracy = 90\n", [compared, evaluated(stranger, 464)])


def test_the_tail_of_a_latency_holds_that_of_each_round() -> None:
    steady = [1.0] * 990 + [2.0] * 10
    assert tail_interval([steady]) == Estimate(pytest.approx(1.01), pytest.approx(1.01 / 1.1), 2.0)
    assert tail_interval([[1.0] * 200, [1.1] * 200]).high > 1.2
    assert tail_interval([[1.0] * 99, [1.1] * 99]).high == math.inf  # too few to have a hundredth
    few = tail_interval([[1.0, 2.0]])
    assert few == Estimate(pytest.approx(1.99), pytest.approx(1.99), math.inf)


def test_a_missed_rule_decides_over_one_that_cannot_be_judged(gate: Any, compared: Record) -> None:
    policy = '[policy]\nruns_on = "2.14"\nmin_sqnr_db = 90\n'
    assert gate(policy, [compared]).verdict == "fail"


def test_a_sound_record_outweighs_a_doubted_one(gate: Any, compared: Record) -> None:
    clean = sound(compared)
    policy = "[policy.devices.local]\nmax_p50_ms = 1000\n"
    result = gate(policy, [loaded(clean), clean])
    assert result.verdict == "pass"
    assert [finding.is_sound for finding in result.rules[0].findings] == [True, False]


def test_a_device_that_failed_says_so(gate: Any, compared: Record) -> None:
    entries = (
        FleetEntry("local", sound(compared).value),
        FleetEntry("pi4", None, "pi4 cannot be reached: connection refused."),
    )
    fleet = replace(compared, kind="fleet-compare", value=Fleet("compare", entries))
    result = gate("[policy.devices.pi4]\nmax_p50_ms = 9\n", [fleet])
    (finding,) = result.rules[0].findings
    assert finding.reason == "pi4 gave no result: pi4 cannot be reached: connection refused"
    assert finding.origins[0].json_path == "$.entries[1].error"


def test_records_of_different_models_are_refused(
    gate: Any, compared: Record, converted: Record
) -> None:
    value = compared.value
    other = replace(value, candidate=replace(value.candidate, path="b.tflite", sha256="f" * 64))
    with pytest.raises(RecordError) as caught:
        gate("[policy]\nmin_sqnr_db = 1\n", [converted, replace(compared, value=other)])
    ours = converted.value.model.file
    assert str(caught.value) == (
        f"The records are about different models: {converted.path} of {ours.path} "
        f"({ours.sha256[:12]}), and {compared.path} of b.tflite (ffffffffffff). Pass records "
        "of one model only. If the model has changed, make its records again."
    )


def test_a_device_that_failed_is_missing_where_a_rule_is_about_every_device(
    gate: Any, compared: Record
) -> None:
    entries = (
        FleetEntry("local", sound(compared).value),
        FleetEntry("pi4", None, "pi4 cannot be reached."),
    )
    fleet = replace(compared, kind="fleet-compare", value=Fleet("compare", entries))
    assert gate("[policy]\nmin_speedup = 1.3\n", [fleet]).verdict == "cannot-tell"
    assert gate("[policy]\nmin_sqnr_db = 20\n", [fleet]).verdict == "pass"


def test_an_invalid_run_cannot_be_accepted(gate: Any, compared: Record) -> None:
    issues = (
        make_issue("bench.emulated", "This device is emulated (QEMU)."),
        make_issue("bench.load", "Others used 2 cores."),
    )
    record = with_runs(sound(compared), issues=issues)
    bench = replace(record.value.bench, speedups=())
    record = replace(record, value=replace(record.value, bench=bench))
    result = gate('[policy]\nmin_speedup = 0.1\naccept = ["bench.load"]\n', [record])
    (finding,) = result.rules[0].findings
    assert (finding.verdict, finding.value, finding.is_sound) == ("cannot-tell", None, False)
    assert finding.reason == (
        "the figure is doubted: This device is emulated (QEMU). [bench.emulated]"
    )


def test_a_speed_up_over_a_quantized_baseline_is_doubted(gate: Any, compared: Record) -> None:
    record = sound(compared)
    issue = make_issue("compare.baseline_quantized", "fp32.tflite is quantized; swap the two?")
    record = replace(record, value=replace(record.value, issues=(issue,)))
    assert gate("[policy]\nmin_speedup = 1.3\n", [record]).verdict == "cannot-tell"
    policy = "[policy.devices.local]\nmax_p50_ms = 1000\n"
    assert gate(policy, [record]).verdict == "pass"


def test_what_a_warning_says_of_the_model_is_no_doubt_about_the_figure(
    gate: Any, converted: Record
) -> None:
    issue = make_issue("convert.low_quality", "The SQNR is 9.0 dB.")
    value = replace(converted.value, issues=(issue,))
    assert gate("[policy]\nmin_sqnr_db = 99\n", [replace(converted, value=value)]).verdict == "fail"


# ---------------------------------------------------------------- baselines


def only(result: GateResult) -> Any:
    return result.rules[0].findings[0]


def test_qualities_of_other_samples_are_not_compared(gate: Any, compared: Record) -> None:
    before, policy = sound(compared), "[policy.regression]\nmax_sqnr_loss_db = 1\n"
    result = gate(policy, [with_quality(before, sample_count=400)], [before])
    assert only(result).reason == "it has 400 samples, the baseline's has 500"
    result = gate(policy, [before], [with_quality(before, sample_count=400)])
    assert only(result).reason == "it has 500 samples, the baseline's has 400"
    fed = replace(before, value=replace(before.value, preprocessing=()))
    assert only(gate(policy, [fed], [before])).reason == (
        "it is with the preprocessing nothing, the baseline's with scale=1/255"
    )
    assert only(gate(policy, [before], [fed])).reason == (
        "it is with the preprocessing scale=1/255, the baseline's with nothing"
    )
    there = replace(before, value=replace(before.value, device="pi4"))
    assert only(gate(policy, [there], [before])).reason == (
        "it is measured on pi4, the baseline's on local"
    )
    assert only(gate(policy, [before], [there])).reason == (
        "it is measured on local, the baseline's on pi4"
    )
    older = replace(before, value=replace(before.value, device=None, bench=None))
    assert gate(policy, [there], [older]).verdict == "pass"  # it does not tell where it ran


@pytest.mark.parametrize(
    ("sqnrs", "verdict", "figure", "place"),
    [
        ((40.0, 21.5), "pass", "21.50 dB", 1),
        ((40.0, 19.5), "fail", "19.50 dB", 1),
        ((19.5, 40.0), "fail", "19.50 dB", 0),
        ((math.inf, math.inf), "pass", "identical", 0),
        ((math.inf, -math.inf), "fail", "-inf dB", 1),
        ((40.0, math.nan), "fail", "-inf dB", 1),  # of older records
        ((math.nan, 40.0), "fail", "-inf dB", 0),
    ],
)
def test_the_worst_output_is_judged_and_named(
    gate: Any, compared: Record, sqnrs: tuple[float, ...], verdict: str, figure: str, place: int
) -> None:
    outputs = tuple(OutputQuality(f"o{n}", sqnr, 0.0, 0.0) for n, sqnr in enumerate(sqnrs))
    result = gate("[policy]\nmin_sqnr_db = 20\n", [with_quality(sound(compared), outputs=outputs)])
    found = only(result)
    assert (result.verdict, found.figure) == (verdict, figure)
    assert found.origins[0].json_path == f"$.quality.outputs[{place}].sqnr_db"


DOUBTED: list[tuple[str, Alter, str]] = [
    ("max_p50_percent = 50", loaded, "bench.load"),
    ("max_p90_percent = 900", loaded, "bench.load"),
    ("max_drop_points = 1", lambda r: replace(r, value=replace(r.value, issues=WEAK)),
     "data.not_normalized"),
    ("max_sqnr_loss_db = 1", lambda r: replace(r, value=replace(r.value, issues=WEAK)),
     "data.not_normalized"),
]  # fmt: skip


@pytest.mark.parametrize(("policy", "alter", "code"), DOUBTED)
def test_a_doubt_about_either_side_is_a_doubt_about_the_change(
    gate: Any, compared: Record, policy: str, alter: Alter, code: str
) -> None:
    clean = sound(compared)
    text = f"[policy.regression]\n{policy}\n"
    assert gate(text, [clean], [clean]).verdict == "pass"
    for now, before in ((clean, alter(clean)), (alter(clean), clean), (alter(clean),) * 2):
        result = gate(text, [now], [before])
        assert (result.verdict, only(result).is_sound) == ("cannot-tell", False)
        assert only(result).reason.startswith("the figure is doubted: ")
        assert f"[{code}]" in only(result).reason
        accepted = gate(f'[policy]\naccept = ["{code}"]\n{text}', [now], [before])
        assert (accepted.verdict, only(accepted).accepted) == ("pass", (code,))


def test_memory_is_no_doubt_of_a_noisy_baseline_but_of_an_emulated_one(
    gate: Any, compared: Record
) -> None:
    clean, policy = sound(compared), "[policy.regression]\nmax_peak_memory_percent = 5\n"
    assert gate(policy, [clean], [loaded(clean)]).verdict == "pass"
    emulated = with_runs(clean, issues=(make_issue("bench.emulated", "It is QEMU."),))
    assert gate(policy, [clean], [emulated]).verdict == "cannot-tell"


def test_measurements_are_paired_with_those_made_alike(gate: Any, compared: Record) -> None:
    one = sound(compared)
    four = slower(with_runs(one, threads=4))
    policy = "[policy.regression]\nmax_p50_percent = 50\n"
    assert gate(policy, [four, one], [one, four]).verdict == "pass"
    assert gate(policy, [four], [one]).verdict == "cannot-tell"
    assert gate(policy, [slower(one), four], [one, four]).verdict == "fail"


def test_memory_of_another_processor_is_no_baseline(gate: Any, compared: Record) -> None:
    before = sound(compared)
    now = with_facts(before, cpu_model="Cortex-A72")
    result = gate("[policy.regression]\nmax_peak_memory_percent = 5\n", [now], [before])
    assert result.verdict == "cannot-tell"
    assert "cannot be compared: processor Cortex-A72 against " in only(result).reason


def test_a_device_that_only_the_baseline_has_is_missed(gate: Any, compared: Record) -> None:
    here = sound(compared)
    there = with_facts(here, device="pi4")
    result = gate("[policy.regression]\nmax_p50_percent = 900\n", [here], [here, there])
    assert (result.verdict, only(result).reason) == (
        "cannot-tell",
        "the baseline has it of pi4, the records do not",
    )


def test_a_baseline_that_no_rule_is_about_is_refused(gate: Any, compared: Record) -> None:
    with pytest.raises(UsageError) as caught:
        gate(
            "[policy]\nmin_sqnr_db = 1\n", [compared], [compared, replace(compared, path="b.json")]
        )
    assert caught.value.message.startswith(f"--baseline {compared.path} is given, and ")


def test_one_model_measured_twice_in_a_record_is_the_one_meant(gate: Any, compared: Record) -> None:
    bench = sound(compared).value.bench
    runs = (bench.runs[1], bench.runs[1])
    record = replace(compared, kind="bench", value=replace(bench, runs=runs))
    assert gate("[policy.devices.local]\nmax_p50_ms = 1000\n", [record]).verdict == "pass"
    two = replace(compared, kind="bench", value=bench)
    with pytest.raises(RecordError, match=r"has several models, .* and does not say which one"):
        gate("[policy.devices.local]\nmax_p50_ms = 1000\n", [two])


# ---------------------------------------------------------------- what convert knows of the samples


def test_a_forgotten_normalization_is_doubted_though_both_models_suffer_alike(
    gate: Callable[..., GateResult], converted: Record, compared: Record
) -> None:
    doubt = make_issue("data.not_normalized", "Values reach 255.")
    value = converted.value
    made = replace(converted, value=replace(value, issues=(*value.issues, doubt)))
    policy = "[policy]\nmax_drop_points = 1\n"
    assert gate(policy, [converted, sound(compared)]).verdict == "pass"
    result = gate(policy, [made, sound(compared)])
    assert result.verdict == "cannot-tell"
    assert "data.not_normalized" in result.rules[0].findings[0].reason
    accepting = f'{policy}accept = ["data.not_normalized"]\n'
    assert gate(accepting, [made, sound(compared)]).verdict == "pass"
    fed = replace(compared, value=replace(compared.value, preprocessing=("scale=1/128",)))
    assert gate(policy, [made, sound(fed)]).verdict == "pass"  # fed otherwise than the conversion


def test_a_comparison_on_the_calibration_data_proves_nothing(
    gate: Callable[..., GateResult], converted: Record, compared: Record
) -> None:
    value, own = compared.value, converted.value.data
    labelled = replace(own, sha256="0" * 64, samples_sha256=own.sha256)  # by --labels
    for data in (own, labelled):
        same = replace(compared, value=replace(value, data=data))
        result = gate("[policy]\nmax_drop_points = 1\n", [converted, sound(same)])
        assert result.verdict == "cannot-tell"
        assert "is the calibration data" in result.rules[0].findings[0].reason


# ---------------------------------------------------------------- all that a finding tells


def origin(record: Record, path: str) -> Origin:
    return Origin(record.path, record.sha256, path)


def test_a_finding_tells_its_figure_and_where_it_stands(gate: Any, compared: Record) -> None:
    record = sound(compared)
    (kept,) = gate("[policy]\nmax_drop_points = 0.5\n", [record]).rules[0].findings
    assert kept == Finding(
        subject=record.value.data.sha256, verdict="pass",
        reason="the whole interval is within the limit", figure="+0.20 points (-0.10 to +0.50)",
        value=0.2, low=-0.1, high=0.5, unit="points",
        origins=(origin(record, "$.quality.drop_points"),), accepted=(), remedy=None, is_sound=True,
    )  # fmt: skip
    (missed,) = gate("[policy]\nmin_sqnr_db = 90\n", [record]).rules[0].findings
    value = record.value.quality.outputs[0].sqnr_db
    assert missed == replace(
        kept, verdict="fail", reason="beyond the limit", figure=f"{value:.2f} dB", value=value,
        low=None, high=None, unit="dB", origins=(origin(record, "$.quality.outputs[0].sqnr_db"),),
        remedy="See which layers lose it with edgeq debug, or search with edgeq tune.",
    )  # fmt: skip
    (open_,) = gate("[policy]\nmax_drop_points = 0.4\n", [record]).rules[0].findings
    assert open_ == replace(
        kept, verdict="cannot-tell", remedy="Measure with more samples.",
        reason="the interval reaches from within the limit to beyond it",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("policy", "drop", "remedy"),
    [
        ("max_drop_points = 0.4", Interval(0.2, -0.1, 0.5), "Measure with more samples."),
        ("max_drop_points = 0.4", Interval(0.45, 0.3, 0.6),
         "See which layers lose it with edgeq debug, or search with edgeq tune."),
        ("min_speedup = 1.45", None, "Measure with more --rounds."),
        ("min_speedup = 1.55", None, "See where the time goes with edgeq profile."),
    ],
)  # fmt: skip
def test_an_open_rule_has_the_remedy_of_its_kind(
    gate: Any, compared: Record, policy: str, drop: Interval | None, remedy: str
) -> None:
    record = sound(compared)
    record = record if drop is None else with_quality(record, drop_points=drop)
    proven = 'drop_must_be = "proven"\nspeed_must_be = "proven"\n'
    (found,) = gate(f"[policy]\n{proven}{policy}\n", [record]).rules[0].findings
    assert (found.verdict, found.remedy) == ("cannot-tell", remedy)


@pytest.mark.parametrize("code", ["data.normalized_twice", "convert.float_at_chance"])
def test_a_wrong_input_is_corrected_before_it_is_accepted(
    gate: Any, compared: Record, code: str
) -> None:
    record = sound(compared)
    issues = make_issue("bench.load", "It is load."), make_issue(code, "It is fed 0 to 1.")
    record = replace(record, value=replace(record.value, issues=issues))
    (found,) = gate("[policy]\nmax_drop_points = 1\n", [record]).rules[0].findings
    accepted = f'write in [policy]: accept = ["bench.load", "{code}"]'
    assert found.verdict == "cannot-tell" and code in found.reason
    assert found.remedy.startswith("Correct the preprocessing or the labels, then convert and ")
    assert found.remedy.endswith(f"only if they are right, {accepted}")


def test_a_doubted_figure_tells_how_to_accept_it(gate: Any, compared: Record) -> None:
    load, noise = (make_issue(f"bench.{code}", f"It is {code}.") for code in ("load", "noisy"))
    record = with_runs(sound(compared), issues=(load, load, noise))
    policy = "[policy.devices.local]\nmax_p50_ms = 1000\n"
    (found,) = gate(policy, [record]).rules[0].findings
    assert (found.verdict, found.value, found.unit, found.is_sound) == (
        "cannot-tell", pytest.approx(0.04, rel=0.01), "ms", False)  # fmt: skip
    assert found.reason == "the figure is doubted: It is load. [bench.load, bench.noisy]"
    assert found.remedy == (
        'Measure again where that does not hold, or write in [policy]: accept = ["bench.load", '
        '"bench.noisy"]'
    )
    (found,) = gate(f'[policy]\naccept = ["bench.noisy"]\n{policy}', [record]).rules[0].findings
    assert (found.reason, found.accepted) == (
        "the figure is doubted: It is load. [bench.load]", ("bench.noisy",))  # fmt: skip
    both = f'[policy]\naccept = ["bench.noisy", "bench.load"]\n{policy}'
    (found,) = gate(both, [record]).rules[0].findings
    assert (found.verdict, found.accepted) == ("pass", ("bench.load", "bench.noisy"))
    # An error is none to accept, and a remark is no doubt.
    emulated = with_runs(sound(compared), issues=(make_issue("bench.emulated", "QEMU."), load))
    (found,) = gate(policy, [emulated]).rules[0].findings
    assert found.remedy == ("Measure again where that does not hold; an error cannot be accepted.")
    grave = with_runs(sound(compared), issues=(replace(load, severity="error"),))
    assert gate(both, [grave]).verdict == "cannot-tell"
    remark = replace(load, severity="info")
    assert gate(policy, [with_runs(sound(compared), issues=(remark,))]).verdict == "pass"


@pytest.mark.parametrize(
    ("islands", "shown", "verdict"),
    [(0, "0 float islands", "pass"), (1, "1 float island", "pass"), (2, "2 float islands", "fail")],
)
def test_float_islands_are_counted(
    gate: Any, converted: Record, islands: int, shown: str, verdict: str
) -> None:
    record = with_certificate(converted, float_islands=islands)
    other = replace(with_certificate(converted, float_islands=7), path="b.json")
    (found,) = gate("[policy]\nmax_float_islands = 1\n", [record, other]).rules[0].findings
    assert (found.figure, found.value, found.unit, found.verdict, found.subject) == (
        shown, islands, "count", verdict, "")  # fmt: skip
    assert found.origins == (origin(record, "$.certificate.float_islands"),)


@pytest.mark.parametrize(
    ("needed", "verdict"),
    [("2.13.9", "pass"), ("2.14.0", "pass"), ("2.14.7", "pass"), ("2.15.0", "fail"),
     ("1.99.0", "pass"), ("10.0.0", "fail")],
)  # fmt: skip
def test_a_release_stands_for_all_of_its_patches(
    gate: Any, converted: Record, needed: str, verdict: str
) -> None:
    record = with_certificate(converted, min_runtime_version=needed)
    (found,) = gate('[policy]\nruns_on = "2.14"\n', [record]).rules[0].findings
    assert found == Finding(
        subject="", verdict=verdict, figure=needed,
        reason="within the limit" if verdict == "pass" else "newer than the limit",
        value=None, low=None, high=None, unit="version",
        origins=(origin(record, "$.certificate.min_runtime_version"),), accepted=(), is_sound=True,
        remedy=None if verdict == "pass"
        else "Convert with --granularity tensor or another --scheme.",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("flex", "custom", "named", "field"),
    [
        (("FlexErf",), ("Mine",), "FlexErf, Mine", "flex_ops"),
        ((), ("Mine",), "Mine", "custom_ops"),
    ],
)
def test_operators_of_no_release_are_named(
    gate: Any, converted: Record, flex: tuple[str, ...], custom: tuple[str, ...], named: str,
    field: str,
) -> None:  # fmt: skip
    record = with_certificate(converted, flex_ops=flex, custom_ops=custom)
    other = replace(converted, path="b.json")
    (found,) = gate('[policy]\nruns_on = "2.14"\n', [record, other]).rules[0].findings
    assert (found.verdict, found.subject, found.figure, found.is_sound) == (
        "cannot-tell", "", "", False)  # fmt: skip
    assert found.reason == f"no release has all of its operators: {named} must be brought along"
    assert found.remedy == "Replace these operators in the model."
    assert found.origins == (origin(record, f"$.certificate.{field}"),)


def test_what_an_interval_must_show_is_said_for_drops_and_for_speeds(
    gate: Any, compared: Record
) -> None:
    record = sound(compared)
    across = (
        "max_drop_points = 0.4\nmin_speedup = 1.45\n[policy.devices.local]\nmax_p50_ms = 0.04\n"
    )
    names = ("max_drop_points", "min_speedup", "devices.local.max_p50_ms")

    def verdicts(settings: str) -> dict[str, str]:
        rules = gate(f"[policy]\n{settings}{across}", [record]).rules
        return {rule.rule: rule.verdict for rule in rules}

    unknown, kept = "cannot-tell", "pass"
    for settings, expected in (
        ("", (unknown, kept, kept)),
        ('drop_must_be = "not-disproven"\n', (kept, kept, kept)),
        ('speed_must_be = "proven"\n', (unknown, unknown, unknown)),
    ):
        assert verdicts(settings) == dict(zip(names, expected, strict=True))


def test_what_a_change_must_show_is_said_likewise(gate: Any, compared: Record) -> None:
    now = before = sound(compared)
    across = "[policy.regression]\nmax_drop_points = 0.1\nmax_p50_percent = 0.01\n"
    for settings, verdicts in (
        ("", ["cannot-tell", "pass"]),
        ('drop_must_be = "not-disproven"\n', ["pass", "pass"]),
        ('speed_must_be = "proven"\n', ["cannot-tell", "cannot-tell"]),
    ):
        result = gate(f"[policy]\n{settings}{across}", [now], [before])
        assert [rule.verdict for rule in result.rules] == verdicts


def test_a_change_tells_both_figures(gate: Any, compared: Record) -> None:
    before = replace(sound(compared), path="before.json")
    now = with_runs(sound(compared), peak_rss_bytes=66_000_000)
    policy = "[policy.regression]\nmax_peak_memory_percent = 5\n"
    result = gate(policy, [now], [before])
    (found,) = result.rules[0].findings
    path = "$.bench.runs[1].peak_rss_bytes"
    assert found == Finding(
        subject="local", verdict="fail", reason="beyond the limit", figure="+10.00 %",
        value=pytest.approx(10), low=None, high=None, unit="percent",
        origins=(origin(now, path), origin(before, path)), accepted=(),
        remedy="Use a smaller input or batch, or a smaller model.", is_sound=True,
    )  # fmt: skip
    assert (result.baseline, result.candidate) == (before.value.candidate, now.value.candidate)
    assert result.records == ((now.path, now.sha256),)
    assert result.baseline_records == (("before.json", before.sha256),)


def test_figures_that_cannot_be_compared_tell_where_they_are(gate: Any, compared: Record) -> None:
    before, now = replace(sound(compared), path="before.json"), sound(compared)
    policy = "[policy.regression]\nmax_sqnr_loss_db = 1\n"
    (found,) = gate(policy, [with_quality(now, sample_count=400)], [before]).rules[0].findings
    path = "$.quality.outputs[0].sqnr_db"
    assert (found.verdict, found.remedy, found.subject, found.origins) == (
        "cannot-tell", "Measure both in the same way.", now.value.data.sha256,
        (origin(now, path), origin(before, path)),
    )  # fmt: skip


def with_data(record: Record, source: str, sha256: str) -> Record:
    data = replace(record.value.data, source=source, sha256=sha256 * 64)
    return replace(record, value=replace(record.value, data=data))


def with_parts(record: Record, *sqnrs: float | None, is_known: bool = True) -> Record:
    parts = tuple(PartQuality(f"p{n}", sqnr, 1.0, 0.1, is_known) for n, sqnr in enumerate(sqnrs))
    (output,) = record.value.quality.outputs
    return with_quality(record, outputs=(replace(output, parts=parts),))


def test_the_worst_part_is_held_against_the_limit(gate: Any, compared: Record) -> None:
    found = only(gate("[policy]\nmin_sqnr_db = 20\n", [with_parts(sound(compared), 40, 12, None)]))
    assert (found.verdict, found.figure) == ("fail", "12.00 dB")
    assert found.origins[0].json_path == "$.quality.outputs[0].parts[1].sqnr_db"


@pytest.mark.parametrize(
    ("sqnrs", "is_known", "lost", "verdict", "figure"),
    [
        ((40, 12), True, (), "pass", "0 lost parts"),
        ((40, 3), True, (), "fail", "1 lost part: p1 is lost: its values vary by 1, the error is "),
        ((40, 12), True, ("p1[:, 2]",), "fail", "1 lost part: p1[:, 2] is lost: its values vary"),
        ((40, 12), False, (), "cannot-tell", "500 samples are too few to know how far the"),
        ((None, None), True, (), "cannot-tell", "the float model's outputs do not vary on these"),
    ],
)
def test_a_column_that_is_lost_in_a_good_part_counts(
    gate: Any,
    compared: Record,
    sqnrs: tuple[float | None, ...],
    is_known: bool,
    lost: tuple[str, ...],
    verdict: str,
    figure: str,
) -> None:
    record = with_parts(sound(compared), *sqnrs, is_known=is_known)
    (output,) = record.value.quality.outputs
    columns = tuple(LostColumn(where, 2.0, 1.0) for where in lost)
    parts = (output.parts[0], replace(output.parts[1], lost=columns))
    record = with_quality(record, outputs=(replace(output, parts=parts),), scored_output=None)
    found = only(gate("[policy]\nmax_lost_parts = 0\n", [record]))
    assert found.verdict == verdict and found.figure.startswith(figure)
    assert found.origins[0].json_path == "$.quality.outputs"


@pytest.mark.parametrize(
    ("sqnrs", "is_known", "figure"),
    [
        ((None, None), True, "the float model's outputs do not vary on these samples"),
        ((40.0, 30.0), False, "samples are too few to know how far the outputs vary"),
    ],
)
def test_an_sqnr_that_nothing_tells_is_not_judged(
    gate: Any, compared: Record, sqnrs: tuple[float | None, ...], is_known: bool, figure: str
) -> None:
    doubtful = with_parts(sound(compared), *sqnrs, is_known=is_known)
    policy = "[policy]\nmin_sqnr_db = 20\n[policy.regression]\nmax_sqnr_loss_db = 1\n"
    limit, loss = (rule.findings[0] for rule in gate(policy, [doubtful], [doubtful]).rules)
    assert limit.verdict == loss.verdict == "cannot-tell"
    assert figure in limit.figure and figure in loss.reason


def test_whole_outputs_are_compared_where_the_baseline_is_of_0_1(
    gate: Any, compared: Record
) -> None:
    """Its worst part lost 30 dB, and its whole 0.5: nobody knows what the parts had before."""
    policy = "[policy.regression]\nmax_sqnr_loss_db = 1\n"
    old = with_parts(sound(compared))
    (whole,) = old.value.quality.outputs
    new = with_parts(sound(compared), whole.sqnr_db - 30)
    now = replace(new.value.quality.outputs[0], sqnr_db=whole.sqnr_db - 0.5)
    found = only(gate(policy, [with_quality(new, outputs=(now,))], [old]))
    assert (found.verdict, found.figure) == ("pass", "+0.50 dB")
    assert found.reason.endswith(", of whole outputs: a record of edgeq 0.1 has no parts")
    both = with_parts(sound(compared), 40.0)
    found = only(gate(policy, [with_parts(sound(compared), 38.0)], [both]))
    assert (found.verdict, found.figure) == ("fail", "+2.00 dB")
    assert "0.1" not in found.reason


def test_data_that_only_one_side_has_is_named(gate: Any, compared: Record) -> None:
    first = with_data(sound(compared), "first.npz", "1")
    second = replace(with_data(sound(compared), "second.npz", "2"), path="b.json")
    policy = "[policy.regression]\nmax_sqnr_loss_db = 1\n"
    result = gate(policy, [first], [first, second])
    assert [(item.verdict, item.reason, item.subject) for item in result.rules[0].findings] == [
        ("cannot-tell", "the baseline has it of second.npz (222222222222), the records do not",
         "2" * 64),
        ("pass", "within the limit", "1" * 64),
    ]  # fmt: skip
    (lost, _) = result.rules[0].findings
    assert lost.remedy == "Measure there again, or leave it out of the baseline."
    assert lost.origins == (origin(second, "$.quality.outputs[0].sqnr_db"),)
    third = replace(with_data(sound(compared), "third.npz", "3"), path="c.json")
    new, gone, also_gone = gate(policy, [third], [first, second]).rules[0].findings
    assert new.reason == (
        "it is of the data third.npz (333333333333), the baseline's of the data first.npz "
        "(111111111111), second.npz (222222222222)"
    )
    assert new.remedy == "Measure both on the same device and data."
    assert new.origins == (origin(third, "$.quality.outputs[0].sqnr_db"),)
    assert (gone.subject, also_gone.subject) == ("1" * 64, "2" * 64)
    # Twice the same is missed once.
    twice = gate(policy, [first], [first, second, replace(second, path="d.json")])
    assert len(twice.rules[0].findings) == 2


def test_a_baseline_without_such_a_figure_says_so(gate: Any, compared: Record) -> None:
    now, before = sound(compared), only_named(compared)
    policy = "[policy.regression]\nmax_sqnr_loss_db = 1\n"
    (found,) = gate(policy, [now], [before]).rules[0].findings
    assert (found.reason, found.remedy, found.origins) == (
        "the baseline's records have no such figure",
        "Give the baseline's record of the same kind.",
        (origin(now, "$.quality.outputs[0].sqnr_db"),),
    )
    result = gate(policy, [only_named(compared)], [sound(compared)])
    assert only(result).reason == "no record has such a figure"
    (missing,) = gate(policy, [now]).rules[0].findings
    assert (missing.reason, missing.remedy) == (
        "there is no baseline",
        "Pass the baseline's records with --baseline; for edgeq run, in [run] baseline_records.",
    )


def fleet_of(record: Record, *entries: FleetEntry) -> Record:
    return replace(record, kind="fleet-compare", value=Fleet("compare", entries))


def test_what_is_missing_of_a_device_is_told(gate: Any, compared: Record) -> None:
    policy = "[policy.devices.pi4]\nmax_p50_ms = 9\n"
    here = sound(compared)
    there = replace(with_facts(here, device="arm"), path="b.json")
    result = gate(policy, [here, there, here])
    assert only(result).reason == (
        "no record has such a figure of pi4; there are records of arm, local"
    )
    assert only(result).remedy == "Give a record of edgeq bench or compare from that device."
    assert only(gate(policy, [without_bench(here)])).reason == (
        "no record has such a figure of pi4"
    )
    failed = fleet_of(
        here, FleetEntry("arm", None, "It is off."), FleetEntry("local", here.value),
        FleetEntry("zero", None, "It is off."), FleetEntry("pi4", None, "Refused..."),
    )  # fmt: skip
    (found,) = gate(policy, [failed]).rules[0].findings
    assert (found.subject, found.reason, found.remedy, found.verdict) == (
        "pi4", "pi4 gave no result: Refused", "Repair the device and measure again.", "cannot-tell"
    )  # fmt: skip
    assert found.origins == (origin(failed, "$.entries[3].error"),)
    sizes = gate("[policy]\nmax_size = '1 MB'\n", [failed]).rules[0].findings
    assert [item.verdict for item in sizes] == ["pass"]
    every = gate("[policy]\nmax_peak_memory = '80 MB'\n", [failed]).rules[0].findings
    assert [(item.subject, item.verdict) for item in every] == [
        ("arm", "cannot-tell"), ("zero", "cannot-tell"), ("pi4", "cannot-tell"), ("local", "pass")
    ]  # fmt: skip


def test_a_device_that_failed_once_and_gave_a_figure_is_not_missing(
    gate: Any, compared: Record
) -> None:
    record = sound(compared)
    failed = replace(fleet_of(record, FleetEntry("local", None, "It is off.")), path="b.json")
    (found,) = gate("[policy]\nmax_peak_memory = '80 MB'\n", [record, failed]).rules[0].findings
    assert found.verdict == "pass"


def test_findings_that_decide_come_first_and_the_worst_of_them(gate: Any, compared: Record) -> None:
    record = sound(compared)
    others = [replace(with_facts(record, device=name), path=f"{name}.json") for name in "abc"]
    doubted, slow, open_ = loaded(others[0]), slower(others[1]), others[2]
    open_ = with_runs(open_, issues=(make_issue("bench.noisy", "It is."),))
    policy = "[policy]\nmin_speedup = 1.3\n"
    slow = replace(slow, value=replace(slow.value, bench=replace(
        slow.value.bench, speedups=(Ratio(0.5, 0.4, 0.6),))))  # fmt: skip
    sound_a = others[0]
    result = gate(policy, [doubted, record, sound_a, open_, slow])
    assert [(item.subject, item.verdict, item.is_sound) for item in result.rules[0].findings] == [
        ("b", "fail", True), ("c", "cannot-tell", False), ("local", "pass", True),
        ("a", "pass", True), ("a", "cannot-tell", False),
    ]  # fmt: skip
    assert result.verdict == weigh(result) == "fail"
    forged = replace(result, verdict="pass", rules=(replace(result.rules[0], verdict="pass"),))
    assert weigh(forged) == "fail"


def test_a_record_that_nothing_is_read_from_is_unused(gate: Any, compared: Record) -> None:
    other = replace(only_named(compared), path="parity.json")
    result = gate("[policy]\nmax_size = '1 MB'\n", [compared, other])
    assert (result.unused, result.baseline, result.baseline_records) == (("parity.json",), None, ())


def test_a_rule_about_a_baseline_is_any_rule_of_regressions(gate: Any, compared: Record) -> None:
    policy = "[policy]\nmax_size = '1 MB'\n[policy.regression]\nmax_size_percent = 1\n"
    assert gate(policy, [compared], [compared]).verdict == "pass"
