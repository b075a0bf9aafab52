"""A check of files of torch.export.save for code, before PyTorch reads them.

torch.export evaluates the sizes in a program's JSON (through sympy, which evaluates any Python),
compiles its guards and the names of its inputs into functions, looks up the functions that its
nodes call anywhere below `torch` (`torch.os.system` is there), imports modules that its tree
specifications name, unpickles objects, and loads compiled libraries (AOTInductor) of the archive.
So a program may hold arithmetic where arithmetic belongs, operators where operators belong, plain
names in other places, and no objects; the archive may hold only programs and tensors. The child
process unpickles only tensors from its `.pt` members.
"""

from __future__ import annotations

import ast
import itertools
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeq.converters.safe_reading import archives
from edgeq.errors import SourceError
from edgeq.files.damage import ZIP_DAMAGE

_EXPRESSIONS = ("expr_str", "guards_code")
# JSON inside JSON: the nesting of arguments and results.
_NESTED = ("in_spec", "out_spec", "context")
# The place of each layer in Python code: PyTorch uses it as text only.
_REMARKS = "metadata"
_PICKLED_OBJECTS = ("custom_obj_", "opaque_obj_")
# The nesting of inputs and outputs; other types name a module to import.
_TREE_TYPES = ("builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict")
_IMPORTS = ("__enum__", "default_factory_module")
# The functions that a node may call: operators with their overload, and functions of sizes.
_TARGETS = re.compile(
    r"torch\.ops\.(aten|prims|quantized_decomposed|torchvision)\.(?!from_file\.)\w+\.\w+"
    r"|torch\.ops\.higher_order\.(cond|while_loop|map_impl|scan|wrap_with_\w+)"
    r"|_operator\.(eq|ne|le|ge|lt|gt|neg|pos|mul|add|sub|floordiv|mod|pow|truediv|and_|or_|lshift"
    r"|rshift|getitem)"
    r"|torch\.sym_(not|int|float|ite|max|min|sqrt|sum)|math\.(trunc|ceil|floor|sqrt)"
)
# In the archive's folder, or at its root in files of torch 2.7 and before.
_MEMBERS = re.compile(
    r"archive_format|archive_version|byteorder|version|\.data/\w+|models/[\w-]+\.json"
    r"|data/(weights|constants|sample_inputs)/[\w-]+(_config\.json|\.pt)?"
    r"|serialized_\w+\.(json|pt)|extra(_files)?/[^\0]*"
)
# Without quotes, brackets and line ends, a name cannot become code.
_PLAIN = re.compile(r"[\w .,:;<>=+/*-]*")

_ARITHMETIC = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Subscript, ast.keyword,
    ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context, ast.Name, ast.Constant,
)  # fmt: skip
_MOST_EXPONENT = 64  # sizes are squared or cubed; larger exponents only take time
_FUNCTIONS = ("max", "min", "abs", "round", "int", "float", "bool")
# The attributes of tensors in guards (`L['image'].size()[0] >= 2`), and those of `math`.
_ATTRIBUTES = (
    "size", "stride", "storage_offset", "shape", "ndim",
    "floor", "ceil", "trunc", "sqrt", "isnan", "inf",
)  # fmt: skip


def refuse_code(path: Path) -> None:
    """Check the programs in a `.pt2` file without running them.

    Raises:
        SourceError: it is damaged, or PyTorch would run a part of it as code.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            # If two members or directories have one name, PyTorch may read the other one.
            unsound = archives.find_in_zip(archive) or archives.find_two_directories(path, archive)
            if unsound is not None:
                raise ValueError(f"{unsound.where} {unsound.what}")
            names = archive.namelist()
            programs = [json.loads(archive.read(name)) for name in names if name.endswith(".json")]
    except ZIP_DAMAGE as error:
        raise SourceError(
            f"{path} is damaged: {error}.", hint="Save it again with torch.export.save."
        ) from error
    unknown = (
        name for name in names
        if not (_MEMBERS.fullmatch(name) or _MEMBERS.fullmatch(name.partition("/")[2]))
    )  # fmt: skip
    found = next(itertools.chain(unknown, _code(programs)), None)
    if found is not None:
        raise SourceError(
            f"{path} holds {found[:80]!r}, which PyTorch could run as code.",
            hint="Pass --unsafe-deserialization if you trust where the file comes from.",
        )


def _code(value: Any, key: str = "", is_tree: bool = False) -> Iterator[str]:
    """The texts in a JSON value that their place does not allow.

    Args:
        value: plain.
        key: of the value in its object.
        is_tree: whether it is part of a tree specification.
    """
    if isinstance(value, dict):
        yield from (name for name in value if name in _IMPORTS)
        yield from _code(list(value))
        for name, item in value.items():
            if name != _REMARKS:
                yield from _code(item, name, is_tree)
    elif isinstance(value, list):
        for item in value:
            yield from _code(item, key, is_tree)
    elif not isinstance(value, str):
        return
    elif key in _EXPRESSIONS:
        if not _is_arithmetic(value):
            yield value
    elif key in _NESTED:
        try:
            nested = json.loads(value)
        except ValueError:
            nested = value
        yield from _code(nested, is_tree=True)
    elif not _is_plain(value, key, is_tree):
        yield value


def _is_plain(text: str, key: str, is_tree: bool) -> bool:
    if key == "target":
        return _TARGETS.fullmatch(text) is not None
    if key == "path_name" and text.startswith(_PICKLED_OBJECTS):
        return False
    if is_tree and key == "type" and text not in _TREE_TYPES:
        return False
    return _PLAIN.fullmatch(text) is not None


def _is_arithmetic(text: str) -> bool:
    """Whether a text is a size or a condition on sizes, as `Add(Symbol('s0'), Integer(2))`."""
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError):
        return False
    return "\n" not in text and "#" not in text and all(map(_is_harmless, ast.walk(tree)))


def _is_harmless(node: ast.AST) -> bool:
    if not _is_bounded(node):
        return False
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


def _is_bounded(node: ast.AST) -> bool:
    """Whether it is quick to compute: not a power of a power, a shift, or repeated text."""
    if isinstance(node, ast.BinOp) and any(map(_is_text, (node.left, node.right))):
        return False
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        base, exponent = node.left, node.right
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and "Pow" in node.func.id:
        if len(node.args) != 2:
            return False
        base, exponent = node.args
    else:
        return not isinstance(node, ast.LShift)
    numbers = [part.value for part in ast.walk(exponent) if isinstance(part, ast.Constant)]
    if any(_is_power(part) for side in (base, exponent) for part in ast.walk(side)):
        return False
    return (
        len(numbers) == 1
        and isinstance(numbers[0], (int, float))
        and abs(numbers[0]) <= _MOST_EXPONENT
    )


def _is_power(node: ast.AST) -> bool:
    return isinstance(node, ast.Pow) or (isinstance(node, ast.Name) and "Pow" in node.id)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
