"""`edgeq tune`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click

from edgeq.cli.options import (
    data_options,
    emit,
    output_options,
    progress_display,
    read_source,
    recurrent_option,
    source_options,
    task_options,
)
from edgeq.cli.printing import say, say_written
from edgeq.cli.trust import trust_option, trusting
from edgeq.cli.words import Choice, example
from edgeq.converters.lowering.framework_process import TensorFlowProcess
from edgeq.device_runners.devices.kinds import EXAMPLES
from edgeq.values import OBJECTIVES, ConvertOptions, TuneOptions
from edgeq.values.schemes import SCHEMES


@contextmanager
def _keep_going(output: Path) -> Iterator[None]:
    """Ctrl-C says where the trials are that need not be done again."""
    from edgeq.tuning.journal import journal_path

    try:
        yield
    except KeyboardInterrupt:
        journal = journal_path(output)
        if not journal.exists():
            raise
        say(
            f"Interrupted; no model was written. {journal} has the trials, and the same command "
            "continues.",
            err=True,
        )
        sys.exit(128 + signal.SIGINT)


@click.command(
    epilog=example("edgeq tune model.keras --data samples.npz --max-drop 1 -o model.tflite")
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="OUT.tflite",
    required=True, help="The .tflite to write; its record is written beside it as OUT.tflite.json.",
)  # fmt: skip
@click.option(
    "--data", metavar="DATA", required=True,
    help="Representative dataset (see convert). Without --test-data, its other samples measure.",
)  # fmt: skip
@click.option("--test-data", metavar="DATA", help="Labelled samples to judge trials on.")
@task_options
@click.option(
    "--max-drop", type=float, metavar="POINTS",
    help="The budget: accuracy, or the first --metric, may get worse by at most this many points.",
)  # fmt: skip
@click.option(
    "--min-sqnr", type=float, metavar="DB",
    help="The budget: lowest SQNR of the outputs' worst part; with or without --max-drop.",
)  # fmt: skip
@click.option(
    "--objective", type=Choice(OBJECTIVES), default="latency", show_default=True,
    help="The figure to minimise inside the budget.",
)  # fmt: skip
@click.option(
    "--io", type=Choice(SCHEMES["int8"].io),
    help="Number type of inputs and outputs.  [default: int8]",
)  # fmt: skip
@click.option(
    "--samples", type=click.IntRange(min=1), metavar="N",
    help="Number of calibration samples.  [default: up to 256]",
)  # fmt: skip
@data_options
@click.option(
    "--device", default="local", show_default=True, callback=trusting, metavar="DEVICE",
    help=f"Where latency is measured: {EXAMPLES}, or a name of `edgeq devices`.",
)  # fmt: skip
@trust_option
@click.option(
    "--python", type=click.Path(path_type=Path), help="Interpreter to measure latency with.",
)  # fmt: skip
@click.option("--split-outputs", is_flag=True, help="Split joined outputs; see convert.")
@recurrent_option
@click.option(
    "--jobs", type=click.IntRange(1, 256), metavar="N",
    help="Trials at the same time; one per core by default.",
)  # fmt: skip
@click.option(
    "--cluster", metavar="tcp://HOST:PORT",
    help="Run the trials on a Dask cluster with this scheduler; its workers need edgeq.",
)  # fmt: skip
@click.option(
    "--max-trials", type=click.IntRange(min=1), metavar="N", help="Try at most this many."
)
@source_options
@output_options
def command(model: Path, output: Path, **given: Any) -> None:
    """Find the fastest (or smallest) .tflite of MODEL that loses no more than a budget.

    The files that are tried have all operators in INT8, or some of them in INT16 or float. MODEL is
    a model for convert. After an interruption, the same command continues.
    """
    options = TuneOptions(
        convert=ConvertOptions(
            io=given["io"],
            samples=given["samples"],
            seed=given["seed"],
            max_drop_points=given["max_drop"],
            split_outputs=given["split_outputs"],
            metrics=given["metrics"],
            decode=given["decode"],
            min_sqnr_db=given["min_sqnr"],
            recurrent=given["recurrent"],
            **read_source(given),
        ),
        objective=given["objective"],
        jobs=given["jobs"],
        cluster=given["cluster"],
        max_trials=given["max_trials"],
    )
    with ExitStack() as stack:
        tensorflow = None
        if model.suffix != ".tflite":
            tensorflow = stack.enter_context(TensorFlowProcess(verbose=given["verbose"]))
        from edgeq import api
        from edgeq.render.tuning import show_tuning

        show = stack.enter_context(progress_display())
        stack.enter_context(_keep_going(output))
        result = api.tune(
            model,
            output,
            data=given["data"],
            test_data=given["test_data"],
            labels=given["labels"],
            preprocess=given["preprocess"],
            options=options,
            device=given["device"],
            python=given["python"],
            verbose=given["verbose"],
            on_progress=show,
            tensorflow=tensorflow,
        )
    emit("tune", result, show_tuning(result), as_json=given["as_json"])
    if not given["as_json"]:
        say_written(output)
