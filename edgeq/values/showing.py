"""How values show themselves: in a bounded line of text, and in a notebook."""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any, TypeVar

T = TypeVar("T")

MOST = 1000  # letters of a value's text
_ITEMS = 3  # of a tuple
_TEXT = 60  # letters of a text in it


class Shown:
    """A result that a notebook shows in the words of the terminal."""

    def _repr_html_(self) -> str:
        # From the public name: values are on the lowest floor, and import none above.
        return str(importlib.import_module("edgeq").as_html(self))


def bounded(cls: type[T]) -> type[T]:
    """Decorate a dataclass: its `repr` has at most `MOST` letters, whatever the model's size."""
    cls.__repr__ = _short  # type: ignore[method-assign]
    return cls


def _short(value: Any) -> str:
    fields = [
        f"{field.name}={_part(getattr(value, field.name), 0)}"
        for field in dataclasses.fields(value)
        if getattr(value, field.name) != field.default
    ]
    text = f"{type(value).__name__}({', '.join(fields)})"
    return text if len(text) <= MOST else f"{text[: MOST - 2]}…)"


def _part(value: Any, depth: int) -> str:
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        first = f"{names[0]}={_part(getattr(value, names[0]), depth + 1)}" if names else ""
        return f"{type(value).__name__}({first}{', …' if len(names) > 1 else ''})"
    if isinstance(value, tuple):
        if depth > 1 and value:
            return f"({len(value)} items)"
        shown = [_part(item, depth + 1) for item in value[:_ITEMS]]
        rest = [f"… {len(value)} in all"] if len(value) > _ITEMS else []
        return f"({', '.join([*shown, *rest])}{',' if len(value) == 1 else ''})"
    text = repr(value)
    return text if len(text) <= _TEXT else f"{text[: _TEXT // 2]}…{text[-_TEXT // 2 + 1 :]}"
