"""The options of edgeq's functions by name: a misspelled one is an error that names the nearest."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from functools import cache, wraps
from typing import Any

from edgeq.errors import UsageError, did_you_mean


def checked(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Return the function, which refuses options that it does not have.

    Args:
        name: its name in `edgeq`, under which it can also be pickled.
    """
    own = [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    has_more = len(own) < len(inspect.signature(function).parameters)

    @cache
    def known() -> frozenset[str]:
        more = typing.get_type_hints(function)["options"] if has_more else None
        return frozenset([*own, *_fields_of(more)])

    @wraps(function)
    def call(*given: Any, **named: Any) -> Any:
        unknown = next((option for option in named if option not in known()), None)
        if unknown is not None:
            raise UsageError(
                f"edgeq.{name} has no option {unknown!r}.",
                hint=f"{did_you_mean(unknown, sorted(known()))}All options: help(edgeq.{name})",
            )
        return function(*given, **named)

    call.__module__, call.__qualname__ = "edgeq", name
    return call


def _fields_of(annotation: Any) -> Iterator[str]:
    """Yield the fields of the option classes in an annotation, also of those inside them."""
    for kind in (annotation, *typing.get_args(annotation)):
        if is_dataclass(kind):
            for field, inner in typing.get_type_hints(kind).items():
                yield field
                yield from _fields_of(inner)
