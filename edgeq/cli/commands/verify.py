"""`edgeq verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeq.cli.options import progress_display
from edgeq.cli.printing import show, show_json
from edgeq.cli.trust import trust_option, trusting
from edgeq.cli.words import example
from edgeq.device_runners.devices.kinds import EXAMPLES
from edgeq.escaping import json_text

_STATUS = {"pass": 0, "fail": 3, "cannot-tell": 4}


@click.command(epilog=example("edgeq verify release"))
@click.argument("package", type=click.Path(path_type=Path))
@click.option(
    "--device", "devices", multiple=True, default=("local",), show_default=True, metavar="DEVICE",
    callback=trusting,
    help=f"Where the golden vectors run: {EXAMPLES}, or a name of `edgeq devices`. "
    "Repeat, or separate with commas.",
)  # fmt: skip
@trust_option
@click.option("--python", type=click.Path(path_type=Path), help="Interpreter on this machine.")
@click.option("--no-run", is_flag=True, help="Do not run the model: check the files only.")
@click.option(
    "--public-key", type=click.Path(path_type=Path), metavar="KEY.pem",
    help="The package must be signed with this key.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
def command(package: Path, devices: tuple[str, ...], as_json: bool, **given: Any) -> int:
    """Prove that a PACKAGE contains the measured model, and run its golden vectors on devices.

    Only the model in it is executed, by the TensorFlow Lite interpreter. The process that opens the
    package cannot start programs, open sockets or write your files.

    Exit status: 0 if no check fails (the last line says what is not proven), 3 if a check fails or
    the package is damaged, 4 if it cannot be judged: a device does not answer, or the package
    cannot be opened or needs a newer version of edgeq.
    """
    from edgeq.devices.fleet import split_names
    from edgeq.files import storage
    from edgeq.packaging.verification.verify import verify_package

    with progress_display() as on_progress:
        result = verify_package(
            package,
            devices=split_names(devices),
            python=given["python"],
            public_key=given["public_key"],
            runs=not given["no_run"],
            on_progress=on_progress,
        )
    if as_json:
        plain = {
            "is_sound": result.is_sound,
            "verdict": result.verdict,
            "conclusion": result.conclusion,
            **storage.to_plain(result),
        }
        show_json(json_text(plain) + "\n")
    else:
        from edgeq.packaging.text import show_verification

        show(show_verification(result))
    return _STATUS[result.verdict]
