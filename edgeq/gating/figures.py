"""The figures of a model that rules judge, with their intervals, doubts and places in records."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from edgeq import timing
from edgeq.accuracy.verdict import doubt_of_parts, find_lost, total_sqnr_db, worst_sqnr_db
from edgeq.gating.facts import BenchFact, EvalFact, Facts, QualityFact, inside
from edgeq.gating.intervals import Estimate
from edgeq.metrics.catalogue import ACCURACY
from edgeq.metrics.intervals import wilson_interval
from edgeq.values import BenchRun, Interval, Issue, MetricValue, Origin
from edgeq.wording import plural

_TAIL = 0.99
_WHOLE_TAIL = 100  # inferences of which the tail is one


@dataclass(frozen=True)
class Figure:
    """A figure of a record that a rule can compare with a limit.

    Attributes:
        subject: see `Finding`.
        estimate: None for one that its doubts leave without a value.
        shown: with its unit.
        context: the conditions of its measurement; None for a figure of the file itself.
    """

    subject: str
    estimate: Estimate | None
    unit: str
    shown: str
    origins: tuple[Origin, ...]
    issues: tuple[Issue, ...] = ()
    context: QualityFact | BenchFact | None = None


# Finds the figures of one kind: of the device or the metric that the rule's table names, or all
# (None). Accuracies, SQNRs and figures of the file do not depend on the device.
Find = Callable[[Facts, str | None], Iterator[Figure]]


def show(estimate: Estimate, form: str) -> str:
    """A figure with its interval; `form` is a format with the unit, e.g. "{:+.2f} points"."""

    def shown(form: str, value: float) -> str:
        if math.isinf(value):
            return "unknown"  # there are too few runs to know this end
        text = form.format(value)
        is_zero = text.startswith("-") and not text.strip("-0. %x")
        return text.replace("-", "+", 1) if is_zero else text

    value = shown(form, estimate.value)
    if estimate.low is None or estimate.high is None:
        return value
    bare = form.partition("}")[0] + "}"
    return f"{value} ({shown(bare, estimate.low)} to {shown(bare, estimate.high)})"


# ---------------------------------------------------------------- quality


def _qualities(facts: Facts) -> Sequence[QualityFact]:
    """The qualities of `compare`, whose data was chosen for it; without any, of `convert`."""
    return [fact for fact in facts.qualities if fact.is_compared] or facts.qualities


def find_drops(facts: Facts, device: str | None) -> Iterator[Figure]:
    """Accuracy lost, one figure for each data set."""
    for fact in _qualities(facts):
        drop = fact.quality.drop_points
        if drop is not None:
            estimate = Estimate(drop.value, drop.low, drop.high)
            yield Figure(
                fact.data.sha256, estimate, "points", show(estimate, "{:+.2f} points"),
                (inside(fact.origin, ".drop_points"),), fact.issues, fact,
            )  # fmt: skip


def find_accuracies(facts: Facts, device: str | None) -> Iterator[Figure]:
    """Top-1 accuracy on each data set, of `compare` and `eval`, or of `convert` and `tune`."""
    for fact in _qualities(facts):
        pairs = fact.quality.paired
        if pairs is not None and (fact.is_compared or not facts.evaluations):
            right = pairs.both_right + pairs.only_candidate
            count = right + pairs.only_baseline + pairs.both_wrong
            yield _accuracy(fact, right, count, ".candidate_accuracy_percent")
    for evaluated in facts.evaluations:
        for place, metric in enumerate(evaluated.evaluation.metrics):
            if metric.name == ACCURACY:
                count = evaluated.evaluation.sample_count
                right = round(metric.value * count / 100)
                yield _accuracy(evaluated, right, count, f".metrics[{place}].value")


def _accuracy(fact: QualityFact | EvalFact, right: int, count: int, path: str) -> Figure:
    estimate = Estimate(100 * right / count, *wilson_interval(right, count))
    origins = (inside(fact.origin, path),)
    shown = show(estimate, "{:.2f} %")
    return Figure(fact.data.sha256, estimate, "percent", shown, origins, fact.issues)


def find_losses(facts: Facts, metric: str | None) -> Iterator[Figure]:
    """How much worse than FP32 the model is by a metric, one figure for each data set."""
    for fact in _qualities(facts):
        for found, origin in fact.losses:
            if found.name == metric:
                form, unit = ("{:+.2f} points", "points") if found.unit else ("{:+.4g}", "")
                estimate = Estimate(found.loss.value, found.loss.low, found.loss.high)
                origins = (inside(origin, ".loss"),)
                yield Figure(
                    fact.data.sha256, estimate, unit, show(estimate, form), origins, fact.issues,
                    fact,
                )  # fmt: skip


def find_metrics(facts: Facts, metric: str | None) -> Iterator[Figure]:
    """A metric of the model itself, of `compare` and `eval`, one figure for each data set."""
    for fact in _qualities(facts):
        if fact.is_compared or not facts.evaluations:
            for value, at in fact.metrics:
                yield from _metric(fact, value, metric, inside(at, ".value"))
    for evaluated in facts.evaluations:
        for place, value in enumerate(evaluated.evaluation.metrics):
            origin = inside(evaluated.origin, f".metrics[{place}].value")
            yield from _metric(evaluated, value, metric, origin)


def _metric(
    fact: QualityFact | EvalFact, value: MetricValue, metric: str | None, origin: Origin
) -> Iterator[Figure]:
    if value.name != metric:
        return
    form, unit = ("{:.2f} %", "percent") if value.unit else ("{:.4g}", "")
    known = value.interval
    estimate = Estimate(value.value, *(() if known is None else (known.low, known.high)))
    yield Figure(fact.data.sha256, estimate, unit, show(estimate, form), (origin,), fact.issues)


def knows_parts(facts: Facts) -> bool | None:
    """Whether the records have the SQNR of parts: those of edgeq 0.1 do not; None without any."""
    found = [output.parts for fact in _qualities(facts) for output in fact.quality.outputs]
    return all(found) if found else None


def find_sqnrs(facts: Facts, device: str | None) -> Iterator[Figure]:
    """The SQNR of the worst part of the outputs, one figure for each data set."""
    for fact in _qualities(facts):
        parts = [
            (f".outputs[{place}].parts[{number}]", part.sqnr_db)
            for place, output in enumerate(fact.quality.outputs)
            for number, part in enumerate(output.parts)
        ]
        yield _sqnr(fact, worst_sqnr_db(fact.quality), parts or _whole_outputs(fact))


def find_total_sqnrs(facts: Facts, device: str | None) -> Iterator[Figure]:
    """The SQNR of the worst whole output, which is all that records of edgeq 0.1 have."""
    for fact in _qualities(facts):
        yield _sqnr(fact, total_sqnr_db(fact.quality), _whole_outputs(fact))


def find_lost_parts(facts: Facts, device: str | None) -> Iterator[Figure]:
    """The number of parts and columns that are lost, which records of edgeq 0.1 do not tell."""
    for fact in _qualities(facts):
        if any(output.parts for output in fact.quality.outputs):
            lost, doubt = find_lost(fact.quality), doubt_of_parts(fact.quality)
            shown = f"{plural(len(lost), 'lost part')}{f': {lost[0]}' if lost else ''}"
            known = None if doubt is not None and not lost else Estimate(float(len(lost)))
            origins = (inside(fact.origin, ".outputs"),)
            yield Figure(
                fact.data.sha256, known, "count", shown if known else str(doubt), origins,
                fact.issues, fact,
            )  # fmt: skip


def _whole_outputs(fact: QualityFact) -> list[tuple[str, float | None]]:
    outputs = fact.quality.outputs
    return [(f".outputs[{place}]", output.sqnr_db) for place, output in enumerate(outputs)]


def _sqnr(fact: QualityFact, value: float, places: list[tuple[str, float | None]]) -> Figure:
    worst = (place for place, own in places if own is not None and not own > value)
    place = next(worst, places[0][0])  # where nothing varies, each of them shows that
    origins = (inside(fact.origin, f"{place}.sqnr_db"),)
    doubt = doubt_of_parts(fact.quality)
    if doubt is not None:
        return Figure(fact.data.sha256, None, "dB", str(doubt), origins, fact.issues, fact)
    shown = "identical" if value == math.inf else f"{value:.2f} dB"
    return Figure(fact.data.sha256, Estimate(value), "dB", shown, origins, fact.issues, fact)


# ---------------------------------------------------------------- the file


def find_sizes(facts: Facts, device: str | None) -> Iterator[Figure]:
    """The size of the file."""
    for fact in facts.sizes[:1]:  # all of one digest, so of one size
        value = float(fact.size_bytes)
        yield Figure("", Estimate(value), "bytes", f"{value:,.0f} bytes", (fact.origin,))


def find_islands(facts: Facts, device: str | None) -> Iterator[Figure]:
    """The groups of float operators in the file."""
    for fact in facts.certificates[:1]:
        proof = fact.certificate
        count, wide = proof.float_islands, len(proof.wide_inputs) + len(proof.wide_outputs)
        ends = f", {plural(wide, 'float operator')} at the ends not counted" if wide else ""
        origins = (inside(fact.origin, ".float_islands"),)
        shown = f"{plural(count, 'float island')}{ends}"
        yield Figure("", Estimate(float(count)), "count", shown, origins)


# ---------------------------------------------------------------- devices


def run_of(fact: BenchFact) -> BenchRun:
    """The candidate's run."""
    return fact.result.runs[fact.index]


def _of_runs(
    path: str,
    unit: str,
    read: Callable[[BenchRun], Interval | Estimate | None],
    shown: Callable[[Estimate], str],
    doubts: Callable[[BenchRun], tuple[Issue, ...]] = lambda run: run.issues,
) -> Find:
    """Make a function that finds a figure in each measurement that has it.

    Args:
        path: of the field in a run.
    """

    def find(facts: Facts, device: str | None) -> Iterator[Figure]:
        for fact in facts.benches:
            run, name = run_of(fact), fact.result.facts.device
            known = read(run) if device in (None, name) else None
            if known is not None:
                estimate = Estimate(known.value, known.low, known.high)
                origins = (inside(fact.origin, f".runs[{fact.index}]{path}"),)
                yield Figure(name, estimate, unit, shown(estimate), origins, doubts(run), fact)

    return find


def _ms(estimate: Estimate) -> str:
    return show(estimate, "{:.4g} ms")


def _tail(run: BenchRun) -> Estimate | None:
    if run.latency.p99_ms is None or not any(run.latencies_ms):
        return None if run.latency.p99_ms is None else Estimate(run.latency.p99_ms)
    return tail_interval(run.latencies_ms)


def tail_interval(rounds: Sequence[Sequence[float]]) -> Estimate:
    """The 99th percentile of all times, with its 95 % interval.

    The interval holds the order statistics that enclose it, were all times independent. Times of
    one round have more in common, so it also holds the interval of the rounds' own percentiles, of
    those that are long enough to have one. With too few times there is no upper end: infinity.

    Args:
        rounds: times of each; not all are empty.
    """
    known = timing.quantile_interval([time for times in rounds for time in times], _TAIL)
    own = [timing.percentile(sorted(times), _TAIL) for times in rounds if len(times) >= _WHOLE_TAIL]
    both = [known, *([timing.middle_of_rounds(own)] if own else [])]
    low, high = min(item.low for item in both), max(item.high for item in both)
    return Estimate(known.value, min(low, known.value), high)


def _init(run: BenchRun) -> Estimate:
    known = timing.middle_of_rounds([item.init_ms for item in run.rounds] or [run.init_ms])
    return Estimate(run.init_ms, known.low, known.high)


def _bytes(count: int | None) -> Estimate | None:
    return None if count is None else Estimate(float(count))


find_p50s = _of_runs(".latency.p50_ms", "ms", timing.p50_interval, _ms)
find_p90s = _of_runs(".latency.p90_ms", "ms", timing.p90_interval, _ms)
# With an interval for a comparison with another run.
find_p90s_apart = _of_runs(".latency.p90_ms", "ms", timing.p90_of_another_run, _ms)
find_tails = _of_runs(".latency.p99_ms", "ms", _tail, _ms)
find_inits = _of_runs(".init_ms", "ms", _init, _ms)
find_memories = _of_runs(
    ".peak_rss_bytes",
    "bytes",
    lambda run: _bytes(run.peak_rss_bytes),
    lambda estimate: f"{estimate.value / 1e6:.2f} MB",
    # A busy or hot machine takes no more memory; an emulator does.
    lambda run: tuple(issue for issue in run.issues if issue.code == "bench.emulated"),
)
find_arenas = _of_runs(
    ".arena_bytes",
    "bytes",
    lambda run: _bytes(run.arena_bytes),
    lambda estimate: f"{estimate.value / 1e3:.1f} kB",
    # The planner gives the same on a busy machine and on an emulated one.
    lambda run: (),
)


def find_speedups(facts: Facts, device: str | None) -> Iterator[Figure]:
    """The speed-up against the first model of the same measurement."""
    for fact in facts.benches:
        runs, place, name = fact.result.runs, fact.index - 1, fact.result.facts.device
        if place < 0 or device not in (None, name):
            continue  # it is the first model itself, or elsewhere
        issues = (*runs[0].issues, *runs[fact.index].issues, *fact.issues)
        origins = (inside(fact.origin, f".speedups[{place}]"),)
        if place < len(fact.result.speedups):
            ratio = timing.speedup_interval(fact.result, place)
            estimate = Estimate(ratio.value, ratio.low, ratio.high)
            yield Figure(name, estimate, "x", show(estimate, "{:.3g}x"), origins, issues, fact)
        else:  # there is none when any run is invalid
            errors = tuple(i for run in runs for i in run.issues if i.severity == "error")
            yield Figure(name, None, "x", "", origins, errors or issues, fact)
