"""The verdict and the figures that decide."""

from __future__ import annotations

from collections.abc import Sequence

from edgeq.judging import judge_comparison, worst_sqnr_db
from edgeq.render.parts import plural, show_bytes, show_db, show_sizes
from edgeq.reporting import text
from edgeq.reporting.material import BASELINE, CANDIDATE, Judged, Material
from edgeq.reporting.values import Card, Verdict
from edgeq.values import GateResult, Ratio

_HEADLINES = {
    "ship": "This model can ship.",
    "check": "Not proven yet: look at the reasons below before it ships.",
    "no": "Do not ship this model.",
    "open": "Nothing in these records judges the model's accuracy.",
}
_WORST_FIRST = ("no", "check", "ship")
_GATE_WORDS = {"pass": "ship", "fail": "no", "cannot-tell": "check"}


def find_verdict(material: Material) -> Verdict:
    """The gate's where there is one, else the comparison's, else the conversion's own."""
    compared = _compared(material)
    gates = material.of("gate")
    if not gates:
        return compared
    word = min((_GATE_WORDS[part.value.verdict] for part in gates), key=_WORST_FIRST.index)
    reasons = [reason for part in gates for reason in _gate_reasons(part.value)]
    if compared.word != "open" and _WORST_FIRST.index(compared.word) < _WORST_FIRST.index(word):
        reasons += [f"but {compared.source} alone says {compared.word}", *compared.reasons]
    policies = ", ".join(dict.fromkeys(part.value.policy.path for part in gates))
    return Verdict(word, _HEADLINES[word], tuple(reasons), f"edgeq gate by {policies}")


def _gate_reasons(value: GateResult) -> list[str]:
    rules = value.rules
    kept = sum(rule.verdict == "pass" for rule in rules)
    found = [f"{kept} of {plural(len(rules), 'rule')} kept"]
    for rule in rules:
        if rule.verdict != "pass":
            first = rule.findings[0]
            figure = f"{first.figure}: " if first.figure else ""
            found.append(f"{rule.rule} ({rule.limit}): {figure}{first.reason}")
    return found


def _compared(material: Material) -> Verdict:
    comparisons = material.of("compare")
    if comparisons:
        ranked = sorted(comparisons, key=lambda part: _WORST_FIRST.index(part.value.verdict))
        word = ranked[0].value.verdict
        reasons = [
            f"{part.device}: {reason}" if part.device else reason
            for part in ranked
            for reason in part.value.reasons
        ]
        return Verdict(word, _HEADLINES[word], tuple(dict.fromkeys(reasons)), "edgeq compare")
    judged = material.judged()
    if judged:
        word, reasons_ = judge_comparison(judged[0].quality, None, ())
        return Verdict(word, _HEADLINES[word], reasons_, f"edgeq {judged[0].part.kind}")
    reason = "add the record of edgeq compare, convert with --data, or gate"
    return Verdict("open", _HEADLINES["open"], (reason,), "")


def find_distrust(material: Material) -> str:
    """A sentence when records are degraded or invalid."""
    doubted = [record for record in material.records if record.validity != "valid"]
    if not doubted:
        return ""
    kinds = [
        f"{sum(record.validity == word for record in doubted)} {word}"
        for word in ("invalid", "degraded")
        if any(record.validity == word for record in doubted)
    ]
    return (
        f"Of {plural(len(material.records), 'record')}, {' and '.join(kinds)}: "
        "what is in doubt, and why, is listed under Doubts."
    )


# ---------------------------------------------------------------- cards


def make_cards(material: Material) -> tuple[Card, ...]:
    """Accuracy, outputs, size, and per device latency and memory."""
    cards = []
    judged = material.judged()
    if judged:
        cards += _quality_cards(judged)
    cards += _size_card(material)
    cards += _device_cards(material)
    return tuple(cards)


def _quality_cards(judged: Sequence[Judged]) -> list[Card]:
    with_labels = [item for item in judged if item.quality.drop_points is not None]
    cards = []
    if with_labels:
        item = with_labels[0]
        drop = item.quality.drop_points
        assert drop is not None
        before = item.quality.baseline_accuracy_percent
        after = item.quality.candidate_accuracy_percent
        detail = (
            f"{before:.2f} % to {after:.2f} %; 95 % interval {drop.low:+.2f} to {drop.high:+.2f}; "
            f"{item.label}, {item.samples}"
        )
        tone = text.points(drop).tone
        cards.append(Card("Accuracy drop", f"{drop.value:+.2f} points", detail, tone))
    item = judged[0]
    outputs = plural(len(item.quality.outputs), "output")
    figure = show_db(worst_sqnr_db(item.quality))
    agreement = item.quality.agreement_percent
    same = "" if agreement is None else f"; top-1 {agreement:.1f} % the same"
    cards.append(Card("SQNR", figure, f"of the worst of {outputs}{same}; {item.label}"))
    return cards


def _size_card(material: Material) -> list[Card]:
    sizes = model_sizes(material)
    if sizes is None:
        return []
    before, after = sizes
    if before is None:
        return [Card("Size", show_bytes(after), "")]
    detail = f"{show_bytes(before)} to {show_bytes(after)}"
    return [Card("Size", show_sizes(before / after), detail, "good" if after < before else "bad")]


def model_sizes(material: Material) -> tuple[int | None, int] | None:
    """Bytes of the float `.tflite`, None without one, and of the candidate."""
    candidate = material.subject.candidate
    if candidate is None:
        return None
    for part in material.of("compare"):
        return part.value.baseline.size_bytes, part.value.candidate.size_bytes
    for value in material.made():
        return value.source.file.size_bytes, value.model.file.size_bytes
    for item in material.measured():
        run = item.run(BASELINE)
        if run is not None:
            return run.model.size_bytes, candidate.size_bytes
    return None, candidate.size_bytes


def _device_cards(material: Material) -> list[Card]:
    cards: list[Card] = []
    for item in material.measured():
        run = item.run(CANDIDATE)
        if run is None or any(card.label == f"Latency on {item.device}" for card in cards):
            continue
        label, validity = f"Latency on {item.device}", run.validity
        p50 = text.ms(run.latency.p50_ms).text
        if validity == "invalid":
            codes = ", ".join(issue.code for issue in run.issues if issue.severity == "error")
            cards.append(Card(label, p50, f"invalid, compare it with nothing: {codes}", "bad"))
            continue
        doubt = "" if validity == "valid" else "degraded; "
        if item.speedup is None:
            cards.append(Card(label, p50, f"{doubt}median", "doubt" if doubt else ""))
            continue
        ratio = text.speedup(item.speedup)
        detail = f"{doubt}{p50} median; 95 % interval {_interval(item.speedup)}"
        tone = "doubt" if doubt else ratio.tone
        cards.append(Card(label, ratio.text.split(" (")[0], detail, tone))
    return cards


def _interval(ratio: Ratio) -> str:
    return f"{text.times(ratio.low)} to {text.times(ratio.high)}"
