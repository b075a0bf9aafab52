"""Finds the subgraphs that a model calls, and removes the others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

# Fields of operators' options that hold the number of a subgraph.
_CALLS = ("thenSubgraphIndex", "elseSubgraphIndex", "condSubgraphIndex", "bodySubgraphIndex",
          "initSubgraphIndex", "subgraph")  # fmt: skip


def called(tree: Any, numbers: Iterable[int]) -> set[int]:
    """Numbers of the subgraphs that some subgraphs call, and that those call."""
    found: set[int] = set()
    new = set(numbers)
    while new:
        reached = {int(getattr(options, field)) for number in new
                   for options, field in calls(tree.subgraphs[number])}  # fmt: skip
        new = {number for number in reached if 0 <= number < len(tree.subgraphs)} - found
        found |= reached
    return found


def drop_uncalled(tree: Any) -> None:
    """Remove the subgraphs that neither a signature nor an operator of another one calls."""
    if any(
        item.builtinOptions2 is not None for graph in tree.subgraphs for item in graph.operators
    ):
        return  # these options may hold subgraphs, too
    used = {0} | {int(signature.subgraphIndex) for signature in tree.signatureDefs or ()}
    used |= called(tree, used)
    if not used <= set(range(len(tree.subgraphs))):
        return  # a damaged call: the interpreter will report it
    place = {old: new for new, old in enumerate(sorted(used))}
    fields = {
        (id(options), field): (options, field)  # operators may share options
        for number in used
        for options, field in calls(tree.subgraphs[number])
    }
    for options, field in fields.values():
        setattr(options, field, place[int(getattr(options, field))])
    for signature in tree.signatureDefs or ():
        signature.subgraphIndex = place[int(signature.subgraphIndex)]
    tree.subgraphs = [tree.subgraphs[number] for number in sorted(used)]


def calls(graph: Any) -> list[tuple[Any, str]]:
    """The options that hold a subgraph's number, with the name of the field."""
    return [
        (item.builtinOptions, field)
        for item in graph.operators
        for field in _CALLS
        if hasattr(item.builtinOptions, field)
    ]
