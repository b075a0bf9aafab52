"""The command line: one file for each command in `commands/`, imported when it is run."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

import click

from edgeq.cli.encoding import accept_all_characters
from edgeq.cli.printing import say, show_error, show_usage
from edgeq.cli.words import Group
from edgeq.errors import EdgeqError, OutputError, SandboxWarning
from edgeq.version import VERSION

_python_shows = warnings.showwarning

# Verb, its module, and its line in `edgeq --help`, which must not import the module.
_VERBS = {
    "init": (
        "edgeq.cli.commands.init",
        "Write a project file, edgeq.toml, for a model.",
    ),
    "run": (
        "edgeq.cli.commands.run",
        "Do all that edgeq.toml describes, skipping what is unchanged.",
    ),
    "convert": (
        "edgeq.cli.commands.convert",
        "Convert a trained model to a .tflite that is proven.",
    ),
    "tune": (
        "edgeq.cli.commands.tune",
        "Try many ways to quantize; keep the fastest that loses little.",
    ),
    "bench": ("edgeq.cli.commands.bench", "Measure latency and memory of .tflite files."),
    "profile": (
        "edgeq.cli.commands.profile",
        "Measure the time of each operator (layer) of .tflite files.",
    ),
    "eval": ("edgeq.cli.commands.evaluate", "Measure accuracy on labelled data."),
    "compare": (
        "edgeq.cli.commands.compare",
        "Compare FP32 and INT8: accuracy, outputs, size, latency.",
    ),
    "debug": (
        "edgeq.cli.commands.debug",
        "Find the layers of a quantized model that lose accuracy, and why.",
    ),
    "parity": (
        "edgeq.cli.commands.parity",
        "Check whether devices compute the same values as this machine.",
    ),
    "fit": (
        "edgeq.cli.commands.fit",
        "Say whether a .tflite fits a microcontroller, without a board.",
    ),
    "inspect": (
        "edgeq.cli.commands.inspect",
        "List the content of a .tflite: operators, tensors, bytes.",
    ),
    "report": (
        "edgeq.cli.commands.report",
        "Make one page from the records of a model, the verdict first.",
    ),
    "gate": (
        "edgeq.cli.commands.gate",
        "Check records against your limits, for CI: exit status 0, 3 or 4.",
    ),
    "package": ("edgeq.cli.commands.package", "Package a .tflite for Android, iOS, C or Python."),
    "verify": ("edgeq.cli.commands.verify", "Prove that a package contains the measured model."),
    "show": ("edgeq.cli.commands.show", "Print the records of other commands."),
    "history": (
        "edgeq.cli.commands.history",
        "Keep records, compare them, and see figures over time.",
    ),
    "devices": (
        "edgeq.cli.commands.devices",
        "Name boards, check whether they answer, set them up.",
    ),
    "doctor": (
        "edgeq.cli.commands.doctor",
        "Check whether a machine can run models, and how to fix it.",
    ),
    "demo": ("edgeq.cli.commands.demo", "Convert and compare the model that ships with edgeq."),
}


# Explained in `edgeq --help`, for somebody who has not quantized a model before.
WORDS = {
    "FP32, FP16": "Floats of 32 or 16 bits. Training usually uses FP32.",
    "INT8, INT16, INT4": "Integers of 8, 16 or 4 bits, with a scale from integer to value.",
    "weights": "The numbers that a model has learned.",
    "activations": "The numbers that its layers compute from an input.",
    "operator": "One step of a .tflite file; a layer becomes one or several.",
    "kernel": "The code that computes an operator; XNNPACK is a library of fast ones.",
    "calibration": "Measuring the range of all activations on a few hundred real samples, the "
    "representative dataset.",
    "SQNR": "How far the error of quantization is below the outputs, in decibel (dB); higher is "
    "better, 6 dB halve the error.",
    "points": "Percentage points: from 92.0 % to 91.5 % are 0.5 points.",
    "record": "The .json file with all figures that a command writes, with -o or beside the model.",
}


class Verbs(Group):
    """A group whose commands live in modules that are not imported until one is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs, in the order a user meets them."""
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb's module."""
        if cmd_name not in _VERBS:
            return None
        command = importlib.import_module(_VERBS[cmd_name][0]).command
        assert isinstance(command, click.Command)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take `version` for `--version`."""
        return super().parse_args(ctx, ["--version"] if args == ["version"] else args)

    def guess_command(self, name: str, known: list[str]) -> str:
        """Say what was meant; for a file, the command that takes it."""
        from edgeq.files.kinds import find_kind

        kind = find_kind(Path(name)) if Path(name).exists() else None
        if kind is None:
            return super().guess_command(name, known)
        return f"It is {kind.what}. {kind.hint(name)}"

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs with their one-line help, from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _VERBS.items()])
        with formatter.section("Words"):
            formatter.write_dl(list(WORDS.items()))


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, "-V", "--version", prog_name="edgeq")
def cli() -> None:
    """Make a trained Keras, PyTorch or ONNX model ready for phones, boards and microcontrollers.

    edgeq writes a TensorFlow Lite file that computes with integers of 8 bits (INT8) instead of
    floats of 32 bits (FP32). That is quantization: the file is up to four times smaller, and often
    faster, but it may answer worse. So edgeq reads the file back, proves what it is, and measures
    what it lost.

    Begin with `edgeq demo`, or with a model and samples of yours:

    edgeq convert model.keras --data samples.npz -o model.tflite

    edgeq compare model.keras model.tflite --data labelled.npz

    Exit status: 0 good, 1 an error, 2 wrong usage, 3 a gate says no, 4 cannot be judged.
    """


def _terminate(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)  # unwinds the stack, so that child processes and partial files go


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the `edgeq` command; turns errors into a sentence and an exit status."""
    accept_all_characters()
    signal.signal(signal.SIGTERM, _terminate)
    warnings.showwarning = _show_warning
    try:
        status: Any = cli.main(arguments, prog_name="edgeq", standalone_mode=False)
    except EdgeqError as error:
        show_error(error, in_full=_is_verbose())
        status = error.exit_code
    except click.ClickException as error:
        show_usage(error)
        status = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        say("Interrupted; nothing was written.", err=True)
        status = 128 + signal.SIGINT
    except BrokenPipeError:
        # The reader of our stdout left, as `| head` does.
        _drop_stdout()
        status = 1
    except OSError as error:
        status = 1
        if error.filename is None and _is_of_printing(error):
            _drop_stdout()
            say(f"error: The output cannot be printed: {error.strerror}.", err=True)
        else:
            show_error(_refused(error), in_full=_is_verbose())
    sys.exit(status if isinstance(status, int) else 0)


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, *rest: Any, **more: Any
) -> None:
    """Our own as one line; others as Python shows them."""
    if issubclass(category, SandboxWarning):
        say(f"warning: {message}", err=True)
    else:
        _python_shows(message, category, filename, *rest, **more)


def _is_verbose() -> bool:
    return bool({"-v", "--verbose"} & set(sys.argv))


def _refused(error: OSError) -> EdgeqError:
    """Report an unexpected error of the system; -v shows where it happened."""
    what = "Something" if error.filename is None else os.fsdecode(error.filename)
    return OutputError(
        f"{what} cannot be used: {error.strerror or error}.",
        hint="Check that it exists, may be used and has space; -v shows where edgeq needed it.",
        details=traceback.format_exc(),
    )


def _is_of_printing(error: OSError) -> bool:
    """Return whether a write to the terminal failed, and no write to a file."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    name = frame.f_globals.get("__name__", "")
    return name == say.__module__ or name.partition(".")[0] in ("click", "rich")


def _drop_stdout() -> None:
    """Discard the rest of the buffer, which would fail again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
