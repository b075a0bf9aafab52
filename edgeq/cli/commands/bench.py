"""`edgeq bench`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from edgeq import api
from edgeq.cli.options import (
    guard_output,
    output_options,
    record_option,
    run_on_devices,
    run_options,
)
from edgeq.cli.words import example
from edgeq.errors import UsageError
from edgeq.progress import OnProgress
from edgeq.render.bench import show_bench
from edgeq.values import BenchOptions, BenchResult

latency_options = (
    click.option(
        "--rounds", type=click.IntRange(min=3), metavar="N",
        help="Fresh processes per model; their medians give the intervals. 30 detect a change of "
        "1 % on a quiet machine.  [default: 9, or fewer if they took over twice as long as one]",
    ),
    click.option(
        "--runs", type=click.IntRange(min=1), metavar="N", help="Run exactly this many times."
    ),
    click.option(
        "--min-time", type=click.FloatRange(min=0), default=1.0, show_default=True,
        metavar="SECONDS", help="Measure each model at least this long (200,000 runs at most).",
    ),
    click.option(
        "--max-time", type=click.FloatRange(min=0), default=10.0, show_default=True,
        metavar="SECONDS", help="Stop tightening the interval after this long per model.",
    ),
    click.option(
        "--cores", metavar="big|little|all|0-3|0,2",
        help="Bind the model's threads to these cores; the scheduler chooses by default.",
    ),
)  # fmt: skip


def add_latency_options(command: Any) -> Any:
    """`--rounds`, `--runs`, `--min-time`, `--max-time` and `--cores`."""
    for option in reversed(latency_options):
        command = option(command)
    return command


def bench_options(given: dict[str, Any]) -> BenchOptions:
    """The parsed options as a value.

    Raises:
        UsageError: a time is not a number.
    """
    minutes = given.get("sustained")
    for name in ("min_time", "max_time"):
        if not math.isfinite(given[name]):
            raise UsageError(
                f"--{name.replace('_', '-')} must be a number of seconds, not {given[name]}."
            )
    return BenchOptions(
        threads=given["threads"],
        runs=given["runs"],
        min_time_s=given["min_time"],
        max_time_s=max(given["max_time"], given["min_time"]),
        runtime=given["runtime"],
        cores=given["cores"],
        sustained_s=None if minutes is None else 60 * minutes,
        benchmark_model=given.get("benchmark_model"),
        rounds=given["rounds"],
    )


@click.command(
    epilog=example("edgeq bench model-fp32.tflite model.tflite --device pi@raspberrypi.local")
)
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--data", metavar="DATA", help="Feed its first sample instead of random values.")
@click.option(
    "--preprocess", multiple=True, metavar="SPEC",
    help="How that sample becomes inputs, instead of what the files declare.",
)  # fmt: skip
@click.option(
    "--benchmark-model",
    metavar="PATH",
    help="On adb devices, measure with TensorFlow's benchmark_model: a file on this machine, or an "
    "absolute path on the device.  [default: edgeq's agent; on phones without Python "
    "/data/local/tmp/benchmark_model]",
)
@click.option(
    "--sustained",
    type=click.FloatRange(0, 720, min_open=True),
    metavar="MINUTES",
    help="Run one model for this many minutes: latency, clock and temperature per minute, time to "
    "throttle, and the steady state beside the burst.",
)
@add_latency_options
@run_options
@record_option
@output_options
def command(models: tuple[Path, ...], **given: Any) -> None:
    """Measure latency and memory of .tflite MODELS alternately, so that their ratio is fair.

    The models get random values, or the first sample of --data. With several devices, the exit
    status is 1 if one failed.
    """
    guard_output(given["output"], *models, given["data"])
    options = bench_options(given)

    def work(device: str, show: OnProgress) -> BenchResult:
        return api.bench(
            models,
            device=device,
            python=given["python"],
            options=options,
            data=given["data"],
            preprocess=given["preprocess"] or None,
            on_progress=show,
        )

    run_on_devices("bench", given, work, show_bench)
