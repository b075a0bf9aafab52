"""`edgeq debug`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeq import api
from edgeq.cli.options import (
    data_options,
    emit,
    guard_output,
    output_options,
    progress_display,
    record_option,
    task_options,
)
from edgeq.cli.words import example
from edgeq.debugging.node_data import node_data
from edgeq.files import storage
from edgeq.render.debugging import show_debug


@click.command(epilog=example("edgeq debug model.keras model.tflite --data test.npz"))
@click.argument("baseline", metavar="FP32", type=click.Path(path_type=Path))
@click.argument("candidate", metavar="INT8", type=click.Path(path_type=Path))
@click.option("--data", required=True, metavar="DATA", help="Samples, best labelled; see convert.")
@click.option(
    "--samples", type=click.IntRange(min=1), default=64, show_default=True, metavar="N",
    help="Number of samples to measure on.",
)  # fmt: skip
@task_options
@data_options
@click.option(
    "--try/--no-try", "try_remedies", default=True, show_default=True,
    help="Convert FP32 again with each remedy, and report what it gains.",
)  # fmt: skip
@click.option("--all", "show_all", is_flag=True, help="Show all layers instead of only the worst.")
@click.option(
    "--explorer", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.json",
    help="Write node data for Model Explorer.",
)  # fmt: skip
@record_option
@output_options
def command(baseline: Path, candidate: Path, **given: Any) -> None:
    """Compare INT8 with FP32 layer by layer: the loss of each layer, its cause, and what helps.

    FP32 is a model for convert, such as a Keras file or a float .tflite; INT8 is the .tflite that
    any tool made from it.
    """
    sources = (baseline, candidate, given["data"], given["labels"])
    guard_output(given["output"], *sources)
    guard_output(given["explorer"], *sources, what="node data, which is JSON", option="--explorer")
    with progress_display() as show:
        result = api.debug(
            baseline,
            candidate,
            given["data"],
            labels=given["labels"],
            metrics=given["metrics"],
            decode=given["decode"],
            preprocess=given["preprocess"] or None,
            samples=given["samples"],
            seed=given["seed"],
            try_remedies=given["try_remedies"],
            on_progress=show,
        )
    if given["explorer"] is not None:
        storage.write_atomically(given["explorer"], node_data(result).encode())
    text = show_debug(result, show_all=given["show_all"])
    emit("debug", result, text, as_json=given["as_json"], output=given["output"])
