"""Records in, one `Report` out: every section in the order of the page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeq.escaping import clean
from edgeq.records.reading import read_all
from edgeq.reporting import text
from edgeq.reporting.accuracy import accuracy_section, make_comparison
from edgeq.reporting.gathered import gather
from edgeq.reporting.how_made import calibration_section, certificate_section, search_section
from edgeq.reporting.latency import latency_section, sustained_section
from edgeq.reporting.layers import find_culprits, layers_section, operators_section
from edgeq.reporting.provenance import (
    devices_section,
    find_doubts,
    gate_section,
    parity_section,
    provenance_section,
)
from edgeq.reporting.trends import trend_section
from edgeq.reporting.values import Report
from edgeq.reporting.verdict import find_distrust, find_verdict, make_cards
from edgeq.version import VERSION

_SECTIONS = (
    gate_section,
    accuracy_section,
    latency_section,
    sustained_section,
    layers_section,
    operators_section,
    calibration_section,
    certificate_section,
    search_section,
    parity_section,
    devices_section,
)


def make_report(
    paths: Sequence[str | Path], *, trends: bool = False, history: str | Path | None = None
) -> Report:
    """Gather the records of one model into one value; nothing is measured.

    Args:
        paths: of records, of any kinds and devices.
        trends: whether to add figures over time from a history.
        history: its database; None for the one that `edgeq history` uses.

    Raises:
        RecordError: no record, or records of different models.
        HistoryError: the history is not there, or cannot be read.
    """
    material = gather(read_all([Path(path) for path in paths]))
    sections = [made for make in _SECTIONS if (made := make(material)) is not None]
    if trends:
        over_time = trend_section(material, None if history is None else Path(history))
        sections += [] if over_time is None else [over_time]
    sections.append(provenance_section(material))
    subject = material.subject
    candidate = "" if subject.candidate is None else subject.candidate.path
    report = Report(
        title=text.base(candidate) or "edgeq report",
        candidate=candidate,
        baseline="" if subject.baseline is None else subject.baseline.path,
        verdict=find_verdict(material),
        distrust=find_distrust(material),
        cards=make_cards(material),
        comparison=make_comparison(material),
        culprits=find_culprits(material),
        doubts=find_doubts(material),
        sections=tuple(sections),
        edgeq=VERSION,
    )
    cleaned = clean(report)
    assert isinstance(cleaned, Report)
    return cleaned
