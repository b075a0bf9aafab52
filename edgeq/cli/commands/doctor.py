"""`edgeq doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeq.cli.options import emit, guard_output, output_options, record_option
from edgeq.cli.trust import trust_option, trusting
from edgeq.cli.words import example
from edgeq.devices.doctor import doctor
from edgeq.render.doctor import show_checkup


@click.command(epilog=example("edgeq doctor pi@raspberrypi.local --model model.tflite"))
@click.argument("device", default="local", callback=trusting)
@trust_option
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    metavar="MODEL",
    help="A .tflite that is to run there.",
)
@click.option(
    "--python",
    type=click.Path(path_type=Path),
    help="Interpreter to check, e.g. of an environment with tflite-runtime.",
)
@record_option
@output_options
def command(device: str, **given: Any) -> int:
    """Describe DEVICE (by default this machine), the runtimes that work on it, and what to fix.

    Exit status: 0 when a run is possible there, 1 when it is not.
    """  # fmt: skip
    guard_output(given["output"], given["model"])
    result = doctor(device, given["model"], python=given["python"])
    text = show_checkup(result)
    emit("doctor", result, text, as_json=given["as_json"], output=given["output"])
    return 0 if result.can_run else 1
