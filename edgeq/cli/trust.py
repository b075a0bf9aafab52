"""Code that an `edgeq.toml` names: it is shown, and executed only if the user allows it.

Trust is not kept: what a file names changes with every pull, and what the named code does changes
without a change of the file.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from edgeq.cli.printing import say
from edgeq.errors import UsageError

if TYPE_CHECKING:
    from edgeq.project import NamedCode

_KEY = "edgeq.trust_project"


def _note(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    context.meta[_KEY] = value


# Read before all other options, so that those that name devices know it.
trust_option = click.option(
    "--trust-project",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_note,
    help="Execute what edgeq.toml names: functions, custom objects, programs. Without it you are "
    "asked.",
)


def require_trust(code: Sequence[NamedCode]) -> None:
    """List the code, and continue only if --trust-project or an answer allows it.

    Raises:
        UsageError: neither does.
    """
    if not code:
        return
    is_given = click.get_current_context().meta.get(_KEY, False)
    say("edgeq.toml names what edgeq executes:", err=True)
    for item in code:
        say(f"  {item.where}: {item.written}", err=True)
        say(f"      {item.effect}", err=True)
    if is_given:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            f"{code[0].where} names {code[0].written}, which edgeq executes only for those who "
            "trust it.",
            hint="Read what is listed above; if you trust who wrote it, pass --trust-project.",
        )
    if not click.confirm("Do you trust who wrote it?", default=False, err=True):
        raise UsageError("Nothing was executed.", hint="--trust-project answers yes.")


def trust_devices(names: Sequence[str]) -> None:
    """Ask for the programs of devices that an `edgeq.toml` names.

    Raises:
        UsageError: see `require_trust`, or the file makes no sense.
    """
    # Not above: commands begin to import TensorFlow as soon as they can.
    from edgeq.device_runners.devices.registry import programs_of, read_devices, trust

    named = read_devices()
    found = [named[name] for name in dict.fromkeys(names) if name in named]
    require_trust([program for device in found for program in programs_of(device)])
    for device in found:
        trust(device)


def trusting(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """The callback of every option and argument that names devices."""
    if not context.resilient_parsing:
        texts = [value] if isinstance(value, str) else value
        trust_devices([name for text in texts for name in text.split(",")])
    return value
