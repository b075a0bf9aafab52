"""What Windows and macOS lack, from typeshed's stubs of the standard library."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import mypy

_STUBS = Path(mypy.__file__).parent / "typeshed/stdlib"
_PARTS = {"_signal", "_socket", "_thread", "posix", "_posixsubprocess", "path", None}
# Keywords of functions that those systems refuse or ignore, and methods that need a privilege.
KEYWORDS = {"preexec_fn", "pass_fds", "start_new_session", "process_group", "dir_fd",
            "src_dir_fd", "dst_dir_fd"}  # fmt: skip
METHODS = {"symlink_to", "hardlink_to"}
# `os.kill` exists on Windows, but a signal 0 is Ctrl-C there; `select` takes sockets only.
MISUSED = {"os": {"kill", "symlink", "link"}, "select": {"select"}}


@cache
def absent(module: str, system: str) -> frozenset[str]:
    """Names of a module that Linux has and this system lacks."""
    return _names(module, "linux") - _names(module, system)


@cache
def is_absent(module: str, system: str) -> bool:
    """Whether this system lacks all that a module has on Linux."""
    return bool(_names(module, "linux")) and not _names(module, system)


@cache
def _names(module: str, system: str) -> frozenset[str]:
    path = _STUBS / module.replace(".", "/")
    path = path / "__init__.pyi" if path.is_dir() else path.with_suffix(".pyi")
    if not path.is_file():
        return frozenset()
    return frozenset(_defined(ast.parse(path.read_text("utf-8")).body, system))


def _defined(body: list[ast.stmt], system: str) -> list[str]:
    names: list[str] = []
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.append(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.append(node.target.id)
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.ImportFrom) and node.module and node.names[0].name == "*":
            names += _names(node.module, system)
        elif isinstance(node, ast.ImportFrom) and node.module in _PARTS:
            names += [alias.asname or alias.name for alias in node.names]
        elif isinstance(node, ast.If):
            names += _defined(node.body if _is_true(node.test, system) else node.orelse, system)
    return [name for name in names if not name.startswith("__")]


def _is_true(test: ast.expr, system: str) -> bool:
    """A condition of a stub: the system, or a version of Python, of which we take the newest."""
    if isinstance(test, ast.BoolOp):
        values = [_is_true(value, system) for value in test.values]
        return all(values) if isinstance(test.op, ast.And) else any(values)
    if isinstance(test, ast.UnaryOp):
        return not _is_true(test.operand, system)
    if isinstance(test, ast.Compare) and ast.unparse(test.left) == "sys.platform":
        (value,) = test.comparators
        is_same = ast.literal_eval(value) == system
        return is_same if isinstance(test.ops[0], ast.Eq) else not is_same
    return isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.GtE)
