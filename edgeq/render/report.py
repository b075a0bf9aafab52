"""A report as a page, as Markdown for a pull request's comment, or as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgeq.errors import UsageError
from edgeq.escaping import json_text, markdown, markdown_code
from edgeq.files import storage
from edgeq.render.page import report_html
from edgeq.reporting.values import Report, Table

_MARKS = {
    "ship": ":white_check_mark:",
    "check": ":warning:",
    "no": ":x:",
    "open": ":grey_question:",
}
# GitHub takes 65,536 characters in a comment.
_LONGEST = 60_000
_MOST_ROWS = 40


FORMATS = ("html", "md", "json")


def format_of(path: Path | None) -> str:
    """The format of a file's ending.

    Raises:
        UsageError: no format has such an ending.
    """
    ending = "" if path is None else path.suffix.lower().removeprefix(".")
    found = {"htm": "html", "markdown": "md"}.get(ending, ending)
    if found not in FORMATS:
        raise UsageError(
            f"-o {path} has an ending that no report has.",
            hint="Name a file that ends in .html, .md or .json, or pass --format.",
        )
    return found


def write_report(report: Report, path: str | Path, form: str | None = None) -> None:
    """Write a report, whole or not at all.

    Args:
        form: one of `FORMATS`; by default the file's ending decides.

    Raises:
        OutputError: it cannot be written.
    """
    target = Path(path)
    content = render_report(report, form or format_of(target))
    storage.write_atomically(target, content.encode("utf-8", "backslashreplace"))


def render_report(report: Report, form: str) -> str:
    """A report in one of `FORMATS`."""
    if form == "json":
        return json_text(storage.to_plain(report)) + "\n"
    return report_markdown(report) if form == "md" else report_html(report)


def report_markdown(report: Report) -> str:
    """The verdict, the comparison, the worst layers and the doubts; names cannot become markup."""
    text = "\n".join(_lines(report)) + "\n"
    if len(text) <= _LONGEST:
        return text
    cut = text[:_LONGEST].rsplit("\n", 1)[0]
    return f"{cut}\n\nThe rest is left out here; the HTML report is complete.\n"


def _lines(report: Report) -> Iterator[str]:
    verdict = report.verdict
    yield f"### {_MARKS[verdict.word]} {markdown(report.title)}: {verdict.word}"
    yield ""
    source = f" Judged by {markdown(verdict.source)}." if verdict.source else ""
    yield f"{markdown(verdict.headline)}{source}"
    yield ""
    yield from (f"- {markdown(reason)}" for reason in verdict.reasons)
    if report.distrust:
        yield from ("", f"> {markdown(report.distrust)}")
    if report.comparison.rows:
        yield from ("", *_table(report.comparison))
    for section in report.sections:
        if section.id == "gate":
            for block in section.blocks:
                if isinstance(block, Table):
                    yield from ("", *_table(block))
    if report.culprits:
        yield from ("", "**Layers that cost most**", "")
        for number, item in enumerate(report.culprits, 1):
            name = f"{markdown(item.name)} ({markdown(item.operator)})"
            cause = markdown(f"{item.cause}; {item.figures}")
            yield f"{number}. {name}: {cause}. Try: {markdown_code(item.remedy)}"
    if report.doubts:
        yield from ("", "**Doubts**", "")
        for doubt in report.doubts[:_MOST_ROWS]:
            code = f" ({markdown(doubt.code)})" if doubt.code else ""
            yield f"- {doubt.severity}: {markdown(doubt.message)}{code}"
    yield from ("", f"<sub>edgeq {report.edgeq}, from records</sub>")


def _table(table: Table) -> Iterator[str]:
    yield "| " + " | ".join(markdown(column.title) for column in table.columns) + " |"
    yield "|" + "|".join("---:" if column.is_number else "---" for column in table.columns) + "|"
    for row in table.rows[:_MOST_ROWS]:
        yield "| " + " | ".join(markdown(cell.text) for cell in row) + " |"
    if len(table.rows) > _MOST_ROWS:
        yield f"\nand {len(table.rows) - _MOST_ROWS} more rows, in the HTML report"
