"""`edgeq parity`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeq.cli.options import (
    data_options,
    emit,
    guard_output,
    output_options,
    progress_display,
    record_option,
    runtime_option,
)
from edgeq.cli.trust import trust_option, trusting
from edgeq.cli.words import example
from edgeq.comparison.parity import APART, parity
from edgeq.devices.fleet import split_names
from edgeq.render.parity import show_parity


@click.command(
    epilog=example("edgeq parity model.tflite --data test.npz --devices pi@raspberrypi.local")
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--data", required=True, metavar="DATA", help="Samples; see convert.")
@click.option(
    "--samples", type=click.IntRange(min=1), default=200, show_default=True, metavar="N",
    help="Number of samples that each device gets.",
)  # fmt: skip
@click.option(
    "--devices", "--device", "devices", multiple=True, default=("local",), show_default=True,
    metavar="DEVICE,...", callback=trusting,
    help="Devices to check besides this machine; see bench --device.",
)  # fmt: skip
@trust_option
@runtime_option
@click.option(
    "--python", type=click.Path(path_type=Path),
    help="Interpreter of this machine, e.g. of an environment with tflite-runtime.",
)  # fmt: skip
@data_options
@record_option
@output_options
def command(model: Path, **given: Any) -> None:
    """Check whether devices and other kernels compute the same values as XNNPACK here.

    Exit status: 0 if the outputs of each device are at most one step of their integers apart, 1 if
    they are further apart or a device fails. Other kernels of this machine are shown, and do not
    change the status.
    """
    guard_output(given["output"], model, given["data"])
    names = split_names(given["devices"])
    with progress_display() as show:
        result = parity(
            model,
            given["data"],
            devices=names,
            samples=given["samples"],
            seed=given["seed"],
            preprocess=given["preprocess"] or None,
            runtime=given["runtime"],
            python=given["python"],
            on_progress=show,
        )
    emit("parity", result, show_parity(result), as_json=given["as_json"], output=given["output"])
    if any(row.verdict in APART for row in result.rows if row.device != "local"):
        raise SystemExit(1)
