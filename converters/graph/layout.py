"""How a file stores weights and activations: where, in what shape, with how many scales."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from edgeq.tflite import flatbuffer
from edgeq.tflite.operators import WEIGHT_INPUT

QUANTIZED = frozenset({"int8", "int4", "uint8", "int16"})
_UNSIGNED_ZERO = 128


@dataclass(frozen=True)
class StoredWeights:
    """An operator's weights as the file holds them.

    Attributes:
        tensor: the constant.
        shape: as the operator sees them; blocks stored as rows are reshaped on the way.
        is_widened: whether the operator reads them through a DEQUANTIZE.
    """

    tensor: Any
    shape: tuple[int, ...]
    is_widened: bool

    @property
    def granularity(self) -> str | None:
        """Either "tensor", "channel" or "block:N"; None for weights that are not quantized."""
        details = block_details(self.tensor)
        if details is not None:
            return f"block:{details.blockSize}"
        parameters = self.tensor.quantization
        count = 0 if parameters is None or parameters.scale is None else len(parameters.scale)
        if count == 0:
            return None
        stored = flatbuffer.indices(self.tensor.shape)
        if stored != self.shape and stored[-1] < self.shape[-1] and count == stored[0]:
            return f"block:{stored[-1]}"
        return "tensor" if count == 1 else "channel"


def stored_weights(tree: Any, graph: Any, operator: Any, name: str) -> StoredWeights | None:
    """The constant behind an operator's weights, through RESHAPE and DEQUANTIZE; None without one.

    Args:
        name: of the operator.
    """
    position = WEIGHT_INPUT.get(name)
    inputs = flatbuffer.indices(operator.inputs)
    if position is None or len(inputs) <= position or inputs[position] < 0:
        return None
    index = inputs[position]
    shape = flatbuffer.indices(graph.tensors[index].shape)
    is_widened = False
    for passed in ("RESHAPE", "DEQUANTIZE"):
        if flatbuffer.is_constant(tree, graph.tensors[index]):
            break
        maker = next(
            (op for op in graph.operators if index in flatbuffer.indices(op.outputs)), None
        )
        if maker is not None and flatbuffer.operator_name(tree, maker) == passed:
            index, is_widened = flatbuffer.indices(maker.inputs)[0], passed == "DEQUANTIZE"
    if not flatbuffer.is_constant(tree, graph.tensors[index]):
        return None
    return StoredWeights(graph.tensors[index], shape, is_widened)


def block_details(tensor: Any) -> Any:
    """The `BlockwiseQuantization` of a tensor, None when it has none."""
    kit = flatbuffer.schema()
    own, blockwise = tensor.quantization, kit.QuantizationDetails.BlockwiseQuantization
    return own.details if own is not None and own.detailsType == blockwise else None


def is_symmetric(tensors: Sequence[Any]) -> bool | None:
    """Whether all zero points are in the middle of their dtype; None for no tensors."""
    if not tensors:
        return None
    return all(
        int(zero) == (_UNSIGNED_ZERO if flatbuffer.dtype(tensor) == "uint8" else 0)
        for tensor in tensors
        for zero in flatbuffer.indices(tensor.quantization.zeroPoint)
    )


def quantized_activations(tree: Any) -> Iterator[Any]:
    """Computed tensors with integers and a scale, of every subgraph."""
    for graph in tree.subgraphs:
        for tensor in graph.tensors:
            scales = None if tensor.quantization is None else tensor.quantization.scale
            is_integer = flatbuffer.dtype(tensor) in QUANTIZED
            if is_integer and scales is not None and not flatbuffer.is_constant(tree, tensor):
                yield tensor


def quantized_weights(tree: Any) -> Iterator[Any]:
    """Constants that operators use as their weights and that hold integers."""
    for graph in tree.subgraphs:
        for operator in graph.operators:
            name = flatbuffer.operator_name(tree, operator)
            found = stored_weights(tree, graph, operator, name)
            if found is not None and found.granularity is not None:
                yield found.tensor
