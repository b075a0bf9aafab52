"""Which operator of a `.tflite` each piece of work of the runtime belongs to.

TensorFlow Lite tells the operator's index. XNNPACK gets groups of operators, numbers its own nodes
and names only their kind: they are matched by order and kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeq.tflite import flatbuffer
from edgeq.tflite.operators import facts, having

# Kind of node to the operators that it computes, where its name is not the operator's.
_COMPUTES: dict[str, set[str]] = {}
for _operator, _kinds in facts("xnnpack").items():
    for _of in _kinds:
        _COMPUTES.setdefault(_of, set()).add(_operator)
_BEFORE = {"STATIC_RESHAPE", "CONVERT", "COPY", "TRANSPOSE", "CONSTANT_PAD"}  # for the next node
_AFTER = {"CLAMP"}  # for the node before it
_VANISHING = having("vanishes")

# Costs of an alignment: a helper or a vanished operator is usual, a stranger is not.
_REPEATED, _USUAL, _STRANGE = 1, 2, 10


def map_events(tree: Any, events: Sequence[dict[str, Any]]) -> list[int | None]:
    """Index of each event's operator in the main subgraph, None where it belongs to none.

    Args:
        events: of the main subgraph, as `on_board/agent/profiler` reports them.
    """
    graph = tree.subgraphs[0]
    own = {event["operator"] for event in events if event["kind"] == "builtin"}
    places = [number for number, event in enumerate(events) if event["kind"] == "delegate"]
    delegated = delegated_order(graph, own) if places else []
    names = [flatbuffer.operator_name(tree, graph.operators[index]) for index in delegated]
    found = _align(names, [_kind(events[place]["name"]) for place in places])
    mapped: list[int | None] = [
        event["operator"] if event["kind"] == "builtin" else None for event in events
    ]
    for place, position in zip(places, found, strict=True):
        mapped[place] = None if position is None else delegated[position]
    return mapped


def delegated_order(graph: Any, own: set[int]) -> list[int]:
    """Operators that a delegate computes, in its order.

    TensorFlow Lite gathers operators of one side, the delegate's or its own, for as long as their
    inputs are there, then those of the other side, and so on.

    Args:
        own: operators that TensorFlow Lite computes itself.
    """
    operators = graph.operators
    waiting = {i for operator in operators for i in flatbuffer.indices(operator.outputs)}
    left = list(range(len(operators)))
    order: list[int] = []
    while left:
        side: bool | None = None
        taken: set[int] = set()
        is_growing = True
        while is_growing:
            is_growing = False
            for index in left:
                if index in taken or waiting & set(flatbuffer.indices(operators[index].inputs)):
                    continue
                side = (index in own) if side is None else side
                if side == (index in own):
                    taken.add(index)
                    waiting -= set(flatbuffer.indices(operators[index].outputs))
                    is_growing = True
                    if not side:
                        order.append(index)
        if not taken:
            break
        left = [index for index in left if index not in taken]
    return order


def _kind(name: str) -> str:
    """What a node computes: CONVOLUTION for "Convolution (NHWC, F32) DWConv"."""
    return name.partition("(")[0].strip().upper().replace(" ", "_")


def _computes(kind: str, operator: str) -> bool:
    return operator in _COMPUTES.get(kind, (kind,))


def _align(operators: Sequence[str], nodes: Sequence[str]) -> list[int | None]:
    """Position of each node's operator: the cheapest alignment that keeps both orders."""
    steps = _cheapest_steps(operators, nodes)
    found: list[int | None] = [None] * len(nodes)
    row, column = len(operators), len(nodes)
    ahead: int | None = None  # the operator that the next node computes
    while row or column:
        step = steps[row][column]
        if step == "match":
            row, column = row - 1, column - 1
            found[column] = ahead = row
        elif step == "vanished":
            row -= 1
        else:
            column -= 1
            found[column] = {"repeated": row - 1, "before": ahead}.get(step)
    return found


def _cheapest_steps(operators: Sequence[str], nodes: Sequence[str]) -> list[list[str]]:
    """The last step of the cheapest alignment of each pair of beginnings (Needleman-Wunsch)."""
    steps = [["", *("before" if node in _BEFORE else "stranger" for node in nodes)]]
    costs = [0]
    for node in nodes:
        costs.append(costs[-1] + (_USUAL if node in _BEFORE else _STRANGE))
    for operator in operators:
        gone = _USUAL if operator in _VANISHING else _STRANGE
        row, line = [costs[0] + gone], ["vanished"]
        for column, node in enumerate(nodes, 1):
            # Of equal costs the first: a helper stands right before the node that it helps.
            helper = ("before", _USUAL) if node in _BEFORE else ("stranger", _STRANGE)
            choices = [(costs[column] + gone, "vanished"), (row[-1] + helper[1], helper[0])]
            if _computes(node, operator):
                choices.append((costs[column - 1], "match"))
                if node != "STATIC_RESHAPE":  # two in a row belong to two operators
                    choices.append((row[-1] + _REPEATED, "repeated"))
            elif node in _AFTER:
                choices.append((row[-1] + _USUAL, "repeated"))
            cost, step = min(choices, key=lambda choice: choice[0])
            row.append(cost)
            line.append(step)
        costs = row
        steps.append(line)
    return steps
