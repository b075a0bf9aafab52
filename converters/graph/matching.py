"""Matches the operators of a float and a quantized model, whatever tool quantized it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any

from edgeq.converters.graph import layers
from edgeq.errors import DataError
from edgeq.tflite import flatbuffer
from edgeq.tflite.operators import CONVERTING

# End of the name of a layer's result that is not in real units; `channel_scales` adds it.
UNITS = "/scaled"

_Keyed = Sequence[tuple[int, tuple[Any, ...]]]


def match_operators(real: Any, made: Any) -> dict[int, int]:
    """Position of an operator in the float model to its position in the quantized one.

    Layers with weights have to be the same in both, in the same order. Between them operators
    match by type, output shape and fused activation; operators that a tool added match nothing. A
    layer whose results are in other units (see `UNITS`) matches nothing, either.

    Raises:
        DataError: these are two different models; names the first layer that differs.
    """
    require_same_layers(real, made)
    return {
        ours: theirs
        for ours, theirs in _match(_keyed(real), _keyed(made))
        if _result(made, theirs) != f"{_result(real, ours)}{UNITS}"
    }


def _result(tree: Any, position: int) -> str:
    graph = tree.subgraphs[0]
    return flatbuffer.tensor_name(graph, flatbuffer.indices(graph.operators[position].outputs)[0])


def pair_layers(one: Any, other: Any) -> dict[int, int]:
    """Position of an operator in one model to that of the same layer in another.

    Unlike the results of `match_operators`, those of a pair need not mean the same: layers with
    weights are paired in their order, whatever activation is fused into them, and whether their
    weights are stored as they are, packed (FP16) or rounded on the way (FAKE_QUANT). Between two of
    them, operators are paired by type and output shape.

    Raises:
        DataError: these are two different models; names the first layer that differs.
    """
    found = [layers.find_layers(tree, even_unpacked=True) for tree in (one, other)]
    _require_same(*found)
    pairs = {own.position: twin.position for own, twin in zip(*found, strict=True)}
    sides = [_keyed(tree) for tree in (one, other)]
    ends = len(one.subgraphs[0].operators), len(other.subgraphs[0].operators)
    begin = (-1, -1)
    for end in [*pairs.items(), ends]:
        between = [
            [(place, key[:2]) for place, key in side if start < place < stop]
            for side, start, stop in zip(sides, begin, end, strict=True)
        ]
        pairs.update(_match(*between))
        begin = end
    return pairs


def _match(ours: _Keyed, theirs: _Keyed) -> Iterator[tuple[int, int]]:
    """Positions of the longest runs of equal keys."""
    one, other = ([key for _, key in side] for side in (ours, theirs))
    for block in SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks():
        for step in range(block.size):
            yield ours[block.a + step][0], theirs[block.b + step][0]


def _keyed(tree: Any) -> _Keyed:
    """Position and key of each operator that computes: type, output shape, fused activation."""
    graph, found = tree.subgraphs[0], []
    for position, operator in enumerate(graph.operators):
        name = flatbuffer.operator_name(tree, operator)
        if name not in CONVERTING:
            output = graph.tensors[flatbuffer.indices(operator.outputs)[0]]
            fused = getattr(operator.builtinOptions, "fusedActivationFunction", 0)
            found.append((position, (name, flatbuffer.indices(output.shape), fused)))
    return found


def require_same_layers(real: Any, made: Any) -> None:
    """Refuse a quantized model whose layers with weights are not those of the float one.

    Raises:
        DataError: names the first layer that differs.
    """
    _require_same(layers.find_layers(real), layers.find_layers(made))


def _require_same(ours: Sequence[layers.Layer], theirs: Sequence[layers.Layer]) -> None:
    def show(layer: layers.Layer) -> str:
        shape = "x".join(map(str, layer.filter_shape))
        return f"{layer.output.split(';')[0]!r} ({layer.name} {shape})"

    for number, (own, other) in enumerate(zip(ours, theirs, strict=False), 1):
        if (own.name, own.filter_shape) != (other.name, other.filter_shape):
            raise DataError(
                f"These are two different models: layer {number} with weights is {show(own)} in "
                f"the float one and {show(other)} in the other."
            )
    if len(ours) != len(theirs):
        raise DataError(
            f"These are two different models: the float one has {len(ours)} layers with weights, "
            f"the other {len(theirs)}."
        )
