"""A gate's verdict as terminal text, Markdown, and JUnit XML."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from edgeq.render.parts import heading, render
from edgeq.values import Finding, GateResult, RuleVerdict

_WORDS = {"pass": "PASS", "fail": "FAIL", "cannot-tell": "CANNOT TELL"}
_STYLES = {"pass": "green", "fail": "red", "cannot-tell": "yellow"}
_ENDS = {
    "pass": "Every rule is kept.",
    "fail": "A rule is missed: this model does not ship.",
    "cannot-tell": "A rule cannot be judged, so nothing is proven.",
}
_NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def show_gate(result: GateResult) -> str:
    """One line per rule, its reason, and the verdict."""
    model = result.candidate
    against = "" if result.baseline is None else f", against {result.baseline.path}"
    parts: list[RenderableType] = [
        heading(f"{model.path} ({model.sha256[:12]}) by {result.policy.path}{against}"),
        "",
    ]
    table = Table.grid(padding=(0, 2))
    for rule in result.rules:
        first = rule.findings[0]
        table.add_row(
            Text(_WORDS[rule.verdict], _STYLES[rule.verdict]), Text(rule.rule), Text(first.figure),
            Text(rule.limit),
        )  # fmt: skip
    parts.append(table)
    for rule in result.rules:
        if rule.verdict != "pass" or any(finding.accepted for finding in rule.findings):
            parts += ["", *_explain(rule)]
    if result.unused:
        parts += ["", Text(f"Not used: {', '.join(result.unused)}", "dim")]
    last = f"{_WORDS[result.verdict]}: {_ENDS[result.verdict]}"
    return render(*parts, "", Text(last, _STYLES[result.verdict]))


def _explain(rule: RuleVerdict) -> Iterator[Text]:
    line = "" if rule.line is None else f", line {rule.line}"
    yield Text(f"{rule.rule} ({rule.limit}{line}):")
    for finding in rule.findings:
        yield Text(f"  {_sentence(finding)}")
        for origin in finding.origins:
            yield Text(f"    {origin.record}: {origin.json_path}", "dim")
        if finding.remedy is not None:
            yield Text(f"    {finding.remedy}")


def _sentence(finding: Finding) -> str:
    where = f"{finding.subject}: " if finding.unit in ("ms", "x") else ""
    figure = f"{finding.figure}: " if finding.figure else ""
    return f"{where}{figure}{finding.reason}{_accepted(finding)}"


def _accepted(finding: Finding) -> str:
    return f" (accepted: {', '.join(finding.accepted)})" if finding.accepted else ""


def gate_markdown(result: GateResult) -> str:
    """A summary for a pull request; names of files cannot become markup."""
    marks = {"pass": ":white_check_mark:", "fail": ":x:", "cannot-tell": ":grey_question:"}
    lines = [
        f"### {marks[result.verdict]} edgeq gate: {_WORDS[result.verdict].lower()}",
        "",
        f"{_cell(result.candidate.path)} (`{result.candidate.sha256[:12]}`). "
        f"{_ENDS[result.verdict]}",
        "",
        "| | rule | figure | limit | why |",
        "|---|---|---|---|---|",
    ]
    for rule in result.rules:
        first = rule.findings[0]
        cells = (rule.rule, first.figure, rule.limit, first.reason + _accepted(first))
        lines.append(f"| {marks[rule.verdict]} | {' | '.join(map(_cell, cells))} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """Text that stays text: no cell ends, no HTML, no code, no mention."""
    flat = " ".join(text.split())
    escaped = re.sub(r"([\\`*_\[\]|~#])", r"\\\1", flat)
    escaped = escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return escaped.replace("@", "@&#8203;")


def gate_junit(result: GateResult) -> str:
    """JUnit XML: a test case for each rule, a failure where one is missed, else skipped."""
    counts = {name: sum(rule.verdict == name for rule in result.rules) for name in _WORDS}
    suite = ET.Element(
        "testsuite", name="edgeq gate", tests=str(len(result.rules)),
        failures=str(counts["fail"]), errors="0", skipped=str(counts["cannot-tell"]), time="0",
    )  # fmt: skip
    for rule in result.rules:
        case = ET.SubElement(
            suite, "testcase", classname=_xml(result.candidate.path), name=_xml(rule.rule), time="0"
        )
        text = "\n".join(line.plain for line in _explain(rule))
        first = rule.findings[0]
        message = _xml(f"{_sentence(first)} ({rule.limit})")
        if rule.verdict == "fail":
            ET.SubElement(case, "failure", message=message, type="edgeq.gate").text = _xml(text)
        elif rule.verdict == "cannot-tell":
            ET.SubElement(case, "skipped", message=message)
        ET.SubElement(case, "system-out").text = _xml(text)
    ET.indent(suite)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _xml(text: str) -> str:
    """Without the characters that XML cannot hold, not even escaped."""
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
