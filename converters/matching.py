"""Which operator of a quantized model is which of the float one, whoever quantized it."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import Any

from edgeq import flatbuffer
from edgeq.converters import layers
from edgeq.errors import DataError

_CONVERTING = ("QUANTIZE", "DEQUANTIZE")

_Key = tuple[str, tuple[int, ...], int]


def match_operators(real: Any, made: Any) -> dict[int, int]:
    """Position of an operator in the float model to its position in the quantized one.

    Layers with weights have to be the same in both, in the same order. Between them operators
    match by type, output shape and fused activation; what a tool added or removed matches nothing.

    Raises:
        DataError: these are two different models; names the first layer that differs.
    """
    require_same_layers(real, made)
    sides = [
        [
            (position, _key(tree, operator))
            for position, operator in enumerate(tree.subgraphs[0].operators)
            if flatbuffer.operator_name(tree, operator) not in _CONVERTING
        ]
        for tree in (real, made)
    ]
    ours, theirs = ([key for _, key in side] for side in sides)
    matcher = SequenceMatcher(None, ours, theirs, autojunk=False)
    return {
        sides[0][block.a + step][0]: sides[1][block.b + step][0]
        for block in matcher.get_matching_blocks()
        for step in range(block.size)
    }


def _key(tree: Any, operator: Any) -> _Key:
    output = tree.subgraphs[0].tensors[flatbuffer.indices(operator.outputs)[0]]
    fused = getattr(operator.builtinOptions, "fusedActivationFunction", 0)
    return flatbuffer.operator_name(tree, operator), flatbuffer.indices(output.shape), fused


def require_same_layers(real: Any, made: Any) -> None:
    """Refuse a quantized model whose layers with weights are not those of the float one.

    Raises:
        DataError: names the first layer that differs.
    """
    ours, theirs = layers.find_layers(real), layers.find_layers(made)
    for number, (own, other) in enumerate(zip(ours, theirs, strict=False), 1):
        if (own.name, own.filter_shape) != (other.name, other.filter_shape):
            raise DataError(
                f"These are two different models: layer {number} with weights is {_show(own)} in "
                f"the float one and {_show(other)} in the other."
            )
    if len(ours) != len(theirs):
        raise DataError(
            f"These are two different models: the float one has {len(ours)} layers with weights, "
            f"the other {len(theirs)}."
        )


def _show(layer: layers.Layer) -> str:
    shape = "x".join(map(str, layer.filter_shape))
    return f"{layer.output.split(';')[0]!r} ({layer.name} {shape})"
