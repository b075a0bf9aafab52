"""All output of commands: no name in it can control the terminal or the CI system."""

from __future__ import annotations

import io
import os
import re
import sys
from pathlib import Path
from typing import Any

import click

from edgeq.cli.encoding import as_utf8
from edgeq.errors import EdgeqError
from edgeq.escaping import json_printable, no_command, printable, printable_lines


def is_plain() -> bool:
    """Whether the user turned colours off (https://no-color.org), or the terminal has none."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def _print(text: str, *, err: bool = False) -> None:
    click.echo(no_command(text), err=err, color=False if is_plain() else None)


def say(text: str = "", *, err: bool = False, **style: Any) -> None:
    """One line; names in it are made printable. For several lines, say them one by one."""
    _print(click.style(printable(text), **style) if style else printable(text), err=err)


def say_written(model: Path) -> None:
    """The end of a command that wrote a `.tflite` and its record."""
    say()
    say(f"Wrote {model} and {model}.json")


def show(text: str) -> None:
    """Lines of `edgeq.render`, where names are made printable; they bring their own colours."""
    _print("\n".join(line.rstrip() for line in text.split("\n")))


def show_above(line: str) -> None:
    """Print a line above the progress display; click's own echo would write into it."""
    plain = no_command(line)
    has_colours = sys.stdout.isatty() and not is_plain()
    print(plain if has_colours else click.unstyle(plain), flush=True)


def show_json(text: str | bytes) -> None:
    """Print JSON, or lines of JSON."""
    plain = text if isinstance(text, str) else text.decode("utf-8", "surrogateescape")
    quiet = re.sub(r"(##|##vso)\[", r"\1\\u005b", plain)  # which is in strings alone
    click.echo(as_utf8(json_printable(quiet)), nl=False)


def hand_over(content: str | bytes) -> None:
    """Print the content of a file without changes."""
    click.echo(as_utf8(content) if isinstance(content, str) else content, nl=False)


def show_error(error: EdgeqError, *, in_full: bool) -> None:
    """Print the sentence and the hint; in full also the output of the tool that failed."""
    _print(f"{click.style('error:', fg='red', bold=True)} {printable(error.message)}", err=True)
    if error.hint:
        hint = click.style("hint:", fg="cyan", bold=True)
        _print(f"{hint}  {printable(error.hint)}", err=True)
    if error.details and in_full:
        _print(f"\n{printable_lines(error.details)}", err=True)


def show_usage(error: click.ClickException) -> None:
    """Print click's message about a command line, which may contain hostile file names."""
    text = io.StringIO()
    error.show(file=text)
    usage, mark, message = text.getvalue().rstrip("\n").partition("Error: ")
    # For a missing parameter, which quotes nothing, click lists the choices in lines.
    is_list = isinstance(error, click.MissingParameter)
    shown = printable_lines(message) if is_list else printable(message)
    _print(f"{usage}{mark}{shown}", err=True)
    context = error.ctx if isinstance(error, click.MissingParameter) else None
    if context is not None and context.command.epilog:
        _print(context.command.epilog.removeprefix("\b\n"), err=True)
