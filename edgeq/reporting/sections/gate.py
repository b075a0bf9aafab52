"""The gate's rules with their figures."""

from __future__ import annotations

from edgeq.reporting.cells import columns
from edgeq.reporting.gathered import Gathered
from edgeq.reporting.values import Block, Cell, Section, Table
from edgeq.values import GateResult

_TONES = {"pass": "good", "cannot-tell": "doubt", "fail": "bad"}


def section(gathered: Gathered) -> Section:
    """Each rule with its figure."""
    blocks: list[Block] = []
    for part in gathered.of("gate"):
        gate: GateResult = part.value
        base = gate.baseline
        against = "" if base is None else f", against {base.path} ({base.sha256[:12]})"
        rows = []
        for rule in gate.rules:
            first = rule.findings[0]
            why = first.reason if first.remedy is None else f"{first.reason}. {first.remedy}"
            word = Cell(rule.verdict.replace("-", " "), None, _TONES[rule.verdict])
            figure = Cell(first.figure or "-", first.value)
            rows.append((Cell(rule.rule), word, figure, Cell(rule.limit), Cell(why)))
        titles = columns("rule", "verdict", "figure", "limit", "why")
        blocks.append(Table(f"By {gate.policy.path}{against}", titles, tuple(rows)))
    return Section("gate", "Gate", "The policy, rule by rule.", tuple(blocks))
