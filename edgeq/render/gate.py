"""A gate's verdict as terminal text, Markdown, and JUnit XML."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator

from rich.cells import cell_len, set_cell_size
from rich.console import RenderableType
from rich.text import Text

from edgeq.escaping import markdown
from edgeq.render.parts import harmless, heading, render
from edgeq.values import Finding, GateResult, RuleVerdict

_WORDS = {"pass": "PASS", "fail": "FAIL", "cannot-tell": "CANNOT TELL"}
_STYLES = {"pass": "green", "fail": "red", "cannot-tell": "yellow"}
_ENDS = {
    "pass": "Every rule is met.",
    "fail": "A rule is missed: this model does not ship.",
    "cannot-tell": "A rule cannot be judged, so nothing is proven.",
}


@harmless
def show_gate(result: GateResult) -> str:
    """One line per rule, its reason, and the verdict."""
    model = result.candidate
    against = "" if result.baseline is None else f", against {result.baseline.path}"
    parts: list[RenderableType] = [
        heading(f"{model.path} ({model.sha256[:12]}) by {result.policy.path}{against}"),
        "",
    ]
    # Lines are left whole, since a table would fold names and paths.
    rows = [("", "rule", "figure (95 % interval)", "limit", "from")]
    for rule in result.rules:
        first = rule.findings[0]
        records = ", ".join(dict.fromkeys(origin.record for origin in first.origins)) or "-"
        word = _WORDS[rule.verdict]
        rows.append((word, rule.rule, first.figure or "-", rule.limit, records))
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    styles = ["dim", *(_STYLES[rule.verdict] for rule in result.rules)]
    for row, style in zip(rows, styles, strict=True):
        cells = [set_cell_size(cell, width) for cell, width in zip(row, widths, strict=True)]
        parts.append(Text.assemble((cells[0], style), "  ", "  ".join(cells[1:]).rstrip()))
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


@harmless
def gate_markdown(result: GateResult) -> str:
    """A summary for a pull request, what decides first; names of files cannot become markup."""
    marks = {"fail": ":x:", "cannot-tell": ":grey_question:", "pass": ":white_check_mark:"}
    ranked = sorted(result.rules, key=lambda rule: [*marks].index(rule.verdict))
    decisive = "" if result.verdict == "pass" else f" {markdown(ranked[0].rule)} decides."
    lines = [
        f"### {marks[result.verdict]} edgeq gate: {_WORDS[result.verdict].lower()}",
        "",
        f"{_ENDS[result.verdict]}{decisive} {markdown(result.candidate.path)} "
        f"(`{result.candidate.sha256[:12]}`)",
        "",
        "| | rule | figure (95 % interval) | limit | why |",
        "|---|---|---|---|---|",
    ]
    for rule in ranked:
        first = rule.findings[0]
        why = f"{first.reason}{_accepted(first)}" + (f". {first.remedy}" if first.remedy else "")
        cells = (rule.rule, first.figure, rule.limit, why)
        lines.append(f"| {marks[rule.verdict]} | {' | '.join(map(markdown, cells))} |")
    return "\n".join(lines) + "\n"


@harmless
def gate_junit(result: GateResult) -> str:
    """JUnit XML: a test case for each rule: passed, failed, or skipped if it cannot be judged.

    XML can hold all printable text; it is escaped where necessary.
    """
    counts = {name: sum(rule.verdict == name for rule in result.rules) for name in _WORDS}
    suite = ET.Element(
        "testsuite", name="edgeq gate", tests=str(len(result.rules)),
        failures=str(counts["fail"]), errors="0", skipped=str(counts["cannot-tell"]), time="0",
    )  # fmt: skip
    for rule in result.rules:
        case = ET.SubElement(
            suite, "testcase", classname=result.candidate.path, name=rule.rule, time="0"
        )
        text = "\n".join(line.plain for line in _explain(rule))
        first = rule.findings[0]
        message = f"{_sentence(first)} ({rule.limit})"
        if rule.verdict == "fail":
            ET.SubElement(case, "failure", message=message, type="edgeq.gate").text = text
        elif rule.verdict == "cannot-tell":
            ET.SubElement(case, "skipped", message=message)
        ET.SubElement(case, "system-out").text = text
    ET.indent(suite)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"
