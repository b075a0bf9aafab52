"""What commands print: all of it goes through here, so that no name steers the terminal."""

from __future__ import annotations

import io
from typing import Any

import click

from edgeq.errors import EdgeqError
from edgeq.escaping import json_printable, printable, printable_lines


def say(text: str = "", *, err: bool = False, **style: Any) -> None:
    """One line; names in it are made printable. For several lines, say them one by one."""
    click.secho(printable(text), err=err, **style)


def show(text: str) -> None:
    """Lines of `edgeq.render`, where names are made printable; they bring their own colours."""
    click.echo("\n".join(line.rstrip() for line in text.split("\n")))


def show_json(text: str | bytes) -> None:
    """JSON, or lines of it."""
    plain = text if isinstance(text, str) else text.decode("utf-8", "surrogateescape")
    click.echo(json_printable(plain), nl=False)


def show_error(error: EdgeqError, *, in_full: bool) -> None:
    """The sentence and the hint; in full with the words of the tool that failed."""
    click.echo(f"{click.style('error:', fg='red', bold=True)} {printable(error.message)}", err=True)
    if error.hint:
        hint = click.style("hint:", fg="cyan", bold=True)
        click.echo(f"{hint}  {printable(error.hint)}", err=True)
    if error.details and in_full:
        click.echo(f"\n{printable_lines(error.details)}", err=True)


def show_usage(error: click.ClickException) -> None:
    """What click has to say about a command line, which may hold names that a shell put there."""
    text = io.StringIO()
    error.show(file=text)
    usage, mark, message = text.getvalue().rstrip("\n").partition("Error: ")
    # Of a missing parameter, which quotes nothing, click lists the choices in lines.
    is_list = isinstance(error, click.MissingParameter)
    shown = printable_lines(message) if is_list else printable(message)
    click.echo(f"{usage}{mark}{shown}", err=True)
