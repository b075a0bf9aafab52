"""`edgeq inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeq.cli.options import emit, guard_output, output_options, record_option
from edgeq.inspection import inspect_model
from edgeq.render.inspection import show_inspection


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--all", "show_all", is_flag=True, help="Show all operators and tensors.")
@record_option
@output_options
def command(model: Path, **given: Any) -> None:
    """Show what is inside a .tflite MODEL.

    Operators and their precision, tensors, quantization, signatures, metadata, and which layers the
    bytes belong to.
    """
    guard_output(given["output"], model)
    result = inspect_model(model)
    text = show_inspection(result, show_all=given["show_all"])
    emit("inspect", result, text, as_json=given["as_json"], output=given["output"])
