"""Only `edgeq.host` uses what Windows or macOS lacks, and every text file has an encoding."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.hosts.absent import KEYWORDS, METHODS, MISUSED, absent, is_absent
from tests.house import ROOT, SOURCES, parse

# Each with the reason why it needs no equivalent.
EXEMPT = {
    "edgeq.host.posix": "the module of the equivalents",
    "edgeq.host.windows": "the module of the equivalents",
    "edgeq.device_runners.on_board.agent.machine": "the agent's module of equivalents",
    "edgeq.device_runners.on_board.keeper": "runs on boards and phones only",
    "edgeq.children.sandbox": "uses what Linux alone has, and reports that other systems lack it",
    "edgeq.fit.tflite_micro_child": "tflite-micro has wheels for Linux only",
}
MODULES = [
    name for name in SOURCES if not any(f"{name}.".startswith(f"{room}.") for room in EXEMPT)
]


def uses(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and name of everything in a file that Windows or macOS lacks."""
    aliases = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {item.asname or item.name: item.name for item in node.names}
            names = [item.name for item in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
            lacking = lacks(node.module or "")
            yield from ((node.lineno, item.name) for item in node.names if item.name in lacking)
        else:
            continue
        for name in names:
            if is_absent(name, "win32") or is_absent(name, "darwin"):
                yield node.lineno, name
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            module = aliases.get(getattr(node.value, "id", ""), "")
            if node.attr in lacks(module) or node.attr in METHODS:
                yield node.lineno, f"{module}.{node.attr}"
        elif isinstance(node, ast.Call):
            yield from ((node.lineno, word.arg) for word in node.keywords if word.arg in KEYWORDS)


@cache
def lacks(module: str) -> frozenset[str]:
    found = absent(module, "win32") | absent(module, "darwin") if module else frozenset()
    return found | MISUSED.get(module, set())


def test_only_the_host_module_uses_what_other_systems_lack() -> None:
    found = {f"{module}:{line}: {name}" for module in MODULES
             for line, name in uses(parse(SOURCES[module]))}  # fmt: skip
    found -= {use for use in found if "adb_server" in use and "select.select" in use}  # of sockets
    assert not found, "put each into edgeq.host"


def test_what_other_systems_lack_is_noticed() -> None:
    lines = [
        "import fcntl", "from signal import SIGKILL", "import os as o, select", "o.killpg(1, 9)",
        "o.sched_getaffinity(0)", "run(x, pass_fds=[3])", "path.symlink_to(p)", "o.kill(1, 0)",
        "o.getpid(); path.join('a')",
    ]  # fmt: skip
    tree = ast.parse("\n".join(lines))
    assert {line for line, _ in uses(tree)} == {1, 2, 4, 5, 6, 7, 8}


@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_the_equivalents_are_what_that_system_has(system: str, tmp_path: Path) -> None:
    """mypy knows the names and types of each system's standard library."""
    command = [sys.executable, "-m", "mypy", "--platform", system, f"--cache-dir={tmp_path}"]
    done = subprocess.run(
        [*command, "--follow-imports=silent", "-p", "edgeq.host"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def unstated(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and call of each text file whose encoding or ends of lines depend on the system."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        words = {word.arg: word.value for word in node.keywords}
        values = [getattr(value, "value", None) for value in node.args]
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        mode = values[not isinstance(node.func, ast.Attribute) or name == "fdopen" :][:1]
        is_open = name == "fdopen" or (name == "open" and isinstance(node.func, ast.Name))
        is_open |= name == "open" and mode[:1] in (["r"], ["w"], ["a"], ["x"])
        if name == "read_text" and not node.args and "encoding" not in words:
            yield node.lineno, "read_text"
        if name == "write_text" and "newline" not in words:
            yield node.lineno, "write_text"
        if is_open and "b" not in str(*mode) and "encoding" not in words:
            yield node.lineno, "open"
        is_run = name in ("run", "Popen", "check_output") and "text" in words
        if is_run and "encoding" not in words:
            yield node.lineno, "text=True"


def test_every_text_file_has_an_encoding_and_the_same_bytes_everywhere() -> None:
    found = {f"{module}:{line}: {name}" for module in MODULES
             for line, name in unstated(parse(SOURCES[module]))}  # fmt: skip
    assert not found, "state the encoding, or write bytes"


def test_a_text_file_without_an_encoding_is_noticed() -> None:
    lines = [
        "p.read_text()", "p.write_text(x, 'utf-8')", "open(p)", "p.open('w')",
        "os.fdopen(3, 'w')", "subprocess.run(c, text=True)", "open(p, 'rb'); p.read_text('utf-8')",
        "p.write_text(x, 'utf-8', newline='')", "tarfile.open(p, 'w'); session.open()",
    ]  # fmt: skip
    assert {line for line, _ in unstated(ast.parse("\n".join(lines)))} == {1, 2, 3, 4, 5, 6}
