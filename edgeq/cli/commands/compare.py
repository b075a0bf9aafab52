"""`edgeq compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeq import api
from edgeq.cli.commands.bench import add_latency_options, bench_options
from edgeq.cli.options import (
    data_options,
    guard_output,
    output_options,
    record_option,
    run_on_devices,
    run_options,
    samples_option,
    task_options,
    workers_option,
)
from edgeq.cli.words import example
from edgeq.progress import OnProgress
from edgeq.render.comparison import show_comparison
from edgeq.values import Comparison


@click.command(
    epilog=example("edgeq compare model.keras model.tflite --data test.npz -o compare.json")
)
@click.argument("baseline", metavar="FP32", type=click.Path(path_type=Path))
@click.argument("candidate", metavar="INT8", type=click.Path(path_type=Path))
@click.option("--data", required=True, metavar="DATA", help="Labelled samples; see convert.")
@task_options
@samples_option
@data_options
@click.option("--latency/--no-latency", default=True, help="Measure latency as well.")
@add_latency_options
@run_options
@workers_option
@record_option
@output_options
def command(baseline: Path, candidate: Path, **given: Any) -> None:
    """Compare INT8 with FP32 on the same samples, with a verdict: SHIP, CHECK or NO.

    FP32 is the model that was converted (any model for convert), INT8 is the .tflite.

    Exit status: 0 whatever the verdict is (use gate in CI); 1 if one of several devices failed.
    """
    guard_output(given["output"], baseline, candidate, given["data"], given["labels"])
    options = bench_options(given)

    def work(device: str, show: OnProgress) -> Comparison:
        return api.compare(
            baseline,
            candidate,
            given["data"],
            labels=given["labels"],
            metrics=given["metrics"],
            preprocess=given["preprocess"] or None,
            decode=given["decode"],
            samples=given["samples"],
            seed=given["seed"],
            device=device,
            python=given["python"],
            bench_options=options,
            latency=given["latency"],
            on_progress=show,
            runtime=given["runtime"],
            threads=given["threads"],
            workers=given["workers"],
        )

    run_on_devices("compare", given, work, show_comparison)
