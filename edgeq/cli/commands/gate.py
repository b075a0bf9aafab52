"""`edgeq gate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeq.cli.options import emit, guard_output, output_options, record_option
from edgeq.cli.words import example
from edgeq.files import storage
from edgeq.gating.gate import gate
from edgeq.records.reading import record_file
from edgeq.render.gate import gate_junit, gate_markdown, show_gate

_STATUS = {"pass": 0, "fail": 3, "cannot-tell": 4}
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(epilog=example("edgeq gate model.tflite.json compare.json --policy edgeq.toml"))
@click.argument(
    "paths", metavar="RECORD...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--policy", type=click.Path(path_type=Path), default=Path("edgeq.toml"), show_default=True,
    metavar="FILE", help="The file with the limits, in its [policy].",
)  # fmt: skip
@click.option(
    "--baseline", "baselines", multiple=True, type=click.Path(path_type=Path), metavar="RECORD",
    help="Records of the model that must not be better, such as the last release. Repeatable.",
)  # fmt: skip
@click.option("--junit", type=_FILE, metavar="FILE.xml", help="Write JUnit XML.")
@click.option("--markdown", type=_FILE, metavar="FILE.md", help="Write a summary as Markdown.")
@record_option
@output_options
def command(paths: tuple[Path, ...], **given: Any) -> int:
    """Check the RECORDs of one model against the limits that a policy file sets.

    A .tflite as a RECORD means the record beside it.

    Exit status: 0 if every rule passes, 3 if one fails, 4 if none fails and one cannot be judged:
    its figure is missing, unreliable or not comparable.
    """
    read = (*paths, *given["baselines"])
    sources = (*read, *map(record_file, read), given["policy"])
    guard_output(given["output"], *sources)
    guard_output(given["junit"], *sources, ending=".xml", what="XML", option="--junit")
    guard_output(given["markdown"], *sources, ending=".md", what="Markdown", option="--markdown")
    result = gate(paths, given["policy"], baseline=given["baselines"])
    for output, write in ((given["junit"], gate_junit), (given["markdown"], gate_markdown)):
        if output is not None:
            storage.write_atomically(output, write(result).encode("utf-8", "backslashreplace"))
    text = show_gate(result)
    emit("gate", result, text, as_json=given["as_json"], output=given["output"])
    return _STATUS[result.verdict]
