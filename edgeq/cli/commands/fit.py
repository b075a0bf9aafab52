"""`edgeq fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeq.cli.options import emit, guard_output, output_options, record_option
from edgeq.cli.words import example
from edgeq.errors import UsageError, did_you_mean
from edgeq.fit.judging import HEADROOM_FLASH_BYTES, HEADROOM_RAM_BYTES

_STATUS = {"fits": 0, "no": 3, "tight": 4}


def _memory(context: click.Context, option: click.Parameter, text: str | None) -> int | None:
    from edgeq.fit.boards import read_memory

    if text is None:
        return None
    try:
        return read_memory(text, may_be_zero="headroom" in option.opts[0])
    except ValueError as error:
        raise UsageError(f"{option.opts[0]} must be {error}, not {text!r}.") from error


def _refuse_target(context: click.Context, option: click.Parameter, text: str | None) -> None:
    from edgeq.fit.boards import known_boards

    if text is not None:
        raise UsageError(
            f"--target {text} is an option of package; fit has --board.",
            hint=f"{did_you_mean(text, known_boards())}Type --board NAME.",
        )


@click.command(epilog=example("edgeq fit model.tflite --board raspberry-pi-pico"))
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--board", "boards", multiple=True, metavar="NAME",
    help="A board of the table, or a [boards.NAME] of edgeq.toml. Repeat for several.  "
    "[default: all]",
)  # fmt: skip
@click.option("--target", hidden=True, expose_value=False, callback=_refuse_target)
@click.option(
    "--flash", metavar="SIZE", callback=_memory,
    help="Flash of a board that has no name here, e.g. 1MB (1,048,576 bytes).",
)  # fmt: skip
@click.option("--ram", metavar="SIZE", callback=_memory, help="Its RAM, e.g. 256KB.")
@click.option(
    "--headroom-flash", metavar="SIZE", callback=_memory,
    help=f"Flash to keep free for your program.  [default: {HEADROOM_FLASH_BYTES >> 10}KB]",
)  # fmt: skip
@click.option(
    "--headroom-ram", metavar="SIZE", callback=_memory,
    help="RAM to keep free for your program, with its stack.  "
    f"[default: {HEADROOM_RAM_BYTES >> 10}KB]",
)  # fmt: skip
@click.option(
    "--ethos-u", metavar="NAME",
    help="Compile it with Arm's Vela for this accelerator, e.g. ethos-u55-128.",
)  # fmt: skip
@click.option("--vela-config", metavar="FILE", help="Vela's file of configurations: Arm/vela.ini.")
@click.option("--system-config", metavar="NAME", help="A system in that file.")
@click.option("--memory-mode", metavar="NAME", help="A memory mode in that file.")
@click.option(
    "--coral", is_flag=True,
    help="Predict which operators a Coral Edge TPU runs, by its documented list.",
)  # fmt: skip
@record_option
@output_options
def command(model: Path, **given: Any) -> int:
    """Say whether a .tflite MODEL fits a microcontroller, without a board.

    Exit status: 0 if it fits, 3 if it does not, 4 if only the margin or the room for your program
    is missing. Without --board: 0 if it fits one of the boards.
    """
    from edgeq.device_runners.devices.registry import project_file
    from edgeq.fit.fit import fit_model
    from edgeq.fit.vela import EthosTarget
    from edgeq.render.fit import show_fit

    guard_output(given["output"], model)
    configured = ("vela_config", "system_config", "memory_mode")
    if given["ethos_u"] is None and any(given[name] for name in configured):
        raise UsageError(
            "--vela-config, --system-config and --memory-mode are for Vela.",
            hint="Add --ethos-u, such as --ethos-u ethos-u55-128.",
        )
    target = None
    if given["ethos_u"] is not None:
        target = EthosTarget(
            given["ethos_u"], given["system_config"], given["memory_mode"], given["vela_config"]
        )
    are_named = bool(given["boards"]) or given["flash"] is not None or given["ram"] is not None
    free = {
        f"{name}_bytes": given[name]
        for name in ("headroom_flash", "headroom_ram")
        if given[name] is not None
    }
    if free and (target or given["coral"]) and not are_named:
        raise UsageError(
            "--headroom-flash and --headroom-ram are for boards, and none is compared.",
            hint="Add --board NAME, or --flash and --ram.",
        )
    result = fit_model(
        model,
        boards=given["boards"],
        flash_bytes=given["flash"],
        ram_bytes=given["ram"],
        project=project_file(),
        ethos_u=target,
        coral=given["coral"],
        **free,
    )
    emit("fit", result, show_fit(result), as_json=given["as_json"], output=given["output"])
    verdicts = [board.verdict for board in result.boards]
    if not verdicts:
        return 0
    worst_first = ("no", "tight", "fits")
    order = worst_first if are_named else tuple(reversed(worst_first))
    return _STATUS[next(verdict for verdict in order if verdict in verdicts)]
