"""The first file that a child process of edgeq runs; `child.py` is the parent's side.

    python entry.py PLAN TARGET [ARGUMENT...]

TARGET is a module of edgeq whose `main` is called, the path of a script, or `-m MODULE`. PLAN is
JSON: `parent` (process number), `lifeline` (descriptor, name of a Windows job, or null), `replies`
(whether the target gets the descriptor of our stdout as its last argument, and whatever is printed
goes to stderr), `confine` (null, or `folders`, `sockets`, `late`: see `sandbox.plan`).

The current folder is never on the path, because it may hold another `numpy.py`; the user's site
folder and PYTHONPATH are. This file imports the standard library only and runs on Python 3.8,
because it also starts children of other Pythons.
"""

from __future__ import annotations

import os
import sys

HERE = os.path.dirname(os.path.realpath(__file__))  # noqa: PTH120 -- nothing is imported yet
# Python has put this folder on the path, whose files could hide modules of the standard library.
sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry) != HERE]

import importlib.util  # noqa: E402
import json  # noqa: E402
import runpy  # noqa: E402
from types import ModuleType  # noqa: E402


def load(name: str, path: str, folders: list[str] | None = None) -> ModuleType:
    """Load a module from a file, under a given name."""
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=folders)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Follow PLAN, then run TARGET."""
    plan, target, arguments = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3:]
    # Scripts find it under this name, also where edgeq is not installed; see `serving`, too.
    sandbox = load("edgeq.children.sandbox", os.path.join(HERE, "sandbox.py"))  # noqa: PTH118
    if isinstance(plan["lifeline"], str):
        windows = os.path.join(os.path.dirname(HERE), "host", "windows.py")  # noqa: PTH118, PTH120
        load("edgeq.host.windows", windows).enter_job(plan["lifeline"])
    else:
        sandbox.end_with_parent(plan["parent"], plan["lifeline"])
    if plan["replies"]:
        arguments.append(str(os.dup(1)))
        os.dup2(2, 1)
    confine = plan["confine"]
    if confine is not None and confine["late"]:
        sandbox.plan(confine["folders"], sockets=confine["sockets"])
    elif confine is not None:
        sandbox.confine(confine["folders"], sockets=confine["sockets"])
    if target.startswith("edgeq."):
        # The same edgeq as the parent's, even if a different one is installed.
        edgeq = os.path.dirname(HERE)  # noqa: PTH120
        load("edgeq", os.path.join(edgeq, "__init__.py"), [edgeq])  # noqa: PTH118
        sys.argv = [target, *arguments]
        importlib.import_module(target).main()
    elif target == "-m":
        sys.argv = arguments
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    else:
        load("edgeq.children.serving", os.path.join(HERE, "serving.py"))  # noqa: PTH118
        sys.argv = [target, *arguments]
        runpy.run_path(target, run_name="__main__")


if __name__ == "__main__":
    main()
