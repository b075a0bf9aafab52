"""From events of the runtime to operators of a `.tflite`.

TensorFlow Lite reports the operator's index. XNNPACK gets groups of operators, numbers its own
nodes and names only their kind: they are matched by order and kind.
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
    """Index of each event's operator in the main subgraph, None if it belongs to no operator.

    Args:
        events: of the main subgraph, as `on_board/agent/profiler` reports them.
    """
    graph = tree.subgraphs[0]
    own = {event["operator"] for event in events if event["kind"] == "builtin"}
    places = [number for number, event in enumerate(events) if event["kind"] == "delegate"]
    delegated = delegated_order(graph, own) if places else []
    names = [flatbuffer.operator_name(tree, graph.operators[index]) for index in delegated]
    # CONVOLUTION for "Convolution (NHWC, F32) DWConv".
    kinds = [events[p]["name"].partition("(")[0].strip().upper().replace(" ", "_") for p in places]
    found = _align(names, kinds)
    mapped: list[int | None] = [
        event["operator"] if event["kind"] == "builtin" else None for event in events
    ]
    for place, position in zip(places, found, strict=True):
        mapped[place] = None if position is None else delegated[position]
    return mapped


def delegated_order(graph: Any, own: set[int]) -> list[int]:
    """Operators that a delegate computes, in its order.

    TensorFlow Lite collects operators of one side, the delegate's or its own, while their inputs
    are available, then those of the other side, and so on.

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
            # The first of equal costs wins: a helper is right before the node that it helps.
            helper = ("before", _USUAL) if node in _BEFORE else ("stranger", _STRANGE)
            choices = [(costs[column] + gone, "vanished"), (row[-1] + helper[1], helper[0])]
            if operator in _COMPUTES.get(node, (node,)):
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
