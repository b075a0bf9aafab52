"""The `edgeq` command in the test's own process: its imports are most of what a short one takes."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import click
import pytest

from edgeq.cli import cli, main


def run_edgeq(
    *arguments: object, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command, as `subprocess.run` would with its output captured.

    Args:
        cwd: the command's current folder.
        environment: variables added to ours.
    """
    words = [*map(str, arguments)]
    printed, told = io.StringIO(), io.StringIO()
    handler, show = signal.getsignal(signal.SIGTERM), warnings.showwarning
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["edgeq", *words])
        for name, value in {"COLUMNS": "80", **environment}.items():
            patch.setenv(name, value)
        patch.chdir(cwd or os.getcwd())  # noqa: PTH109 -- as it is spelled
        try:
            with (
                contextlib.redirect_stdout(printed),
                contextlib.redirect_stderr(told),
                pytest.raises(SystemExit) as ended,
            ):
                main(words)
        finally:
            signal.signal(signal.SIGTERM, handler)
            warnings.showwarning = show
    status = ended.value.code
    assert isinstance(status, int)
    return subprocess.CompletedProcess(words, status, printed.getvalue(), told.getvalue())


def read_only(words: list[str]) -> None:
    """Compare a command's options with those that it takes; nothing is run."""
    command: click.Command | None = cli
    rest = words[1:]
    while isinstance(command, click.Group):
        name, *rest = rest
        command = command.get_command(click.Context(command), name)
        assert command is not None, f"{words}: there is no {name!r}"
    assert command is not None
    command.make_parser(click.Context(command)).parse_args(rest)


def find_torch_packages() -> list[str]:
    """The packages of the environment with PyTorch, if it has the same version of Python."""
    if not (python := os.environ.get("EDGEQ_TORCH_PYTHON")):
        return []
    asked = "import sys, sysconfig; print(sys.version_info[:2], sysconfig.get_path('purelib'))"
    found = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True).stdout
    version, _, folder = found.strip().rpartition(" ")
    return [folder] if version == str(sys.version_info[:2]) else []
