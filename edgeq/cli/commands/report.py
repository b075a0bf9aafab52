"""`edgeq report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from edgeq.cli.options import guard_output
from edgeq.cli.printing import hand_over, say
from edgeq.cli.words import Choice, example
from edgeq.errors import UsageError

FORMATS = ("html", "md", "json")


@click.command(epilog=example("edgeq report model.tflite.json compare.json -o report.html"))
@click.argument(
    "paths", metavar="RECORD...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="File to write, - for stdout; without it, Markdown and JSON are printed.",
)  # fmt: skip
@click.option(
    "--format", "form", type=Choice(FORMATS),
    help="A page, a comment for a pull request, or its content as JSON.  [default: by the ending "
    "of -o, or html]",
)  # fmt: skip
@click.option("--trends", is_flag=True, help="Add figures over time from the history.")
@click.option(
    "--database", type=click.Path(path_type=Path, dir_okay=False), metavar="PATH",
    help="The history to use for --trends, which this implies.",
)  # fmt: skip
def command(
    paths: tuple[Path, ...],
    output: Path | None,
    form: str | None,
    trends: bool,
    database: Path | None,
) -> None:
    """Put the RECORDs of one model on one page, the verdict first.

    Records of all commands, in any number; a .tflite means the record beside it. Nothing is
    measured. The page is one file that needs no network.
    """
    from edgeq.render.report import format_of, render_report, write_report
    from edgeq.reporting import make_report

    if output == Path("-"):
        output, form = None, form or "html"
    elif output is None and form in (None, "html"):
        raise UsageError("A page needs a file.", hint="Name one: -o report.html; or - for stdout.")
    chosen = form or format_of(output)
    sources = (*_named_in(paths), database)
    # Without --format the ending chose: .htm is one of HTML, too.
    ending = f".{form}" if form or output is None else output.suffix.lower()
    guard_output(output, *sources, ending=ending, what=f"a report in the format {chosen}")
    report = make_report(paths, trends=trends or database is not None, history=database)
    if output is None:
        hand_over(render_report(report, chosen))
        return
    write_report(report, output, chosen)
    verdict = report.verdict
    say(f"{verdict.word.upper()}: {verdict.headline}")
    say(f"Wrote {output}")


def _named_in(paths: Sequence[Path]) -> list[str]:
    """Records, and models, policies and data that they name: no output may replace them."""
    from edgeq.records.reading import find_files, read_all
    from edgeq.values import FileRef

    records = read_all(paths)
    found = (item for record in records for item in find_files(record.value))
    named = [item.path if isinstance(item, FileRef) else item.source for item in found]
    return [*(record.path for record in records), *named, *map(str, paths)]
