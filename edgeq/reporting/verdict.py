"""The verdict of the records on shipping the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from edgeq.accuracy.verdict import judge_comparison
from edgeq.reporting.gathered import Gathered
from edgeq.reporting.values import Verdict
from edgeq.values import JUDGEMENTS
from edgeq.wording import file_name, plural

_HEADLINES = {
    "ship": "This model can ship.",
    "check": "Not proven yet: look at the reasons below before it ships.",
    "no": "Do not ship this model.",
    "open": "Nothing in these records judges the model's accuracy.",
}
_WORST_FIRST = ("no", "check", "ship")
_GATE_WORDS = {"pass": "ship", "fail": "no", "cannot-tell": "check"}


def find_verdict(gathered: Gathered) -> Verdict:
    """The verdict of the gate; without one of the comparison, or of the conversion.

    It is never better than what the page shows beside it: failed devices, comparisons that no gate
    has judged.
    """
    compared = _compared(gathered)
    failures = [
        ("check", f"{part.device} gave no result: {part.error.rstrip('.')}")
        for part in gathered.parts
        if part.error is not None
    ]
    gates = gathered.of("gate")
    if not gates:
        return _lowered(compared, failures)
    word = min((_GATE_WORDS[part.value.verdict] for part in gates), key=_WORST_FIRST.index)
    reasons, counts = [], []
    for part in gates:
        rules = sorted(part.value.rules, key=lambda rule: JUDGEMENTS.index(rule.verdict))
        kept = sum(rule.verdict == "pass" for rule in rules)
        counts.append(f"{kept} of {plural(len(rules), 'rule')} kept")
        for rule in rules:
            if rule.verdict != "pass":
                first = rule.findings[0]
                figure = f"{first.figure}: " if first.figure else ""
                reasons.append(f"{rule.rule} ({rule.limit}): {figure}{first.reason}")
    reasons += counts  # what decides comes first
    policies = ", ".join(dict.fromkeys(part.value.policy.path for part in gates))
    verdict = Verdict(word, _HEADLINES[word], tuple(reasons), f"edgeq gate, {policies}")
    verdict = _lowered(verdict, [*_unjudged(gathered), *failures])
    if compared.word != "open" and _WORST_FIRST.index(compared.word) < _WORST_FIRST.index(word):
        said = (f"but {compared.source} alone says {compared.word}", *compared.reasons)
        verdict = replace(verdict, reasons=(*verdict.reasons, *said))
    return verdict


def _lowered(verdict: Verdict, problems: Sequence[tuple[str, str]]) -> Verdict:
    """A verdict with problems, each a word and a sentence, that are worse than it."""
    word = verdict.word
    if word != "open":
        word = min((word, *(own for own, _ in problems)), key=_WORST_FIRST.index)
    reasons = (*verdict.reasons, *(sentence for _, sentence in problems))
    return replace(verdict, word=word, headline=_HEADLINES[word], reasons=reasons)


def _unjudged(gathered: Gathered) -> Iterator[tuple[str, str]]:
    """Comparisons on this page that no gate has judged."""
    seen = {digest for part in gathered.of("gate") for _, digest in part.value.records}
    for part in gathered.of("compare"):
        if part.record.sha256 not in seen:
            name = file_name(part.record.path) + (f" on {part.device}" if part.device else "")
            verdict = part.value.verdict
            yield verdict, f"no gate has judged {name}, which says {verdict}"


def _compared(gathered: Gathered) -> Verdict:
    comparisons = gathered.of("compare")
    if comparisons:
        ranked = sorted(comparisons, key=lambda part: _WORST_FIRST.index(part.value.verdict))
        word = ranked[0].value.verdict
        reasons = [
            f"{part.device}: {reason}" if part.device else reason
            for part in ranked
            for reason in part.value.reasons
        ]
        verdict = Verdict(word, _HEADLINES[word], tuple(dict.fromkeys(reasons)), "edgeq compare")
        # Doubts of the conversion that apply to a comparison with the same preprocessing.
        doubts = [
            ("check", f"{issue.message.rstrip('.')} [{issue.code}]")
            for part in comparisons
            for issue in gathered.inherited(part)
        ]
        return _lowered(verdict, [*dict.fromkeys(doubts)])
    for item in gathered.judged():
        word, own = judge_comparison(item.quality, None, item.part.value.issues)
        return Verdict(word, _HEADLINES[word], own, f"edgeq {item.part.kind}")
    reason = "add the record of edgeq compare, convert with --data, or gate"
    return Verdict("open", _HEADLINES["open"], (reason,), "")
