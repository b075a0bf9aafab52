"""Finds unrolled recurrent layers: the operators that carry a state from one step to the next.

The steps of such a layer share one matrix of weights, and the product of a step depends on the
product of the step before. A block of a transformer that is used several times does so, too, but on
many rows at once; a step works on one row of each sample.

A model may also compute one step only, with its states as inputs and outputs, which an application
passes on. There, a gate multiplies the state that comes in, and its sum with others goes out.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
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


def find_passed_states(tree: Any) -> tuple[frozenset[int], frozenset[int]]:
    """The inputs and outputs of a float model that hold states from call to call."""
    found = _Steps(tree).passed_states()
    inputs = frozenset(index for state in found for index in state.inputs)
    return inputs, frozenset(index for state in found for index in state.outputs)


@dataclass(frozen=True)
class _PassedState:
    """Tensors in which a state comes in and goes out, and the places of products in its gate."""

    inputs: frozenset[int]
    outputs: frozenset[int]
    products: frozenset[int]


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
        products |= {place for state in self.passed_states() for place in state.products}
        if not products:
            return frozenset()
        behind = self._walk(products, forward=True)
        before = self._walk(products, forward=False)
        found = {*products, *(behind & before)}
        found |= self._tail(found)
        return frozenset(found | self._walk(found, forward=False))

    def passed_states(self) -> list[_PassedState]:
        """The states that a gate multiplies; a hidden state beside it only enters the gate."""
        graph = self._tree.subgraphs[0]
        direct = {index: self._rearranged(index) for index in self._floats(graph.inputs)}
        found = []
        for place, operator in enumerate(self._operators):
            operands = self._floats(operator.inputs) if self._kinds[place] == "MUL" else []
            for state in direct if len(operands) == 2 else ():
                gates = [index for index in operands if index not in direct[state]]
                if len(gates) == 1:
                    found += self._passed(state, place, gates[0], direct)
        return found

    def _passed(
        self, state: int, place: int, gate: int, direct: dict[int, set[int]]
    ) -> list[_PassedState]:
        """The state that a MUL at a place multiplies by a gate, if it is one."""
        maker, shape = self._makers.get(gate), self._shape(state)
        if maker is None:
            return []
        behind = self._walk({maker}, forward=False)
        products = frozenset(p for p in behind if self._kinds[p] == _PRODUCT and self._is_step(p))
        entering = {
            index
            for index, tensors in direct.items()
            if self._shape(index) == shape
            and any(self._operators[p].inputs[0] in tensors for p in products)
        }
        reached = self._tail({place}, _BEHIND | having("joins")) | {place}
        made = {index for p in reached for index in self._floats(self._operators[p].outputs)}
        outputs = frozenset(
            index
            for index in self._floats(self._tree.subgraphs[0].outputs)
            if index in made and self._shape(index) == shape
        )
        if not entering or not outputs:
            return []
        return [_PassedState(frozenset({state, *entering}), outputs, products)]

    def _rearranged(self, index: int) -> set[int]:
        """A tensor, and those that hold its values or a part of them."""
        found, waiting = {index}, [index]
        while waiting:
            for place in self._readers[waiting.pop()]:
                if self._kinds[place] in _CUTTING:
                    waiting += set(self._floats(self._operators[place].outputs)) - found
                    found.update(waiting)
        return found

    def _shape(self, index: int) -> tuple[int, ...]:
        return indices(self._tensors[index].shape)

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

        Those before are part of it: they compute what the steps read, with the product of all
        steps' inputs, which PyTorch's layers compute at once.
        """
        found: set[int] = set()
        waiting = list(start)
        while waiting:
            place = waiting.pop()
            if not forward and place not in start and is_layer(self._kinds[place]):
                continue
            for near in self._near(place, forward=forward):
                is_end = is_layer(self._kinds[near]) and near not in start
                is_own = not forward and (self._is_step(near) or self._is_for_all_steps(near))
                if near not in found and (is_own or not is_end):
                    found.add(near)
                    waiting.append(near)
        return found

    def _is_for_all_steps(self, place: int) -> bool:
        """Whether an operator is a product whose rows are added to those of the states' products.

        The product of another layer before is read by products itself.
        """
        operator = self._operators[place]
        if self._kinds[place] != _PRODUCT or operator.builtinOptions.fusedActivationFunction:
            return False
        seen, waiting, readers = {place}, [place], set()
        while waiting:
            for near in self._near(waiting.pop(), forward=True):
                if self._kinds[near] not in having("layout"):
                    readers.add(self._kinds[near])
                elif near not in seen:
                    seen.add(near)
                    waiting.append(near)
        return bool(readers) and not any(map(is_layer, readers))

    def _near(self, place: int, *, forward: bool) -> list[int]:
        operator = self._operators[place]
        if forward:
            return [one for index in self._floats(operator.outputs) for one in self._readers[index]]
        return [
            self._makers[index] for index in self._floats(operator.inputs) if index in self._makers
        ]

    def _tail(self, start: set[int], kinds: Collection[str] = _BEHIND) -> set[int]:
        """The operators behind the last product, which compute the last state."""
        found: set[int] = set()
        waiting = list(start)
        while waiting:
            for near in self._near(waiting.pop(), forward=True):
                is_own = self._kinds[near] in kinds and self._is_step(near)
                if near not in found and near not in start and is_own:
                    found.add(near)
                    waiting.append(near)
        return found
