"""Propose other options for a conversion that lost a part of its outputs, the cheapest first.

An output is lost if values of different ranges share one step, or if a range is far from zero. Both
happen at the ends of a model: in the operators that join, scale and shift its outputs or its
inputs. So the operators there are kept in float, more of them step by step, before the whole model
gets more bits.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgeq.tflite import flatbuffer
from edgeq.tflite.flatbuffer import indices, operator_name
from edgeq.tflite.operators import having
from edgeq.values import ConvertOptions
from edgeq.values.schemes import SCHEMES

_LAYOUT, _WORK = having("layout"), having("work")
_SCALING = _LAYOUT | having("arithmetic")
_STOPS = ("layout", "scaling", "work", "after work")
# A command with more operator names than this is too long to type.
_MOST_NAMED = 24


def selector(name: str, names: Sequence[str]) -> str:
    """Return a `--int16` or `--keep-float` selector that matches only the named operator.

    Args:
        names: names of all operators. A name may be a long list of fused operators; its first part
            is enough if no other operator has it.
    """
    short = f"^{re.escape(name.split(';', maxsplit=1)[0])}(;|$)"
    if sum(re.search(short, other) is not None for other in names) == 1:
        return short
    return f"^{re.escape(name)}$"


def propose(
    content: bytes, lost: Collection[str], options: ConvertOptions
) -> Iterator[ConvertOptions]:
    """Yield options that may lose less, each set once, the cheapest first.

    Args:
        content: the float flatbuffer.
        lost: names of the outputs with a lost part.
        options: options of the conversion that lost it.
    """
    seen = {options}
    wide = replace(options, weights="int8", int4=())
    for found in (wide, *_spare(content, lost, wide), *_with_more_bits(options)):
        if found not in seen:
            seen.add(found)
            yield found


def _spare(
    content: bytes, lost: Collection[str], options: ConvertOptions
) -> Iterator[ConvertOptions]:
    if SCHEMES[options.scheme].activations != "int8" or options.calibrator != "edgeq":
        return
    tree = flatbuffer.parse(content, "the float model")
    graph = _Graph(tree)
    behind = [graph.before_outputs(lost, stop) for stop in _STOPS]
    front = [graph.behind_inputs(stop) for stop in ("work", "after work")]
    for chosen in (*behind, *front, behind[-1] | front[0], behind[-1] | front[-1]):
        names = graph.names_of(chosen)
        if 0 < len(names) <= _MOST_NAMED:
            kept = (*options.keep_float, *(selector(name, graph.names) for name in names))
            yield replace(options, io="float32", keep_float=tuple(dict.fromkeys(kept)))


def _with_more_bits(options: ConvertOptions) -> Iterator[ConvertOptions]:
    whole = replace(
        options, io=None, keep_float=(), int16=(), int4=(), weights="int8",
        calibrator="edgeq",
        granularity="channel",
    )  # fmt: skip
    plain = replace(whole, statistic="auto", corrections="auto")
    for scheme in (SCHEMES[name] for name in SCHEMES[options.scheme].more_bits):
        other = replace(whole if scheme.needs_data else plain, scheme=scheme.name)
        yield other
        if scheme.io[0] != "float32":
            yield replace(other, io="float32")


class _Graph:
    """Operators by number, with the makers and readers of each tensor."""

    def __init__(self, tree: Any):
        self._tree = tree
        self._graph = tree.subgraphs[0]
        self._operators = [op for op in self._graph.operators if indices(op.outputs)]
        self.names = [
            flatbuffer.text(self._graph.tensors[indices(op.outputs)[0]].name)
            for op in self._operators
        ]
        self._makers: Mapping[int, int] = {
            made: number
            for number, op in enumerate(self._operators)
            for made in indices(op.outputs)
        }
        self._readers: dict[int, list[int]] = {}
        for number, op in enumerate(self._operators):
            for read in indices(op.inputs):
                self._readers.setdefault(read, []).append(number)

    def names_of(self, chosen: Collection[int]) -> list[str]:
        """Return the names in execution order."""
        return [self.names[number] for number in sorted(chosen)]

    def before_outputs(self, lost: Collection[str], stop: str) -> frozenset[int]:
        """Return the operators before the lost outputs, back to `stop`."""
        _, outputs = flatbuffer.interface(self._tree)
        ends = zip(outputs, indices(self._graph.outputs), strict=True)
        start = [index for spec, index in ends if spec.name in lost]
        made = [self._makers[index] for index in start if index in self._makers]
        return self._walk(made, stop, self._sources)

    def behind_inputs(self, stop: str) -> frozenset[int]:
        """Return the operators behind the inputs, up to `stop`."""
        start = [
            number
            for index in indices(self._graph.inputs)
            for number in self._readers.get(index, ())
        ]
        return self._walk(start, stop, self._targets)

    def _walk(self, start: Sequence[int], stop: str, then: Any) -> frozenset[int]:
        found: set[int] = set()
        waiting = list(start)
        while waiting:
            number = waiting.pop()
            kind = operator_name(self._tree, self._operators[number])
            is_beyond = {
                "layout": kind not in _LAYOUT,
                "scaling": kind not in _SCALING,
            }.get(stop, kind in _WORK)
            if number in found or (is_beyond and stop != "after work"):
                continue
            found.add(number)
            if not is_beyond:
                waiting += then(number)
        return frozenset(found)

    def _sources(self, number: int) -> list[int]:
        read = indices(self._operators[number].inputs)
        return [self._makers[index] for index in read if index in self._makers]

    def _targets(self, number: int) -> list[int]:
        made = indices(self._operators[number].outputs)
        return [reader for index in made for reader in self._readers.get(index, ())]
