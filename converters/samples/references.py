"""References to the user's Python objects: "package.module:name"."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeq.converters.samples.input_shapes import quote
from edgeq.converters.samples.kept import read_once
from edgeq.errors import DataError

_REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def load_reference(reference: str) -> Any:
    """Return the object named "package.module:name"; the current folder is importable.

    Raises:
        DataError: there is no such module or object, or importing it fails.
    """
    module_name, _, name = reference.partition(":")
    folder = str(Path.cwd())
    if folder not in sys.path:
        # Last, so that no file here hides a package that edgeq or the function needs; left there,
        # because the function may import more while it runs.
        sys.path.append(folder)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        hint = f"Write {module_name[:-3]}:{name}" if module_name.endswith(".py") else None
        raise DataError(
            f"Module {module_name!r} cannot be imported: {type(error).__name__}: {quote(error)}.",
            hint=hint,
            details=traceback.format_exc(),
        ) from error
    if not hasattr(module, name):
        known = [
            key
            for key, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__ and key[0] != "_"
        ]
        hint = f"It has {', '.join(known) or 'none'}."
        found = None if module.__file__ is None else Path(module.__file__).resolve()
        own = Path(f"{module_name}.py")
        if own.exists() and found != own.resolve():
            hint = f"It is {found}, which hides your {own}: rename yours."
        raise DataError(f"Module {module_name!r} has no function {name!r}.", hint=hint)
    loaded = getattr(module, name)
    if isinstance(loaded, Iterator):
        loaded = read_once(loaded)
        setattr(module, name, loaded)  # the next pass finds what this one has read
    return loaded


def is_function_reference(text: str) -> bool:
    """Whether a text has the form "package.module:function"."""
    return _REFERENCE.fullmatch(text) is not None
