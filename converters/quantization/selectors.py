"""Selectors of a float model's operators, by name or by operator type."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgeq.errors import UsageError
from edgeq.tflite import flatbuffer

_TYPE = "type:"
_SHOWN = 4


@dataclass(frozen=True)
class Mix:
    """Operators that do not become INT8, by the names of their first outputs.

    Attributes:
        keep_float: those that stay float.
        int16: those with INT16 activations.
    """

    keep_float: tuple[str, ...] = ()
    int16: tuple[str, ...] = ()


NO_MIX = Mix()


def select_mix(content: bytes, keep_float: Sequence[str], int16: Sequence[str]) -> Mix:
    """The operators that `--keep-float` and `--int16` select, see `select_operators`.

    Raises:
        UsageError: also if both select the same operator.
    """
    mix = Mix(
        select_operators(content, keep_float, "--keep-float"),
        select_operators(content, int16, "--int16"),
    )
    both = [name for name in mix.int16 if name in set(mix.keep_float)]
    if both:
        raise UsageError(
            f"--keep-float and --int16 contradict each other: both select {both[0].split(';')[0]!r}"
            + (f" and {len(both) - 1} more." if len(both) > 1 else "."),
            hint="Make one of the selectors narrower.",
        )
    return mix


def select_operators(content: bytes, selectors: Sequence[str], option: str) -> tuple[str, ...]:
    """Operators that at least one selector matches.

    Args:
        content: the float flatbuffer.
        selectors: regular expressions, searched in the names of operators' outputs (which begin
            with the layers' names), or "type:CONV_2D", whole and in any case.
        option: that gave them, for messages.

    Returns:
        Names of the operators' first outputs, in execution order.

    Raises:
        UsageError: one cannot be read as a regular expression, or matches no operator.
    """
    tree = flatbuffer.parse(content, "the float model")
    graph = tree.subgraphs[0]
    operators = [
        (flatbuffer.operator_name(tree, op), flatbuffer.tensor_name(graph, outputs[0]))
        for op in graph.operators
        if (outputs := flatbuffer.indices(op.outputs))
    ]
    chosen: set[str] = set()
    for selector in selectors:
        pattern, own = read_selector(selector, option), selector.removeprefix(_TYPE).upper()
        found = {
            name
            for kind, name in operators
            if (kind == own if pattern is None else pattern.search(name))
        }
        if not found:
            names = ", ".join(repr(name.split(";")[0]) for _, name in operators[:_SHOWN])
            kinds = ", ".join(sorted({kind for kind, _ in operators}))
            raise UsageError(
                f"{option} {selector!r} matches none of the model's {len(operators)} operators.",
                hint=f"Their names begin {names}; types, as in type:CONV_2D, are {kinds}.",
            )
        chosen |= found
    return tuple(name for _, name in operators if name in chosen)


def read_selector(selector: str, option: str) -> re.Pattern[str] | None:
    """The regular expression, None for a selector by type.

    Raises:
        UsageError: it cannot be read as one.
    """
    if selector.startswith(_TYPE):
        return None
    try:
        return re.compile(selector)
    except re.error as error:
        raise UsageError(
            f"{option} {selector!r} cannot be read as a regular expression: {error}."
        ) from error
