"""The figures that decide, one on each card."""

from __future__ import annotations

from collections.abc import Sequence

from edgeq.accuracy.verdict import worst_sqnr_db
from edgeq.reporting import cells
from edgeq.reporting.comparison import model_sizes
from edgeq.reporting.gathered import CANDIDATE, Gathered, Judged
from edgeq.reporting.values import Card
from edgeq.timing import show_ends
from edgeq.wording import plural, show_bytes, show_db, show_ms, show_sizes, side_of_one


def make_cards(gathered: Gathered) -> tuple[Card, ...]:
    """Accuracy, outputs, size, and the latency on each device."""
    cards = []
    judged = gathered.judged()
    if judged:
        cards += _quality_cards(judged, gathered.drop_limit())
    before, after = model_sizes(gathered) or (None, None)
    if after is not None and before is None:
        cards.append(Card("Size", show_bytes(after), ""))
    elif after is not None and before is not None:
        detail = f"{show_bytes(before)} to {show_bytes(after)}"
        tone = cells.TONES[side_of_one(before / after)]
        cards.append(Card("Size", show_sizes(before / after), detail, tone))
    return (*cards, *_device_cards(gathered))


def _quality_cards(judged: Sequence[Judged], limit: float) -> list[Card]:
    """The worst of the comparisons; without any, of the conversions."""
    compared = [item for item in judged if item.part.kind == "compare"] or list(judged)
    drops = [(drop, item) for item in compared if (drop := item.quality.drop_points) is not None]
    cards = []
    if drops:
        drop, item = max(drops, key=lambda found: found[0].value)
        quality = item.quality
        detail = (
            f"{quality.baseline_accuracy_percent:.2f} % to "
            f"{quality.candidate_accuracy_percent:.2f} %; 95 % interval {drop.low:+.2f} to "
            f"{drop.high:+.2f}; {item.label}, {item.samples}{_of_several(len(drops))}"
        )
        tone = cells.points(drop, limit).tone
        cards.append(Card("Accuracy drop", f"{drop.value:+.2f} points", detail, tone))
    item = min(compared, key=lambda item: worst_sqnr_db(item.quality))
    outputs = plural(len(item.quality.outputs), "output")
    agreement = item.quality.agreement_percent
    same = "" if agreement is None else f"; top-1 {agreement:.1f} % the same"
    detail = f"lowest of {outputs}{same}; {item.label}{_of_several(len(compared))}"
    cards.append(Card("SQNR", show_db(worst_sqnr_db(item.quality)), detail))
    return cards


def _of_several(count: int) -> str:
    return f", the worst of {count}" if count > 1 else ""


def _device_cards(gathered: Gathered) -> list[Card]:
    cards: dict[str, Card] = {}
    for item in gathered.measured():
        run, label = item.run(CANDIDATE), f"Latency on {item.device}"
        if run is None or label in cards:
            continue
        p50 = show_ms(run.latency.p50_ms)
        doubt = "degraded; " if run.validity == "degraded" else ""
        if run.validity == "invalid":
            codes = ", ".join(issue.code for issue in run.issues if issue.severity == "error")
            cards[label] = Card(label, p50, f"invalid, compare it with nothing: {codes}", "bad")
        elif item.speedup is None:
            cards[label] = Card(label, p50, f"{doubt}median", "doubt" if doubt else "")
        else:
            ratio = cells.speedup(item.speedup)
            _, low, high = show_ends(item.speedup)
            detail = f"{doubt}{p50} median; 95 % interval {low}x to {high}x"
            tone = "doubt" if doubt else ratio.tone
            cards[label] = Card(label, ratio.text.split(" (")[0], detail, tone)
    return list(cards.values())
