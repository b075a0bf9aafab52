"""`edgeq profile`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeq.cli.options import (
    emit,
    guard_output,
    output_options,
    progress_display,
    record_option,
)
from edgeq.cli.trust import trust_option, trusting
from edgeq.cli.words import example
from edgeq.device_runners.devices.kinds import EXAMPLES
from edgeq.profiling.operator_times import profile
from edgeq.render.profile import show_profile


@click.command(epilog=example("edgeq profile model-fp32.tflite model.tflite"))
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("second", required=False, type=click.Path(path_type=Path))
@click.option(
    "--device",
    default="local",
    show_default=True,
    callback=trusting,
    metavar="DEVICE",
    help=f"Where to measure: {EXAMPLES}, or a name of `edgeq devices`.",
)
@trust_option
@click.option(
    "--python", type=click.Path(path_type=Path), help="Interpreter that has ai-edge-litert."
)
@click.option(
    "--threads",
    default=1,
    show_default=True,
    type=click.IntRange(1, 256),
    metavar="N",
    help="Threads that compute one inference.",
)
@click.option(
    "--runs", default=60, show_default=True, type=click.IntRange(1, 10000), metavar="N",
    help="Inferences of each model, alternating between the models.",
)  # fmt: skip
@click.option("--all", "show_all", is_flag=True, help="Show all operators, not the longest only.")
@record_option
@output_options
def command(model: Path, second: Path | None, **given: Any) -> None:
    """Measure the time of each operator of a .tflite MODEL.

    With a SECOND one of the same network, such as FP32 beside INT8 (in either order), layers are
    side by side, and the figures say where INT8 gains nothing.
    """
    models = [model] if second is None else [model, second]
    guard_output(given["output"], *models)
    with progress_display() as show:
        result = profile(
            models,
            device=given["device"],
            python=given["python"],
            threads=given["threads"],
            runs=given["runs"],
            on_progress=show,
        )
    text = show_profile(result, show_all=given["show_all"])
    emit("profile", result, text, as_json=given["as_json"], output=given["output"])
