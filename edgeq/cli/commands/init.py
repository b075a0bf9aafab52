"""`edgeq init`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from edgeq.cli.options import progress_display, read_source, source_options
from edgeq.cli.printing import hand_over, say
from edgeq.cli.words import example
from edgeq.device_runners.devices.registry import PROJECT_FILE
from edgeq.files import storage
from edgeq.pipeline.init_project import look_at, require_new, write_outline
from edgeq.values import ConvertOptions

STDOUT = Path("-")


@click.command(epilog=example("edgeq init model.keras --data samples.npz --test-data test.npz"))
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--data", metavar="DATA", help="Representative dataset; see convert.")
@click.option("--test-data", metavar="DATA", help="Labelled samples; see convert.")
@click.option(
    "--preprocess", multiple=True, metavar="SPEC",
    help="How raw samples become inputs; see convert.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), default=Path(PROJECT_FILE),
    show_default=True, metavar="FILE", help="Where to write; - is stdout.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace an existing file.")
@source_options
def command(model: Path, output: Path, force: bool, **given: Any) -> None:
    """Write a commented edgeq.toml for MODEL, ready for edgeq run except for the data.

    MODEL is a model for convert; its inputs and outputs are read.
    """
    if output != STDOUT:
        require_new(output, model, force)
    options = ConvertOptions(**read_source(given))
    with progress_display() as show:
        show("read the model", 0, None)
        outline = look_at(model, given["preprocess"], options)
    text = write_outline(
        outline,
        model,
        output.parent,
        data=given["data"],
        test_data=given["test_data"],
        options=options,
    )
    if output == STDOUT:
        hand_over(text)
        return
    storage.write_atomically(output, text.encode())
    say(f"Wrote {output}.")
    say(_what_next(output, outline.trained is not None, given["data"], given["test_data"]))


def _what_next(output: Path, is_trained: bool, data: str | None, test_data: str | None) -> str:
    file = "" if output == Path(PROJECT_FILE) else f" --file {shlex.quote(str(output))}"
    first = "baseline" if is_trained else "calibration" if data is None else ""
    missing = [key for key in (first, "" if test_data else "test") if key]
    fill = f"Fill in {' and '.join(missing)}, then: " if missing else "Next: "
    return f"{fill}edgeq run{file}"
