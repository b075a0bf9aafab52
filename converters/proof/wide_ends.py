"""Float operators at the ends of a quantized file, read from its bytes alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from edgeq.converters.graph.ends import Ends, is_layer
from edgeq.tflite import flatbuffer
from edgeq.tflite.flatbuffer import indices
from edgeq.values import OperatorReport

_INTEGERS = ("int8", "uint8", "int16")


def find_wide(
    tree: Any, graph: Any, reports: Sequence[OperatorReport]
) -> tuple[frozenset[int], frozenset[int]]:
    """The float operators without weights in front of the integers, and behind them.

    Those in front read only inputs of the model and constants, and only a QUANTIZE reads their
    results. Those behind read only results of a DEQUANTIZE, inputs and constants, and their results
    are outputs of the model. Everything else in float is inside.

    Args:
        graph: a subgraph of `tree`.
        reports: of its operators.

    Returns:
        Places in `graph.operators`.
    """
    if graph is not tree.subgraphs[0]:
        return frozenset(), frozenset()
    ends = Ends(tree)
    places = [
        place
        for place, report in enumerate(reports)
        if report.precision == "float32" and not is_layer(report.name)
    ]
    sources = frozenset(indices(graph.inputs))
    outputs = frozenset(indices(graph.outputs))
    widened = {
        index
        for place, operator in enumerate(graph.operators)
        if ends.kinds[place] == "DEQUANTIZE"
        and flatbuffer.dtype(graph.tensors[indices(operator.inputs)[0]]) in _INTEGERS
        and not flatbuffer.is_constant(tree, graph.tensors[indices(operator.inputs)[0]])
        for index in ends.makes(place)
    }

    def comes_from(place: int, allowed: Collection[int], found: Collection[int]) -> bool:
        computed = [i for i in ends.reads(place) if i in sources or i in ends.makers]
        return bool(computed) and all(i in allowed or ends.makers.get(i) in found for i in computed)

    def goes_to(place: int, found: Collection[int], kinds: Collection[str]) -> bool:
        readers = {reader for index in ends.makes(place) for reader in ends.readers[index]}
        is_read = bool(readers or outputs & {*ends.makes(place)})
        return is_read and all(one in found or ends.kinds[one] in kinds for one in readers)

    front = _settle(
        places,
        lambda place, found: (
            comes_from(place, sources, found)
            and goes_to(place, found, ("QUANTIZE",))
            and not outputs & {*ends.makes(place)}
        ),
    )
    tail = _settle(
        [place for place in places if place not in front],
        lambda place, found: (
            comes_from(place, sources | widened, found) and goes_to(place, found, ())
        ),
    )
    return front, tail if widened else frozenset()


def _settle(places: Collection[int], belongs: Any) -> frozenset[int]:
    """The largest set of operators such that each belongs to the others."""
    found = frozenset(places)
    while strays := {place for place in found if not belongs(place, found)}:
        found -= strays
    return found
