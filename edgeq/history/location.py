"""The place of the history."""

from __future__ import annotations

import os
from pathlib import Path

from edgeq.device_runners.devices.registry import project_file
from edgeq.history.values import Place

VARIABLE = "EDGEQ_HISTORY"
_PROJECT_PLACE = Path(".edgeq", "history.sqlite")


def find_place(given: Path | None = None) -> Place:
    """The database file to use, whether it exists or not.

    The first of: `given` (--database), the variable EDGEQ_HISTORY, `.edgeq/history.sqlite` beside
    the project's edgeq.toml, the user's data folder.
    """
    if given is not None:
        return Place(given, "named by --database")
    if named := os.environ.get(VARIABLE):
        return Place(Path(named), f"named by {VARIABLE}")
    project = project_file()
    if project is not None:
        return Place(project.parent / _PROJECT_PLACE, "of this project")
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Place(Path(base) / "edgeq" / "history.sqlite", "yours: no edgeq.toml here")
