"""Which operators of a float model a user means: by name, or by operator type."""

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
    """Operators that are not to be INT8, by the names of their first outputs.

    Attributes:
        keep_float: those that stay float.
        int16: those with INT16 activations.
    """

    keep_float: tuple[str, ...] = ()
    int16: tuple[str, ...] = ()


NO_MIX = Mix()


def select_mix(content: bytes, keep_float: Sequence[str], int16: Sequence[str]) -> Mix:
    """What `--keep-float` and `--int16` mean; see `select_operators`.

    Raises:
        UsageError: also when both mean the same operator.
    """
    mix = Mix(
        select_operators(content, keep_float, "--keep-float"),
        select_operators(content, int16, "--int16"),
    )
    both = [name for name in mix.int16 if name in set(mix.keep_float)]
    if both:
        raise UsageError(
            f"--keep-float and --int16 contradict each other: both mean {both[0].split(';')[0]!r}"
            + (f" and {len(both) - 1} more." if len(both) > 1 else "."),
            hint="Make one of the selectors narrower.",
        )
    return mix


def select_operators(content: bytes, selectors: Sequence[str], option: str) -> tuple[str, ...]:
    """Operators that at least one selector means.

    Args:
        content: the float flatbuffer.
        selectors: regular expressions, searched in the names of operators' outputs (which begin
            with the layers' names), or "type:CONV_2D", whole and in any case.
        option: that gave them, for messages.

    Returns:
        Names of the operators' first outputs, in execution order.

    Raises:
        UsageError: one cannot be read as a regular expression, or means no operator.
    """
    tree = flatbuffer.parse(content, "the float model")
    graph = tree.subgraphs[0]
    operators = [
        (flatbuffer.operator_name(tree, op), flatbuffer.text(graph.tensors[outputs[0]].name))
        for op in graph.operators
        if (outputs := flatbuffer.indices(op.outputs))
    ]
    chosen: set[str] = set()
    for selector in selectors:
        found = {name for kind, name in operators if _means(selector, kind, name, option)}
        if not found:
            names = ", ".join(repr(name.split(";")[0]) for _, name in operators[:_SHOWN])
            kinds = ", ".join(sorted({kind for kind, _ in operators}))
            raise UsageError(
                f"{option} {selector!r} means none of the model's {len(operators)} operators.",
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


def _means(selector: str, kind: str, name: str, option: str) -> bool:
    pattern = read_selector(selector, option)
    if pattern is None:
        return selector.removeprefix(_TYPE).upper() == kind
    return pattern.search(name) is not None
