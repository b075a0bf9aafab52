"""The rooms of the house: which there are, on which floor, and which file imports which.

`test_package.py` holds the code to it, and `docs/architecture.py` draws it.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Folders at the top of the repository, and as what they are installed; edgeq/ has links to them.
FOLDERS = {"edgeq": "edgeq", "converters": "edgeq.converters",
           "device_runners": "edgeq.device_runners", "models": "edgeq.models"}  # fmt: skip

# The floors of the house, lowest first. A room is a folder, or a file that lies in none. It may
# import from the rooms on lower floors only, so that neither rooms nor files import in a circle.
FLOORS = (
    (
        "errors",
        "escaping",
        "host",
        "moved",
        "progress",
        "values",
        "version",
        "models",
        "device_runners.on_board",
    ),
    ("issues", "keywords", "metrics", "provenance", "timing"),
    ("files", "wording"),
    ("children", "project", "tflite", "converters.safe_reading", "device_runners.links"),
    ("device_runners.devices",),
    (
        "converters.samples",
        "converters.graph",
        "converters.rewrites",
        "device_runners.measuring",
    ),
    ("converters.tracing",),
    ("converters.lowering", "converters.calibration", "converters.writer"),
    ("converters.corrections", "converters.quantization", "accuracy", "devices"),
    ("converters.proof", "converters.training"),
    ("conversion", "fit", "profiling"),
    ("comparison", "tuning"),
    ("debugging", "records"),
    ("api", "gating", "history", "inspection"),
    ("reporting",),
    ("render",),
    ("packaging",),
    ("pipeline",),
    ("cli",),
    ("ci",),
)


@cache
def parse(path: Path) -> ast.Module:
    """Once for all tests: CPython before 3.11.8 may fail when two threads parse (gh-106905)."""
    return ast.parse(path.read_text())


def sources() -> dict[str, Path]:
    """Module name to file, over the folders that make up the package."""
    found = {}
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            inside = path.relative_to(ROOT / folder)
            if folder == "edgeq" and inside.parts[0] in FOLDERS:
                continue  # the links to the other folders
            parts = [package, *inside.with_suffix("").parts]
            found[".".join(part for part in parts if part != "__init__")] = path
    return found


SOURCES = sources()
# The two packages of the top level say only under which name they may be imported; the scripts that
# train the example models are users of edgeq.
INSIDE = [
    name
    for name in SOURCES
    if name not in ("edgeq", "edgeq.converters", "edgeq.device_runners")
    and not name.startswith("edgeq.models.")
]


@cache
def imported(path: Path) -> frozenset[str]:
    """Everything that a file imports, under `if TYPE_CHECKING` and in functions, too."""
    names = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.ImportFrom):
            parts = [node.module] if node.module else []
            if node.level:
                first, *rest = path.parents[node.level - 1].relative_to(ROOT).parts
                parts = [FOLDERS[first], *rest, *parts]
            names |= {".".join([*parts, alias.name]) for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return frozenset(names)


def module_of(name: str) -> str | None:
    """The file that `import name` or `from ... import name` reaches, None for other projects."""
    while name not in SOURCES and "." in name:
        name = name.rpartition(".")[0]
    return name if name in SOURCES else None


@cache
def edges() -> dict[str, frozenset[str]]:
    """Which files each file imports. `edgeq/__init__.py` offers names of many rooms, lazily."""
    return {
        module: frozenset(filter(None, map(module_of, imported(SOURCES[module])))) - {module}
        for module in INSIDE
    }


def floor(module: str) -> int:
    (found,) = (
        number
        for number, rooms in enumerate(FLOORS)
        for room in rooms
        if f"{module}.".startswith(f"edgeq.{room}.")
    )
    return found


def room(module: str) -> str:
    (found,) = (room for room in FLOORS[floor(module)] if f"{module}.".startswith(f"edgeq.{room}."))
    return found
