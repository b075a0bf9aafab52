"""A target of packages is a folder and its name in one table."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import edgeq
from edgeq.packaging import targets

ROOT = Path(edgeq.__file__).parent
WORDS = ROOT / "cli" / "words.py"  # of other tools; a target needs none there
TABLE = ROOT / "packaging/targets/__init__.py"


@pytest.mark.parametrize("name", targets.NAMES)
def test_no_other_code_asks_for_a_target_by_name(name: str) -> None:
    # "python" is an option of other commands, too.
    rooms = ("packaging", "cli", "pipeline", "render") if name != "python" else ("packaging",)
    naming = [
        path
        for room in rooms
        for path in (ROOT / room).rglob("*.py")
        if path != WORDS and (path == TABLE or TABLE.parent not in path.parents)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value == name
    ]
    assert naming == [TABLE]
    assert targets.find_target(name).title
