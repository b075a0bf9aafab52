"""`edgeq devices`: name devices, ask them, and set them up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeq.cli.options import emit, output_options, progress_display
from edgeq.cli.printing import say
from edgeq.cli.trust import trust_devices, trust_option, trusting
from edgeq.cli.words import Choice, Group, example
from edgeq.device_runners.devices.addresses import resolve_address
from edgeq.device_runners.devices.environment import RUNTIMES
from edgeq.device_runners.devices.kinds import FORMS
from edgeq.device_runners.devices.registry import add_device, read_devices, remove_device
from edgeq.devices import inventory
from edgeq.render.devices import show_checks, show_devices


@click.group(
    cls=Group,
    epilog=example(
        "edgeq devices add pi4 pi@raspberrypi.local",
        "edgeq devices check pi4",
    ),
)
def command() -> None:
    """Name boards, ask whether they answer, and set them up."""


@command.command(
    "add", help=f"Save a device: `--device NAME` then means ADDRESS.\n\nADDRESS is one of: {FORMS}."
)
@click.argument("name")
@click.argument("address")
@click.option("--python", metavar="PATH", help="Interpreter on the device that runs the models.")
@click.option(
    "--project", is_flag=True, help="Write to the project's edgeq.toml instead of your list."
)
def add(name: str, address: str, python: str | None, project: bool) -> None:
    """Add an entry; the user reads the `help` above."""
    resolve_address(address, name, python)
    entry = add_device(name, address, python, in_project=project)
    say(f"{entry.name} is {entry.address}, written to {entry.file}")


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the record alone, as JSON.")
def list_(as_json: bool) -> None:
    """List the named devices."""
    found = tuple(read_devices().values())
    emit("devices", {"devices": found}, show_devices(found), as_json=as_json)


@command.command("check", short_help="Ask devices what they are.")
@click.argument("names", nargs=-1, metavar="[DEVICE]...")
@trust_option
@output_options
def check(names: tuple[str, ...], **given: Any) -> None:
    """Ask devices what they are; all named ones by default. Status 1 when one does not answer."""
    trust_devices(names or tuple(read_devices()))
    with progress_display() as show:
        show("ask", 0, None)
        found = inventory.check_devices(names)
    emit("devices-check", {"devices": found}, show_checks(found), as_json=given["as_json"])
    if any(item.facts is None for item in found):
        raise SystemExit(1)


@command.command("remove", short_help="Forget a device.")
@click.argument("name")
def remove(name: str) -> None:
    """Forget NAME; the device itself is left as it is (see clean)."""
    entry = remove_device(name)
    say(f"{entry.name} ({entry.address}) is removed from {entry.file}")


@command.command("setup", short_help="Install a runtime on a device.")
@click.argument("name", metavar="DEVICE", callback=trusting)
@click.option("--runtime", type=Choice(list(RUNTIMES)), help="By default the newest.")
@click.option(
    "--benchmark-model", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="PATH", help="TensorFlow's program, for a phone without Python.",
)  # fmt: skip
@trust_option
@click.option("-v", "--verbose", is_flag=True, help="Also show the output of the tools.")
def setup(name: str, runtime: str | None, benchmark_model: Path | None, verbose: bool) -> None:
    """Install a runtime on DEVICE, in a private environment in edgeq's cache.

    A phone behind adb without Python gets TensorFlow's benchmark_model instead.

    The wheels are downloaded on this machine, so the board needs neither internet nor pip, and
    its own Python does not change. emulated:arm64 is built first, as root.
    """
    with progress_display() as show:
        found = inventory.set_up(
            name, runtime=runtime, benchmark_model=benchmark_model, on_progress=show
        )
    say(f"{name} is ready: {found}")


@command.command("clean", short_help="Delete edgeq's files on a device.")
@click.argument("name", metavar="DEVICE", callback=trusting)
@trust_option
def clean(name: str) -> None:
    """Delete all files of edgeq on DEVICE: models, environments, rests of failed runs."""
    freed = inventory.clean(name)
    say(f"{name}: {freed / 1e6:.1f} MB freed")


@command.command("stop", short_help="Stop a virtual board.")
@click.argument("name", metavar="DEVICE")
def stop(name: str) -> None:
    """End the processes of a virtual board; the next run starts it again."""
    inventory.stop_emulated(name)
    say(f"{name} is stopped")
