"""The verdict and the figures that decide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from edgeq import timing
from edgeq.accuracy.verdict import judge_comparison, worst_sqnr_db
from edgeq.gating.feeding import inherited_doubts
from edgeq.render.parts import plural, show_bytes, show_db, show_sizes
from edgeq.reporting import text
from edgeq.reporting.gathered import BASELINE, CANDIDATE, Judged, Material
from edgeq.reporting.subject import Part
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
    """The gate's where there is one, else the comparison's, else the conversion's own; and never
    better than what stands on the page beside it.
    """
    compared = _compared(material)
    gates = material.of("gate")
    if not gates:
        return _lowered(compared, [*_failures(material)])
    word = min((_GATE_WORDS[part.value.verdict] for part in gates), key=_WORST_FIRST.index)
    reasons = [reason for part in gates for reason in _gate_reasons(part.value)]
    policies = ", ".join(dict.fromkeys(part.value.policy.path for part in gates))
    verdict = Verdict(word, _HEADLINES[word], tuple(reasons), f"edgeq gate, {policies}")
    verdict = _lowered(verdict, [*_unjudged(material), *_failures(material)])
    if _is_worse(compared.word, word):
        said = (f"but {compared.source} alone says {compared.word}", *compared.reasons)
        verdict = replace(verdict, reasons=(*verdict.reasons, *said))
    return verdict


def _is_worse(one: str, other: str) -> bool:
    return one != "open" and _WORST_FIRST.index(one) < _WORST_FIRST.index(other)


def _lowered(verdict: Verdict, problems: Sequence[tuple[str, str]]) -> Verdict:
    """With problems, each a word and a sentence, that are worse than it."""
    words = [verdict.word, *(word for word, _ in problems)]
    known = [word for word in words if word != "open"]
    word = min(known, key=_WORST_FIRST.index) if known else verdict.word
    if verdict.word == "open":
        word = "open"
    reasons = (*verdict.reasons, *(text for _, text in problems))
    return replace(verdict, word=word, headline=_HEADLINES[word], reasons=reasons)


def _unjudged(material: Material) -> Iterator[tuple[str, str]]:
    """Comparisons on this page that no gate has seen."""
    seen = {digest for part in material.of("gate") for _, digest in part.value.records}
    for part in material.of("compare"):
        if part.record.sha256 not in seen:
            text = f"no gate has judged {_record_name(part)}, which says {part.value.verdict}"
            yield part.value.verdict, text


def _failures(material: Material) -> Iterator[tuple[str, str]]:
    """Devices that gave no result."""
    for part in material.parts:
        if part.error is not None:
            yield "check", f"{part.device} gave no result: {part.error.rstrip('.')}"


def _record_name(part: Part) -> str:
    """For a sentence; with its device where the record has several."""
    name = text.base(part.record.path)
    return f"{name} on {part.device}" if part.device else name


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
        verdict = Verdict(word, _HEADLINES[word], tuple(dict.fromkeys(reasons)), "edgeq compare")
        return _lowered(verdict, [*dict.fromkeys(_inherited(material, comparisons))])
    judged = material.judged()
    if judged:
        item = judged[0]
        word, own = judge_comparison(item.quality, None, item.part.value.issues)
        return Verdict(word, _HEADLINES[word], own, f"edgeq {item.part.kind}")
    reason = "add the record of edgeq compare, convert with --data, or gate"
    return Verdict("open", _HEADLINES["open"], (reason,), "")


def _inherited(material: Material, comparisons: Sequence[Part]) -> Iterator[tuple[str, str]]:
    """What the record of the conversion says against a comparison that was fed alike."""
    for part in comparisons:
        value = part.value
        for issue in inherited_doubts(value.data, value.preprocessing, material.made()):
            yield "check", f"{issue.message.rstrip('.')} [{issue.code}]"


def find_distrust(material: Material) -> str:
    """A sentence when records are degraded or invalid, or devices gave no result."""
    counts = Counter(record.validity for record in material.records if record.validity != "valid")
    kinds = [f"{counts[word]} {word}" for word in ("invalid", "degraded") if counts[word]]
    failed = sum(part.error is not None for part in material.parts)
    parts = (
        [f"of {plural(len(material.records), 'record')}, {' and '.join(kinds)}"] if kinds else []
    )
    parts += [f"{plural(failed, 'device')} gave no result"] if failed else []
    if not parts:
        return ""
    said = "; ".join(parts)
    return f"{said[0].upper()}{said[1:]}: what is in doubt, and why, is listed under Doubts."


# ---------------------------------------------------------------- cards


def make_cards(material: Material) -> tuple[Card, ...]:
    """Accuracy, outputs, size, and per device latency and memory."""
    cards = []
    judged = material.judged()
    if judged:
        cards += _quality_cards(judged, material.drop_limit())
    cards += _size_card(material)
    cards += _device_cards(material)
    return tuple(cards)


def _quality_cards(judged: Sequence[Judged], limit: float) -> list[Card]:
    """The worst of the comparisons; without any, of the conversion."""
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
        tone = text.points(drop, limit).tone
        cards.append(Card("Accuracy drop", f"{drop.value:+.2f} points", detail, tone))
    item = min(compared, key=lambda item: worst_sqnr_db(item.quality))
    outputs = plural(len(item.quality.outputs), "output")
    figure = show_db(worst_sqnr_db(item.quality))
    agreement = item.quality.agreement_percent
    same = "" if agreement is None else f"; top-1 {agreement:.1f} % the same"
    detail = f"of the worst of {outputs}{same}; {item.label}{_of_several(len(compared))}"
    cards.append(Card("SQNR", figure, detail))
    return cards


def _of_several(count: int) -> str:
    return f", the worst of {count}" if count > 1 else ""


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
    _, low, high = timing.show_ends(ratio)
    return f"{low}x to {high}x"
