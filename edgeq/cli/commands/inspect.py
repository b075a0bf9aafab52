"""`edgeq inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeq.cli.options import emit, guard_output, output_options, record_option
from edgeq.cli.printing import say
from edgeq.cli.words import example
from edgeq.errors import UsageError
from edgeq.inspection.contents import inspect_model
from edgeq.render.inspection import show_inspection


@click.command(epilog=example("edgeq inspect model.tflite"))
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--all", "show_all", is_flag=True, help="Show all operators and tensors.")
@click.option("--explorer", is_flag=True, help="Open the graph in Model Explorer.")
@click.option(
    "--with", "records", multiple=True, type=click.Path(path_type=Path), metavar="RECORD",
    help="Record of debug or profile: colour the graph with it. Repeatable.",
)  # fmt: skip
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    metavar="N",
    help="Port of Model Explorer.  [default: a free one]",
)
@click.option("--no-browser", is_flag=True, help="Print Model Explorer's address only.")
@record_option
@output_options
def command(model: Path, **given: Any) -> None:
    """Show what is inside a .tflite MODEL.

    Operators and their precision, tensors, quantization, signatures, metadata, and which layers the
    bytes belong to; with --explorer, the graph in a browser.
    """
    if not given["explorer"] and (given["records"] or given["port"] or given["no_browser"]):
        raise UsageError(
            "--with, --port and --no-browser are for Model Explorer.", hint="Add --explorer."
        )
    guard_output(given["output"], model, *given["records"])
    result = inspect_model(model)
    if given["explorer"]:
        from edgeq.inspection.explorer import node_data_of, require_explorer
        from edgeq.records.reading import read_all

        require_explorer()
        data = node_data_of(read_all(given["records"]), result.model)
    text = show_inspection(result, show_all=given["show_all"])
    emit("inspect", result, text, as_json=given["as_json"], output=given["output"])
    if given["explorer"]:
        _explore(model, data, given)


def _explore(model: Path, data: tuple[str, ...], given: dict[str, Any]) -> None:
    from edgeq.inspection.explorer import serve

    def show(address: str, is_opened: bool) -> None:
        where = "is open in the browser, and" if is_opened else "is"
        for line in ("", f"Model Explorer {where} at {address}", "Ctrl-C ends it."):
            say(line, err=True)

    try:
        serve(model, data, port=given["port"], opens_browser=not given["no_browser"], on_ready=show)
    except KeyboardInterrupt:
        say("Model Explorer is ended.", err=True)
