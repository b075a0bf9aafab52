"""Child processes: each is isolated from the current folder, ends with its parent, and is confined
where it opens a foreign file. `entry.py` is the child's end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeq.children import sandbox
from edgeq.errors import SandboxWarning

_said: set[str] = set()  # of what the sandbox lacks, by `warn_of`
_START = Path(__file__).with_name("entry.py")
# A library's threads are older than a late sandbox, and would not be confined by Landlock.
_SINGLE_THREADED = dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)


def start(
    target: Sequence[str],
    *,
    folders: Sequence[Path] | None,
    late: bool = False,
    sockets: bool = False,
    python: str | None = None,
    environment: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    **streams: Any,
) -> subprocess.Popen[Any]:
    """Start a child in a session of its own, so that Ctrl-C reaches us alone and we end it.

    Args:
        target: "edgeq.MODULE" whose `main` is called, the path of a script, "-m" and a module, or
            "--" and a program; then arguments.
        folders: the child opens a foreign file, and may write only there; the first one is also
            its folder for temporary files. None for a child that opens none.
        late: the child calls `sandbox.confine_as_planned` itself, between its imports and the
            foreign file; until then, libraries are kept from starting threads.
        sockets: the child is a server.
        python: interpreter, this one by default; others do not see our PYTHONPATH.
        environment: variables added to ours.
        streams: more arguments of `subprocess.Popen`.

    Raises:
        OSError: the interpreter cannot be started.
    """
    if folders is not None:
        warn_of(sandbox.missing())
    ours, theirs = (None, None) if sys.platform.startswith("linux") else os.pipe()[::-1]
    plan: dict[str, Any] = {"parent": os.getpid(), "lifeline": theirs, "confine": None}
    if folders is not None:
        shown = [str(folder.resolve()) for folder in folders]
        plan["confine"] = {"folders": shown, "sockets": sockets, "late": late}
    try:
        child = subprocess.Popen(
            [python or sys.executable, str(_START), json.dumps(plan), *target],
            env={
                **environment_for(python),
                **(_SINGLE_THREADED if late else {}),
                **(environment or {}),
                **_temporary(folders),
            },
            start_new_session=True,
            pass_fds=(*pass_fds, *(() if theirs is None else (theirs,))),
            **streams,
        )
    finally:
        if theirs is not None:
            os.close(theirs)
    child.lifeline = None if ours is None else os.fdopen(ours, "wb")  # type: ignore[attr-defined]
    return child


def environment_for(python: str | None) -> dict[str, str]:
    """Our environment for an interpreter; another one does not see our packages.

    An empty entry of PYTHONPATH, which a script leaves where it adds to an unset variable, means
    the current folder; nobody wants that.
    """
    environment = dict(os.environ)
    if python not in (None, sys.executable):
        environment.pop("PYTHONPATH", None)
        environment.pop("PYTHONHOME", None)
    elif path := environment.get("PYTHONPATH"):
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, path.split(os.pathsep)))
    return environment


def _temporary(folders: Sequence[Path] | None) -> dict[str, str]:
    return {"TMPDIR": str(folders[0].resolve())} if folders else {}


def warn_of(gaps: Sequence[str]) -> None:
    """Say what the sandbox lacks, see `sandbox.confine`, in one line where it lacks something.

    A child says the same of the kernel as its parent, which is not said again.
    """
    own = [gap for gap in gaps if gap not in _said]
    if own:
        _said.update(own)
        warnings.warn(
            f"Model files are opened without a whole sandbox here: {'; '.join(own)}.",
            SandboxWarning,
            stacklevel=2,
        )
