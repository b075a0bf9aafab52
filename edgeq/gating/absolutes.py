"""Figures of the model alone: its accuracy, rare latencies, how long loading takes, its arena."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgeq import timing
from edgeq.accuracy.metrics import ACCURACY, wilson_interval
from edgeq.gating.facts import EvalFact, Facts, QualityFact, inside
from edgeq.gating.figures import Figure, find_benches, find_qualities, run_of, show
from edgeq.gating.intervals import Estimate

_TAIL = 0.99
_WHOLE_TAIL = 100  # inferences of which the tail is one


def find_accuracies(facts: Facts) -> Iterator[Figure]:
    """Top-1 accuracy on each data set: of `compare` and `eval`, else of `convert` or `tune`."""
    compared = [fact for fact in find_qualities(facts) if fact.is_compared or not facts.evaluations]
    for fact in compared:
        pairs = fact.quality.paired
        if pairs is not None:
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


def find_tails(facts: Facts, device: str | None) -> Iterator[Figure]:
    """The latency that one in a hundred inferences exceeds, one figure for each measurement."""
    for fact in find_benches(facts, device):
        run = run_of(fact)
        estimate = None if run.latency.p99_ms is None else Estimate(run.latency.p99_ms)
        if estimate is not None and any(run.latencies_ms):
            estimate = tail_interval(run.latencies_ms)
        if estimate is not None:
            origins = (inside(fact.origin, f".runs[{fact.index}].latency.p99_ms"),)
            shown = show(estimate, "{:.4g} ms")
            name = fact.result.facts.device
            yield Figure(name, estimate, "ms", shown, origins, run.issues, fact)


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


def find_inits(facts: Facts, device: str | None) -> Iterator[Figure]:
    """Time to load the model, one figure for each measurement."""
    for fact in find_benches(facts, device):
        run, name = run_of(fact), fact.result.facts.device
        known = timing.middle_of_rounds([item.init_ms for item in run.rounds] or [run.init_ms])
        estimate = Estimate(run.init_ms, known.low, known.high)
        origins = (inside(fact.origin, f".runs[{fact.index}].init_ms"),)
        shown = show(estimate, "{:.4g} ms")
        yield Figure(name, estimate, "ms", shown, origins, run.issues, fact)


def find_arenas(facts: Facts, device: str | None) -> Iterator[Figure]:
    """Memory for activations, one figure for each measurement that knows it.

    The planner lays out the same on a busy machine and on an emulated one: nothing is doubted.
    """
    for fact in find_benches(facts, device):
        size, name = run_of(fact).arena_bytes, fact.result.facts.device
        if size is not None:
            origins = (inside(fact.origin, f".runs[{fact.index}].arena_bytes"),)
            shown = f"{size / 1e3:.1f} kB"
            yield Figure(name, Estimate(float(size)), "bytes", shown, origins, (), fact)
