"""The ends of a model: operators in front of its first layers with weights and behind its last.

They arrange, scale or join values. Their results may have unlike ranges under one INT8 step.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from typing import Any

from edgeq.tflite import flatbuffer
from edgeq.tflite.flatbuffer import indices
from edgeq.tflite.operators import having

_LAYOUT = having("layout")
ARRANGING = _LAYOUT - having("joins")  # one operand, so one scale for all values
_SCALING = _LAYOUT | having("arithmetic")
_LAYERS = having("work") | having("product") | having("recurrent") | having("stateful")
# Kinds of operators that an end may have, fewer first; layers with weights never belong to it.
LEVELS = ("layout", "scaling", "all")


def is_layer(kind: str) -> bool:
    """Whether an operator does the work of a layer with weights, or of attention."""
    return kind in _LAYERS


class Ends:
    """The ends of a float model's main subgraph; operators are named by their places.

    Args:
        tree: the model.
        barred: operators that belong to no end.
    """

    def __init__(self, tree: Any, barred: Collection[int] = ()):
        self._graph = graph = tree.subgraphs[0]
        self.kinds = [flatbuffer.operator_name(tree, operator) for operator in graph.operators]
        self._barred = frozenset(barred)
        self._outputs = frozenset(indices(graph.outputs))
        self.makers: dict[int, int] = {}
        self.readers: dict[int, list[int]] = defaultdict(list)
        for place, operator in enumerate(graph.operators):
            for index in indices(operator.outputs):
                self.makers[index] = place
            for index in self.reads(place):
                self.readers[index].append(place)
        self._inputs = frozenset(indices(graph.inputs))

    def reads(self, place: int) -> tuple[int, ...]:
        """The float tensors that an operator reads, constants included."""
        return self._floats(indices(self._graph.operators[place].inputs))

    def makes(self, place: int) -> tuple[int, ...]:
        """The float tensors that an operator makes."""
        return self._floats(indices(self._graph.operators[place].outputs))

    def _floats(self, found: tuple[int, ...]) -> tuple[int, ...]:
        tensors = self._graph.tensors
        return tuple(i for i in found if i >= 0 and flatbuffer.dtype(tensors[i]) == "float32")

    def _may_take(self, level: str) -> Callable[[int], bool]:
        def takes(place: int) -> bool:
            kind = self.kinds[place]
            known = {"layout": kind in _LAYOUT, "scaling": kind in _SCALING}
            return place not in self._barred and known.get(level, not is_layer(kind))

        return takes

    def tail(self, outputs: Collection[int], level: str) -> frozenset[int]:
        """The operators that lead from the last layers to some outputs, and nowhere else.

        Operators at its beginning that only arrange values are left out: they cost nothing in INT8.

        Args:
            outputs: tensors.
            level: a value of `LEVELS`.
        """
        found = set(self.lead(outputs, level))
        while first := {
            place
            for place in found
            if self.kinds[place] in ARRANGING
            and not any(self.makers.get(index) in found for index in self.reads(place))
        }:
            found -= first
        return frozenset(found)

    def lead(self, outputs: Collection[int], level: str) -> frozenset[int]:
        """The operators of `tail`, with those at its beginning."""
        takes = self._may_take(level)
        found: set[int] = set()
        waiting = list(outputs)
        while waiting:
            place = self.makers.get(waiting.pop())
            if place is not None and place not in found and takes(place):
                found.add(place)
                waiting += self.reads(place)
        others = self._outputs - set(outputs)

        def leads_elsewhere(place: int) -> bool:
            made = self.makes(place)
            return bool(others & set(made)) or any(
                reader not in found for index in made for reader in self.readers[index]
            )

        while strays := {place for place in found if leads_elsewhere(place)}:
            found -= strays
        return frozenset(found)

    def front(self, level: str) -> frozenset[int]:
        """The operators that lead from the inputs to the first layers, and need nothing else.

        Operators at its end that only arrange values are left out: they cost nothing in INT8.
        """
        takes = self._may_take(level)
        found: set[int] = set()
        for place in range(len(self.kinds)):  # execution order
            computed = [i for i in self.reads(place) if i in self._inputs or i in self.makers]
            is_behind = all(i in self._inputs or self.makers[i] in found for i in computed)
            if computed and is_behind and takes(place) and not self._outputs & {*self.makes(place)}:
                found.add(place)
        while last := {
            place
            for place in found
            if self.kinds[place] in ARRANGING and not found & self._behind(place)
        }:
            found -= last
        return frozenset(found)

    def _behind(self, place: int) -> set[int]:
        return {reader for index in self.makes(place) for reader in self.readers[index]}

    def before(self, tail: Collection[int], outputs: Collection[int]) -> tuple[int, ...]:
        """The computed tensors that a tail reads, and the outputs that it does not make."""
        read = [index for place in sorted(tail) for index in self.reads(place)]
        found = dict.fromkeys([*read, *outputs])
        return tuple(i for i in found if i in self.makers and self.makers[i] not in tail)

    def behind(self, front: Collection[int]) -> tuple[int, ...]:
        """The tensors that a front makes for others."""
        made = [index for place in sorted(front) for index in self.makes(place)]
        return tuple(i for i in made if any(reader not in front for reader in self.readers[i]))
