"""What PyTorch would run of a file of torch.export.save, found before PyTorch reads it.

`torch.export.load` evaluates the sizes in a program's JSON (through sympy, which evaluates any
Python), compiles its guards and the names of its inputs into functions, and unpickles objects. So
a program may hold arithmetic where arithmetic belongs, plain names elsewhere, and no objects. Of
its `.pt` members, the child process unpickles tensors only.
"""

from __future__ import annotations

import ast
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeq.errors import SourceError

_EXPRESSIONS = ("expr_str", "guards_code")
# JSON inside JSON: how arguments and results are nested.
_NESTED = ("in_spec", "out_spec", "context")
# Where the layers were in Python: PyTorch keeps it as text.
_REMARKS = "metadata"
_PICKLED_OBJECTS = ("custom_obj_", "opaque_obj_")
# Without quotes, brackets and line ends, a name cannot become more than a name.
_PLAIN = re.compile(r"[\w .,:;<>=+/*-]*")

_ARITHMETIC = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Subscript, ast.keyword,
    ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context, ast.Name, ast.Constant,
)  # fmt: skip
_FUNCTIONS = ("max", "min", "abs", "round", "int", "float", "bool")
# Of a tensor, in guards (`L['image'].size()[0] >= 2`), and of `math`.
_ATTRIBUTES = (
    "size", "stride", "storage_offset", "shape", "ndim",
    "floor", "ceil", "trunc", "sqrt", "isnan", "inf",
)  # fmt: skip


def refuse_code(path: Path) -> None:
    """Check the programs in a `.pt2` file; nothing of it is run.

    Raises:
        SourceError: it is damaged, or text in it would be run as code.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            programs = [json.loads(archive.read(name)) for name in names if name.endswith(".json")]
    except (zipfile.BadZipFile, OSError, ValueError, RecursionError) as error:
        raise SourceError(
            f"{path} is damaged: {error}.", hint="Save it again with torch.export.save."
        ) from error
    # Of two members with one name, PyTorch may read the other one.
    twice = next((name for name in names if names.count(name) > 1), None)
    found = twice if twice is not None else next(_code(programs), None)
    if found is not None:
        raise SourceError(
            f"{path} holds {found[:80]!r}, which PyTorch could run as code.",
            hint="Pass --unsafe-deserialization if you trust where the file comes from.",
        )


def _code(value: Any, key: str = "") -> Iterator[str]:
    """The texts in a JSON value that are not what their place is for."""
    if isinstance(value, dict):
        yield from _code(list(value))
        for name, item in value.items():
            if name != _REMARKS:
                yield from _code(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _code(item, key)
    elif not isinstance(value, str):
        return
    elif key in _EXPRESSIONS:
        if not _is_arithmetic(value):
            yield value
    elif key in _NESTED:
        yield from _code(_parse(value))
    elif not _PLAIN.fullmatch(value) or (key == "path_name" and value.startswith(_PICKLED_OBJECTS)):
        yield value


def _parse(text: str) -> Any:
    """The JSON in a text; the text itself when it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _is_arithmetic(text: str) -> bool:
    """Whether a text is a size or a condition on sizes, as `Add(Symbol('s0'), Integer(2))`."""
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError):
        return False
    return "\n" not in text and "#" not in text and all(map(_is_harmless, ast.walk(tree)))


def _is_harmless(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Name):
            # Capitals begin the classes of sympy, small letters the builtins.
            return node.func.id[0].isupper() or node.func.id in _FUNCTIONS
        return isinstance(node.func, ast.Attribute)
    if isinstance(node, ast.Attribute):
        return node.attr in _ATTRIBUTES
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _PLAIN.fullmatch(node.value) is not None
    return isinstance(node, _ARITHMETIC)
