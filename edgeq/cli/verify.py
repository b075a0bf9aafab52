"""`edgeq verify`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from edgeq.cli.options import progress_display


@click.command()
@click.argument("package", type=click.Path(path_type=Path))
@click.option(
    "--device", "devices", multiple=True, default=("local",), show_default=True, metavar="DEVICE",
    help="Where the golden vectors run: local, user@host, adb:SERIAL, emulated:arm64, or a name of "
    "`edgeq devices`. Repeat, or separate with commas.",
)  # fmt: skip
@click.option("--python", type=click.Path(path_type=Path), help="Interpreter on this machine.")
@click.option("--no-run", is_flag=True, help="Check the files alone.")
@click.option(
    "--public-key", type=click.Path(path_type=Path), metavar="KEY.pem",
    help="That it must be signed with.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
def command(package: Path, devices: tuple[str, ...], as_json: bool, **given: Any) -> int:
    """Prove that a PACKAGE is what was measured, and run its golden vectors on devices.

    Nothing in it is executed but the model, by the TensorFlow Lite interpreter.

    Exit status: 0 when every check passes, 3 when one fails.
    """
    from edgeq import storage
    from edgeq.fleet import split_names
    from edgeq.packaging.text import show_verification
    from edgeq.packaging.verifying import verify_package

    with progress_display() as show:
        result = verify_package(
            package,
            devices=split_names(devices),
            python=given["python"],
            public_key=given["public_key"],
            runs=not given["no_run"],
            on_progress=show,
        )
    if as_json:
        plain = {"is_sound": result.is_sound, **storage.to_plain(result)}
        click.echo(json.dumps(plain, indent=2, ensure_ascii=False))
    else:
        click.echo(show_verification(result))
    return 0 if result.is_sound else 3
