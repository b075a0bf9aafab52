"""Packs what is sent to a board. This module itself runs on the host."""

from __future__ import annotations

import ast
import functools
import io
import zipfile
from pathlib import Path

_HERE = Path(__file__).parent
_PACKAGE = "edgeq_agent"
# Each module of the keeper imports only those before it.
KEEPER_MODULES = ("frames", "cache", "jobs", "environments", "requests", "main")


@functools.cache
def pack_agent() -> bytes:
    """The agent as one zip archive that Python runs.

    The same modules give the same bytes, because their digest names the agent in a board's cache:
    the members are sorted, and zipfile dates them 1980. They are not compressed, so any zlib gives
    the same bytes, and a Python without zlib runs them.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        main = f"from {_PACKAGE}.main import main\n\nmain()\n"
        archive.writestr(zipfile.ZipInfo("__main__.py"), main)
        folder = _HERE / "agent"
        for path in sorted(folder.rglob("*.py")):
            name = (_PACKAGE / path.relative_to(folder)).as_posix()
            archive.writestr(zipfile.ZipInfo(name), path.read_bytes())
    return content.getvalue()


def keeper_parts() -> list[tuple[str, bytes]]:
    """Name and source of each module of the keeper, in the order in which they are run."""
    return [(name, (_HERE / f"keeper/{name}.py").read_bytes()) for name in KEEPER_MODULES]


def prologue() -> bytes:
    """Source of what runs before the keeper."""
    return (_HERE / "prologue.py").read_bytes()


def required_modules() -> list[str]:
    """Modules of the standard library that the keeper and the agent import when they start.

    The profiler's and the sandbox's are not among them: without these, a board still runs models.
    """
    found = {"zlib"}  # archives are compressed
    for path in (*_HERE.glob("keeper/*.py"), *_HERE.glob("agent/*.py")):
        for node in ast.parse(path.read_bytes()).body:
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module)
    return sorted(found - {"__future__"})
