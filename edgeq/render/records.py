"""Any record as terminal text: the verb's own summary under a line that says what it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.text import Text

from edgeq.comparison.parity import Parity
from edgeq.devices.fleet import Fleet
from edgeq.records.reading import Evaluations, Record
from edgeq.render.bench import show_bench
from edgeq.render.comparison import show_comparison, show_evaluations
from edgeq.render.conversion import show_conversion
from edgeq.render.debugging import show_debug
from edgeq.render.doctor import show_checkup
from edgeq.render.fit import show_fit
from edgeq.render.fleet import show_fleet
from edgeq.render.gate import show_gate
from edgeq.render.inspection import show_inspection
from edgeq.render.parity import show_parity
from edgeq.render.parts import harmless, render
from edgeq.render.profile import show_profile
from edgeq.render.tuning import show_tuning
from edgeq.values import (
    BenchResult,
    Checkup,
    Comparison,
    Conversion,
    DebugReport,
    Fit,
    GateResult,
    Inspection,
    Profile,
    Tuning,
)

# The text of what a record may contain.
TEXTS: dict[type, Callable[[Any], str]] = {
    BenchResult: show_bench,
    Checkup: show_checkup,
    Comparison: show_comparison,
    Conversion: show_conversion,
    DebugReport: show_debug,
    Evaluations: lambda value: show_evaluations(value.evaluations),
    Fit: show_fit,
    Fleet: show_fleet,
    GateResult: show_gate,
    Inspection: show_inspection,
    Parity: show_parity,
    Profile: show_profile,
    Tuning: show_tuning,
}
_STYLES = {"valid": "green", "degraded": "yellow", "invalid": "red"}


@harmless
def show_record(record: Record) -> str:
    """One record, as the verb that wrote it showed it."""
    head = Text(f"{record.path}: {record.kind}, ", "dim")
    head.append(record.validity, _STYLES[record.validity])
    made = record.provenance
    if made is not None:
        head.append(
            f", {made.created} by edgeq {made.edgeq} on {made.system} {made.machine}", "dim"
        )
    return f"{render(head)}\n\n{TEXTS[type(record.value)](record.value)}"
