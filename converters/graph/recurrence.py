"""Finds unrolled recurrent layers: the operators that carry a state from one step to the next.

The steps of such a layer share one matrix of weights, and the product of a step depends on the
product of the step before. A block of a transformer that is used several times does so, too, but on
many rows at once; a step works on one row of each sample.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

from edgeq.converters.graph.ends import is_layer
from edgeq.tflite import flatbuffer
from edgeq.tflite.flatbuffer import indices
from edgeq.tflite.operators import having

_PRODUCT = "FULLY_CONNECTED"
_CUTTING = having("layout") - having("joins")
# Operators that compute a state, behind the last product of a layer.
_BEHIND = having("arithmetic") | having("elementwise") | _CUTTING


def find_recurrent(tree: Any) -> frozenset[int]:
    """The operators of unrolled recurrent layers, with the products of their inputs.

    Args:
        tree: a float model.

    Returns:
        Places in the main subgraph.
    """
    return _Steps(tree).find()


class _Steps:
    """The main subgraph, with its operators by their places."""

    def __init__(self, tree: Any):
        self._tree, graph = tree, tree.subgraphs[0]
        self._tensors, self._operators = graph.tensors, graph.operators
        self._kinds = [flatbuffer.operator_name(tree, item) for item in graph.operators]
        self._makers: dict[int, int] = {}
        self._readers: defaultdict[int, list[int]] = defaultdict(list)
        for place, operator in enumerate(graph.operators):
            for index in self._floats(operator.outputs):
                self._makers[index] = place
            for index in self._floats(operator.inputs):
                self._readers[index].append(place)
        self._batch = max(
            (indices(graph.tensors[index].shape)[:1] or (1,))[0] for index in indices(graph.inputs)
        )

    def find(self) -> frozenset[int]:
        products = self._recurrent_products()
        if not products:
            return frozenset()
        behind = self._walk(products, forward=True)
        before = self._walk(products, forward=False)
        found = {*products, *(behind & before)}
        found |= self._tail(found)
        return frozenset(found | self._walk(found, forward=False))

    def _floats(self, touched: Any) -> list[int]:
        """The tensors among some that are computed, or given, and float32."""
        return [
            index
            for index in indices(touched)
            if index >= 0
            and flatbuffer.dtype(self._tensors[index]) == "float32"
            and not flatbuffer.is_constant(self._tree, self._tensors[index])
        ]

    def _recurrent_products(self) -> set[int]:
        """The products that depend on a product with the same weights, and those they depend on."""
        groups: defaultdict[int, list[int]] = defaultdict(list)
        for place, operator in enumerate(self._operators):
            if self._kinds[place] == _PRODUCT and self._is_step(place):
                groups[int(self._tensors[operator.inputs[1]].buffer)].append(place)
        bits = {
            place: 1 << number
            for number, places in enumerate(own for own in groups.values() if len(own) > 1)
            for place in places
        }
        passed: defaultdict[int, int] = defaultdict(int)  # tensor to the groups before it
        repeated = 0
        for place, operator in enumerate(self._operators):
            seen = 0
            for index in self._floats(operator.inputs):
                seen |= passed[index]
            own = bits.get(place, 0)
            repeated |= seen & own
            for index in self._floats(operator.outputs):
                passed[index] = seen | own
        return {place for place, own in bits.items() if own & repeated}

    def _is_step(self, place: int) -> bool:
        """Whether an operator makes one row for each sample."""
        shape = indices(self._tensors[self._operators[place].outputs[0]].shape)
        return math.prod(shape[:-1]) <= self._batch

    def _walk(self, start: set[int], *, forward: bool) -> set[int]:
        """The operators behind some, or before them; the walk ends in other layers with weights.

        Those before are part of it: they compute what the steps read.
        """
        found: set[int] = set()
        waiting = list(start)
        while waiting:
            place = waiting.pop()
            if not forward and place not in start and is_layer(self._kinds[place]):
                continue
            for near in self._near(place, forward=forward):
                is_end = is_layer(self._kinds[near]) and near not in start
                if near not in found and not (is_end and (forward or not self._is_step(near))):
                    found.add(near)
                    waiting.append(near)
        return found

    def _near(self, place: int, *, forward: bool) -> list[int]:
        operator = self._operators[place]
        if forward:
            return [one for index in self._floats(operator.outputs) for one in self._readers[index]]
        return [
            self._makers[index] for index in self._floats(operator.inputs) if index in self._makers
        ]

    def _tail(self, start: set[int]) -> set[int]:
        """The operators behind the last product, which compute the last state."""
        found: set[int] = set()
        waiting = list(start)
        while waiting:
            for near in self._near(waiting.pop(), forward=True):
                is_own = self._kinds[near] in _BEHIND and self._is_step(near)
                if near not in found and near not in start and is_own:
                    found.add(near)
                    waiting.append(near)
        return found
