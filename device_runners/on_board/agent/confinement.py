"""A child process ends with its parent and confines itself before it opens a model."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

from .machine import parent_has_ended


def enter_sandbox(source: str | None) -> list[str]:
    """Confine this process to the job's folder, and list what the sandbox lacks on this machine.

    Args:
        source: of edgeq's `sandbox.py`; None in a job of an edgeq without a sandbox.
    """
    if source is None:
        return ["the job brought none"]
    module: dict[str, Any] = {"__name__": "sandbox"}
    try:
        exec(compile(source, "sandbox.py", "exec", dont_inherit=True), module)
    except ImportError as error:  # a small Python, without ctypes
        return [f"the Python there lacks what the sandbox needs ({error})"]
    return list(module["confine"]([os.getcwd()]))  # noqa: PTH109


def die_with(parent: int) -> None:
    """Have Linux kill this process when its parent ends, even during an inference.

    On other systems the process ends after the inference, at the end of stdin.
    """
    with contextlib.suppress(ImportError, OSError, AttributeError, TypeError):  # not Linux
        import ctypes

        ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
    if parent_has_ended(parent):
        sys.exit(1)  # it has ended already
