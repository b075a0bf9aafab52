"""Records in, one `Report` out: every section in the order of the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeq.escaping import clean
from edgeq.records.reading import read_all
from edgeq.reporting.cards import make_cards
from edgeq.reporting.comparison import make_comparison
from edgeq.reporting.doubts import find_distrust, find_doubts
from edgeq.reporting.gathered import gather
from edgeq.reporting.sections import (
    accuracy,
    calibration,
    certificate,
    devices,
    fit,
    gate,
    latency,
    layers,
    operators,
    parity,
    provenance,
    search,
    sustained,
)
from edgeq.reporting.sections import history as over_time
from edgeq.reporting.values import Report
from edgeq.reporting.verdict import find_verdict
from edgeq.version import VERSION
from edgeq.wording import file_name

# In the order of the page; a section without blocks is left out.
_SECTIONS = (
    gate.section,
    accuracy.section,
    latency.section,
    sustained.section,
    fit.section,
    layers.section,
    operators.section,
    calibration.section,
    certificate.section,
    search.section,
    parity.section,
    devices.section,
)


def make_report(paths: Any, *, trends: bool = False, history: str | Path | None = None) -> Report:
    """Gather the records of one model into one value; nothing is measured.

    Args:
        paths: of records, or results of edgeq's functions; one or several, of any kinds and
            devices.
        trends: whether to add figures over time from a history.
        history: its database; None for the one that `edgeq history` uses.

    Raises:
        RecordError: there is no record, or they are about different models.
        HistoryError: the history does not exist, or cannot be read.
    """
    gathered = gather(read_all(paths))
    sections = [made for make in _SECTIONS if (made := make(gathered)).blocks]
    if trends:
        trend = over_time.section(gathered, None if history is None else Path(history))
        sections += [] if trend is None else [trend]
    sections.append(provenance.section(gathered))
    subject = gathered.subject
    candidate = "" if subject.candidate is None else subject.candidate.path
    report = Report(
        title=file_name(candidate) or "edgeq report",
        candidate=candidate,
        baseline="" if subject.baseline is None else subject.baseline.path,
        verdict=find_verdict(gathered),
        distrust=find_distrust(gathered),
        cards=make_cards(gathered),
        comparison=make_comparison(gathered),
        culprits=layers.find_culprits(gathered),
        doubts=find_doubts(gathered),
        sections=tuple(sections),
        edgeq=VERSION,
    )
    cleaned = clean(report)
    assert isinstance(cleaned, Report)
    return cleaned
