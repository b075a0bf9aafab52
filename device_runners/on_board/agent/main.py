"""The agent's commands; `__init__.py` lists them."""

from __future__ import annotations

import json
import os
import sys

from .confinement import die_with, enter_sandbox


def main() -> None:
    """Do what the command line says.

    Each command imports only what it needs: each worker is a new process, and a small board takes
    long to compile modules.
    """
    command, *arguments = sys.argv[1:]
    if command == "worker":
        from .worker import serve

        die_with(int(arguments[0]))
        with os.fdopen(os.dup(1), "w", encoding="utf-8") as channel:
            os.dup2(2, 1)  # what libraries print goes to the log
            serve(channel)
    elif command == "profile":
        die_with(int(arguments[0]))
        enter_sandbox(json.loads(sys.stdin.read()))
        from .profiler.measure import profile  # needs ctypes, which a small Python lacks

        profile(*arguments[1:])
    else:
        from .coordinator import coordinate

        coordinate(arguments[0] if arguments else None, is_kept=command == "keep")
