"""`edgeq show`."""

from __future__ import annotations

from pathlib import Path

import click

from edgeq.cli.printing import say, show
from edgeq.cli.words import example
from edgeq.records.reading import read_all
from edgeq.render.records import show_record


@click.command(epilog=example("edgeq show compare.json"))
@click.argument(
    "paths", metavar="RECORD...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
def command(paths: tuple[Path, ...]) -> None:
    """Print records, each as the command that wrote it did.

    RECORDs are the .json files that convert and tune write beside a model, and that -o of the other
    commands writes. A .tflite means the record beside it.
    """
    for number, record in enumerate(read_all(paths)):
        if number:
            say()
        show(show_record(record))
