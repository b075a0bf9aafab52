"""Everything that makes figures less trustworthy."""

from __future__ import annotations

from collections import Counter

from edgeq.files.storage import find_issues
from edgeq.reporting.gathered import Gathered
from edgeq.reporting.values import Doubt
from edgeq.wording import file_name, plural

_SEVERITIES = ("error", "warning", "note")


def find_doubts(gathered: Gathered) -> tuple[Doubt, ...]:
    """All issues, the gravest first, with the records that have them."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for part in gathered.parts:
        for issue in (*find_issues(part.value), *gathered.inherited(part)):
            key = (issue.severity, issue.code, issue.message)
            found.setdefault(key, []).append(file_name(part.record.path))
    for part in gathered.parts:
        if part.error is not None:
            key = ("error", "", f"{part.device} gave no result: {part.error}")
            found.setdefault(key, []).append(file_name(part.record.path))
    for issue in gathered.subject.notes:
        found.setdefault((issue.severity, issue.code, issue.message), [])
    ordered = sorted(found, key=lambda key: _SEVERITIES.index(key[0]))
    return tuple(Doubt(*key, tuple(dict.fromkeys(found[key]))) for key in ordered)


def find_distrust(gathered: Gathered) -> str:
    """A sentence when records are degraded or invalid, or devices gave no result; "" otherwise."""
    counts = Counter(record.validity for record in gathered.records)
    kinds = [f"{counts[word]} {word}" for word in ("invalid", "degraded") if counts[word]]
    failed = sum(part.error is not None for part in gathered.parts)
    count = plural(len(gathered.records), "record")
    parts = [f"of {count}, {' and '.join(kinds)}"] if kinds else []
    parts += [f"{plural(failed, 'device')} gave no result"] if failed else []
    if not parts:
        return ""
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}: what is in doubt, and why, is listed under Doubts."
