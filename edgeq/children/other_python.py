"""Finding a tool in the Python of another environment, if its pins clash with ours."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from edgeq.children.child import environment_for
from edgeq.errors import MissingExtraError


@dataclass(frozen=True)
class OtherPython:
    """A Python that can import the tool, and the release of the tool that it has."""

    python: str
    version: str


def find_python(
    module: str,
    distribution: str,
    variable: str,
    absent: str,
    extra: str,
    note: str = "",
) -> OtherPython:
    """Find this Python if it has the tool, or the one that an environment variable names.

    Args:
        module: to import.
        distribution: package of the module.
        variable: the environment variable.
        absent: a sentence for the case that this Python does not have it and none is named.
        extra: of edgeq that installs it.
        note: a sentence behind the hint.

    Raises:
        MissingExtraError: neither Python has it; the hint is how to get it.
    """

    def missing(message: str) -> MissingExtraError:
        hint = (
            f'Install it with: pip install "edgeq[{extra}]"; or, in a separate environment: '
            f"python -m venv ~/{extra} && ~/{extra}/bin/pip install {distribution} && "
            f"export {variable}=~/{extra}/bin/python"
        )
        return MissingExtraError(message, hint=f"{hint}. {note}" if note else hint)

    if importlib.util.find_spec(module) is not None:
        return OtherPython(sys.executable, version(distribution))
    named = os.environ.get(variable)
    if not named:
        raise missing(absent)
    found = shutil.which(named)
    if found is None:
        raise missing(f"{variable}={named} is not a program.")
    python = str(Path(found).absolute())
    code = (
        "import sys; sys.path[:] = filter(None, sys.path)\n"  # not from the current folder
        f"from importlib.metadata import version; print(version('{distribution}'))"
    )
    done = subprocess.run(
        [python, "-c", code],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
        env=environment_for(python),
    )
    if done.returncode != 0:
        raise missing(f"{variable}={named} has no {distribution}.")
    return OtherPython(python, done.stdout.strip())
