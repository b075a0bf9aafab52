"""Find the command, or the value of an option, that an unknown word was meant to be."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeq.errors import did_you_mean

if TYPE_CHECKING:
    _Choice = click.Choice[str]
else:
    _Choice = click.Choice  # before click 8.2 it had no parameter

# Words of other tools, and what they are called here.
_OTHER_WORDS = {
    "quantize": "convert", "optimize": "tune", "diff": "compare", "info": "inspect",
    "export": "convert", "calibrate": "convert", "test": "eval", "accuracy": "eval",
    "validate": "eval", "measure": "bench", "latency": "bench", "deploy": "package",
    "visualize": "inspect", "status": "doctor", "html": "report",
    "float16": "fp16", "half": "fp16", "float": "fp32", "float32": "fp32", "full-integer": "int8",
    "markdown": "md", "swift": "ios", "iphone": "ios", "kotlin": "android", "java": "android",
    "aar": "android", "cpp": "c", "c++": "c", "arduino": "c", "zephyr": "c", "esp-idf": "c",
    "wheel": "python", "linux": "python", "raspberry-pi": "python", "raspberrypi": "python",
    "rpi": "python", "pi": "python", "speed": "latency", "nchw": "source",
}  # fmt: skip
_HELP = ("-help", "-?", "/?")  # of other programs


def guess(given: str, known: Iterable[str]) -> str:
    """A question with the known word that was probably meant; "" if there is none."""
    names = list(known)
    meant = _OTHER_WORDS.get(given.lower())
    question = f"Did you mean {meant!r}?" if meant in names else did_you_mean(given, names)
    return question.strip()


def example(*commands: str) -> str:
    """Commands as the end of a help text; click must not wrap them."""
    return "\b\n" + "\n".join(("Example:", *(f"  {command}" for command in commands)))


class Choice(_Choice):
    """click's Choice, whose refusal names the value that was probably meant."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the choice that a user typed.

        Raises:
            click.BadParameter: it is not one of them.
        """
        try:
            chosen: str = super().convert(value, param, ctx)
        except click.BadParameter as error:
            meant = guess(str(value), map(str, self.choices))
            self.fail(f"{error.message} {meant}".rstrip(), param, ctx)
        return chosen


class Group(click.Group):
    """A group of commands that understands what somebody types who has not read its help."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take `help` and `COMMAND help` for `--help`; say what `--COMMAND` should be."""
        words = ["--help" if word in _HELP else word for word in args]
        if words[:1] == ["help"]:
            words = [*words[1:], "--help"]
        elif words[1:] == ["help"] and not Path("help").exists():
            words[1] = "--help"
        try:
            return super().parse_args(ctx, words)
        except click.NoSuchOption as error:
            name = error.option_name.lstrip("-")
            if name not in self.list_commands(ctx):
                raise
            ctx.fail(
                f"No such option {error.option_name!r}. Did you mean '{ctx.command_path} {name}'?"
            )

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Refuse an unknown command with the one that was probably meant."""
        name, known = args[0], self.list_commands(ctx)
        if name not in known and not name.startswith("-"):
            ctx.fail(f"No such command {name!r}. {self.guess_command(name, known)}".rstrip())
        return super().resolve_command(ctx, args)

    def guess_command(self, name: str, known: list[str]) -> str:
        """Say what an unknown command was probably meant to be; "" if that is not known."""
        return guess(name, known)
