"""`edgeq eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeq import api
from edgeq.cli.options import (
    data_options,
    guard_output,
    input_options,
    output_options,
    read_inputs,
    record_option,
    run_on_devices,
    run_options,
    samples_option,
    task_options,
    workers_option,
)
from edgeq.cli.words import example
from edgeq.progress import OnProgress
from edgeq.render.comparison import show_evaluations
from edgeq.values import Evaluation


@click.command(epilog=example("edgeq eval model.keras model.tflite --data test.npz"))
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--data", required=True, metavar="DATA", help="Labelled samples; see convert.")
@task_options
@samples_option
@data_options
@input_options
@run_options
@workers_option
@record_option
@output_options
def command(models: tuple[Path, ...], **given: Any) -> None:
    """Measure the accuracy of MODELS, or another metric, on labelled data.

    MODELS are .tflite files, or models for convert.
    """
    inputs = read_inputs(given)
    guard_output(given["output"], *models, given["data"], given["labels"])

    def work(device: str, show: OnProgress) -> tuple[Evaluation, ...]:
        return api.evaluate(
            models,
            given["data"],
            labels=given["labels"],
            metrics=given["metrics"],
            preprocess=given["preprocess"] or None,
            decode=given["decode"],
            samples=given["samples"],
            seed=given["seed"],
            device=device,
            python=given["python"],
            on_progress=show,
            runtime=given["runtime"],
            threads=given["threads"],
            workers=given["workers"],
            **inputs,
        )

    run_on_devices("eval", given, work, show_evaluations)
