"""Figures that records hold, with their intervals, doubts and where they stand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from edgeq import timing
from edgeq.accuracy.verdict import doubt_of_parts, total_sqnr_db, worst_sqnr_db
from edgeq.gating.facts import BenchFact, Facts, QualityFact, inside
from edgeq.gating.intervals import Estimate
from edgeq.values import BenchRun, Issue, Origin


@dataclass(frozen=True)
class Figure:
    """A figure of a record, ready to be held against a limit.

    Attributes:
        subject: see `Finding`.
        estimate: None for one that its doubts leave without a value.
        shown: with its unit.
        context: what it was measured under; None for what the file alone decides.
    """

    subject: str
    estimate: Estimate | None
    unit: str
    shown: str
    origins: tuple[Origin, ...]
    issues: tuple[Issue, ...] = ()
    context: QualityFact | BenchFact | None = None


def show(estimate: Estimate, form: str) -> str:
    """A figure with its interval; `form` is a format with the unit, e.g. "{:+.2f} points"."""
    value = _format(form, estimate.value)
    if estimate.low is None or estimate.high is None:
        return value
    bare = form.partition("}")[0] + "}"
    low, high = _format(bare, estimate.low), _format(bare, estimate.high)
    return f"{value} ({low} to {high})"


def _format(form: str, value: float) -> str:
    """Rounded; what rounds to zero has no sign of its own."""
    if math.isinf(value):
        return "unknown"  # an end that too few runs do not tell
    text = form.format(value)
    return text.replace("-", "+", 1) if text.startswith("-") and not text.strip("-0. %x") else text


# ---------------------------------------------------------------- quality


def find_qualities(facts: Facts) -> Sequence[QualityFact]:
    """Those of `compare` where there are any: their data was chosen for it."""
    compared = [fact for fact in facts.qualities if fact.is_compared]
    return compared or facts.qualities


def find_drops(facts: Facts) -> Iterator[Figure]:
    """Accuracy lost, one figure for each data set."""
    for fact in find_qualities(facts):
        drop = fact.quality.drop_points
        if drop is not None:
            estimate = Estimate(drop.value, drop.low, drop.high)
            yield Figure(
                fact.data.sha256, estimate, "points", show(estimate, "{:+.2f} points"),
                (inside(fact.origin, ".drop_points"),), fact.issues, fact,
            )  # fmt: skip


def find_sqnrs(facts: Facts) -> Iterator[Figure]:
    """Of the worst part of the outputs, one figure for each data set."""
    for fact in find_qualities(facts):
        yield _sqnr(fact, worst_sqnr_db(fact.quality), [
            (f".outputs[{place}].parts[{number}]", part.sqnr_db)
            for place, output in enumerate(fact.quality.outputs)
            for number, part in enumerate(output.parts)
        ])  # fmt: skip


def knows_parts(facts: Facts) -> bool | None:
    """Whether the records tell the SQNR of parts: those of edgeq 0.1 do not; None without any."""
    found = [output.parts for fact in find_qualities(facts) for output in fact.quality.outputs]
    return all(found) if found else None


def find_total_sqnrs(facts: Facts) -> Iterator[Figure]:
    """Of the worst whole output, which is all that records of edgeq 0.1 tell."""
    for fact in find_qualities(facts):
        yield _sqnr(fact, total_sqnr_db(fact.quality), [])


def _sqnr(fact: QualityFact, value: float, parts: Sequence[tuple[str, float | None]]) -> Figure:
    """Args: parts: their places in the record; without any, whole outputs are looked at."""
    places = parts or [
        (f".outputs[{place}]", output.sqnr_db) for place, output in enumerate(fact.quality.outputs)
    ]
    worst = (place for place, own in places if own is not None and not own > value)
    place = next(worst, places[0][0])  # where nothing varies, any of them tells that
    origins = (inside(fact.origin, f"{place}.sqnr_db"),)
    doubt = doubt_of_parts(fact.quality)
    if doubt is not None:
        return Figure(fact.data.sha256, None, "dB", str(doubt), origins, fact.issues, fact)
    shown = "identical" if value == math.inf else f"{value:.2f} dB"
    return Figure(fact.data.sha256, Estimate(value), "dB", shown, origins, fact.issues, fact)


# ---------------------------------------------------------------- the file


def find_sizes(facts: Facts) -> Iterator[Figure]:
    """Of the file."""
    for fact in facts.sizes[:1]:  # the digest is the same, so is the size
        value = float(fact.size_bytes)
        yield Figure("", Estimate(value), "bytes", f"{value:,.0f} bytes", (fact.origin,))


# ---------------------------------------------------------------- devices


def find_benches(facts: Facts, device: str | None) -> Iterator[BenchFact]:
    """On one device, or on all."""
    for fact in facts.benches:
        if device in (None, fact.result.facts.device):
            yield fact


def run_of(fact: BenchFact) -> BenchRun:
    """The candidate's run."""
    return fact.result.runs[fact.index]


def _field(fact: BenchFact, path: str) -> Origin:
    return inside(fact.origin, f".runs[{fact.index}]{path}")


def find_latencies(
    share: float, *, is_apart: bool = False
) -> Callable[[Facts, str | None], Iterator[Figure]]:
    """What finds a quantile of the latency, one figure for each measurement.

    Args:
        is_apart: its interval is to be held against that of another run.
    """
    name = f"p{share * 100:.0f}_ms"
    of_p90 = timing.p90_of_another_run if is_apart else timing.p90_interval
    interval_of = timing.p50_interval if share == 0.5 else of_p90

    def find(facts: Facts, device: str | None) -> Iterator[Figure]:
        for fact in find_benches(facts, device):
            run = run_of(fact)
            known = interval_of(run)
            if known is not None:
                estimate = Estimate(known.value, known.low, known.high)
                yield Figure(
                    fact.result.facts.device, estimate, "ms", show(estimate, "{:.4g} ms"),
                    (_field(fact, f".latency.{name}"),), run.issues, fact,
                )  # fmt: skip

    return find


def find_memories(facts: Facts, device: str | None) -> Iterator[Figure]:
    """Peak memory, one figure for each measurement."""
    for fact in find_benches(facts, device):
        run = run_of(fact)
        if run.peak_rss_bytes is not None:
            # A busy or hot machine takes no more memory; an emulator does.
            issues = tuple(issue for issue in run.issues if issue.code == "bench.emulated")
            value = float(run.peak_rss_bytes)
            origin = _field(fact, ".peak_rss_bytes")
            shown = f"{value / 1e6:.2f} MB"
            yield Figure(
                fact.result.facts.device, Estimate(value), "bytes", shown, (origin,), issues, fact
            )


def find_speedups(facts: Facts, device: str | None) -> Iterator[Figure]:
    """Against the first model of the same measurement."""
    for fact in find_benches(facts, device):
        runs, place = fact.result.runs, fact.index - 1
        if place < 0:
            continue  # it is the first model itself
        issues = (*runs[0].issues, *runs[fact.index].issues, *fact.issues)
        origin = inside(fact.origin, f".speedups[{place}]")
        name = fact.result.facts.device
        if place < len(fact.result.speedups):
            ratio = timing.speedup_interval(fact.result, place)
            estimate = Estimate(ratio.value, ratio.low, ratio.high)
            yield Figure(name, estimate, "x", show(estimate, "{:.3g}x"), (origin,), issues, fact)
        else:  # there is none when any run is invalid
            errors = tuple(i for run in runs for i in run.issues if i.severity == "error")
            yield Figure(name, None, "x", "", (origin,), errors or issues, fact)
