"""The table of builtin operators: what edgeq knows of each, in one place.

Other modules get the operators that have a trait (`having`) or a fact (`facts`). A new quirk of an
operator is added here, not in those modules.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

TRAITS = {
    "arithmetic": "adds, subtracts, multiplies or divides two operands",
    "blocks": "its weights can have a scale per block of inputs",
    "commutes": "multiplying a channel by a positive factor before or after it is the same",
    "converts": "changes the dtype of its input and nothing else",
    "curved": "is nonlinear, so that small steps of its input matter",
    "elementwise": "computes each value from the operands' values at the same place",
    "fixed_range": "its values have the same range in every model",
    "joins": "joins operands under one scale",
    "layout": "arranges values differently and computes nothing",
    "masks": "may use a constant infinity on purpose, as masks do",
    "micro": "TensorFlow Lite for Microcontrollers has a kernel",
    "normalizes": "is part of a normalization",
    "passes": "returns its input's values unchanged, with one scale for both",
    "product": "multiplies its input with a matrix or a filter",
    "quantizes": "converts between real values and integers with a scale",
    "recurrent": "fused recurrent layer: has tensors that are neither inputs nor results",
    "rowwise": "`saturates` counts down from the largest value of each row",
    "stateful": "keeps values from one inference to the next",
    "sum": "adds or subtracts two operands",
    "vanishes": "XNNPACK often makes it part of another operator",
    "work": "does the work of a layer with weights, or of attention",
}


@dataclass(frozen=True)
class Operator:
    """Facts about a builtin operator.

    Attributes:
        releases: TensorFlow Lite release since which each version exists, the first version's
            first; "-" for unreleased ones. From TensorFlow's tools/versioning/runtime_version.cc.
        traits: words that `TRAITS` explains.
        weights: number of the input that quantizers are expected to quantize as weights.
        channel_axis: axis of its filter that counts the output channels, of operators with a
            kernel for INT8 weights and float activations.
        input_axis: axis of its filter that counts the input channels.
        saturates: magnitude of the input beyond which 8-bit outputs (steps of 1/256, of TANH
            1/128) change by a tenth of a step at most.
        micro_name: of its MicroMutableOpResolver method, if that is not its name in Pascal case.
        xnnpack: XNNPACK's types of nodes that compute it, if their names differ from its name.
    """

    releases: tuple[str, ...] = ()
    traits: frozenset[str] = frozenset()
    weights: int | None = None
    channel_axis: int | None = None
    input_axis: int | None = None
    saturates: float | None = None
    micro_name: str | None = None
    xnnpack: tuple[str, ...] = ()


# Each row: the name, its releases, then its facts, perhaps on indented lines.
_ROWS = """
ABS 1.13 2.4 2.5 2.6 2.12 elementwise micro
ADD 1.5 1.14 2.4 2.6 2.13 xnnpack=INVALID_UNARY_OP elementwise arithmetic sum masks micro
ADD_N 1.14 micro
ARG_MAX 1.9 1.14 2.9 micro
ARG_MIN 1.9 1.14 2.9 micro
ASSIGN_VARIABLE 2.6 micro
ATAN2 2.10
AVERAGE_POOL_2D 1.5 1.14 2.3 xnnpack=AVERAGE_POOLING,GLOBAL_AVERAGE_POOLING commutes micro
BATCH_MATMUL 2.3 2.3 2.4 2.5
    weights=1 micro_name=BatchMatMul
    xnnpack=BATCH_MATRIX_MULTIPLY,DYNAMIC_FULLY_CONNECTED product work micro
BATCH_TO_SPACE_ND 1.6 1.14 2.3 2.12 micro
BIDIRECTIONAL_SEQUENCE_LSTM 1.14 1.14 1.14 recurrent
BIDIRECTIONAL_SEQUENCE_RNN 1.14 1.14 2.3 recurrent
BROADCAST_ARGS 2.6 micro
BROADCAST_TO - 2.5 2.5 micro
BUCKETIZE 2.8
CALL_ONCE 2.5 micro
CAST 1.5 2.7 2.8 2.9 2.12 2.15 2.17 xnnpack=CONVERT elementwise converts micro
CEIL 1.14 elementwise micro
CONCATENATION 1.5 1.14 2.3 2.14 xnnpack=COPY layout joins micro
CONV_2D 1.5 1.14 1.14 2.3 2.4 2.9 2.11 2.15
    weights=1 channel_axis=0 input_axis=3 xnnpack=CONVOLUTION,FULLY_CONNECTED product
    work micro
CONV_3D 2.5 weights=1 product work
CONV_3D_TRANSPOSE 2.6
COS 1.14 micro
CUMSUM 2.4 micro_name=CumSum micro
DENSIFY 2.2
DEPTHWISE_CONV_2D 1.5 1.12 1.14 2.2 2.3 2.3 2.11
    weights=1 channel_axis=3 input_axis=3 xnnpack=CONVOLUTION product work
    micro
DEPTH_TO_SPACE 2.1 2.5 micro
DEQUANTIZE 1.13.1 1.14 1.15 2.2 2.7 2.18
    xnnpack=CONVERT elementwise converts quantizes vanishes micro
DILATE 2.15
DIV 1.6 2.3 xnnpack=DIVIDE normalizes elementwise arithmetic masks micro
DYNAMIC_UPDATE_SLICE 2.9 2.17 2.19 2.20 micro
ELU 1.14 curved elementwise micro
EMBEDDING_LOOKUP 1.13 1.14 1.14 2.18 weights=1 masks micro
EQUAL 1.14 1.14 2.3 2.13 micro
EXP 1.7 2.12 curved elementwise micro
EXPAND_DIMS 1.10 xnnpack=COPY,STATIC_RESHAPE layout vanishes micro
FAKE_QUANT 1.5 1.10
FILL 1.13 2.3 2.5 2.12 micro
FLOOR 1.9 elementwise micro
FLOOR_DIV 1.14 1.14 2.13 micro
FLOOR_MOD 1.13 2.13 micro
FULLY_CONNECTED 1.5 1.10 1.14 1.14 2.0 2.1 2.3 2.3 2.3 2.11 2.15 2.17 2.18
    weights=1 channel_axis=0 input_axis=1
    xnnpack=BATCH_MATRIX_MULTIPLY,DYNAMIC_FULLY_CONNECTED,FULLY_CONNECTED product work blocks micro
GATHER 1.6 1.14 1.15 2.4 2.5 2.13 2.15 weights=0 masks layout micro
GATHER_ND 1.14 2.3 2.5 2.13 2.16 micro
GELU 2.9 2.9 curved elementwise
GREATER 1.14 1.14 micro
GREATER_EQUAL 1.14 1.14 2.13 micro
HARD_SWISH 1.15 xnnpack=HARDSWISH,INVALID_UNARY_OP curved elementwise micro
IF 1.15 micro
L2_NORMALIZATION 1.5 1.14 fixed_range micro
L2_POOL_2D 1.5 micro
LEAKY_RELU 1.13.1 2.3 commutes elementwise micro
LESS 1.14 1.14 2.13 micro
LESS_EQUAL 1.14 1.14 micro
LOCAL_RESPONSE_NORMALIZATION 1.5
LOG 1.14 2.15 elementwise micro
LOGICAL_AND 1.11 micro
LOGICAL_NOT 1.11 micro
LOGICAL_OR 1.11 micro
LOGISTIC 1.14 1.14 2.3
    saturates=8 xnnpack=INVALID_UNARY_OP,SIGMOID fixed_range curved elementwise
    micro
LOG_SOFTMAX 1.14 1.14 micro
LSTM 1.7 1.10 1.14 2.3 recurrent
MATRIX_DIAG 1.14
MATRIX_SET_DIAG 1.14
MAXIMUM 1.14 1.14 2.3 2.3 elementwise micro
MAX_POOL_2D 1.5 1.14 2.3 xnnpack=MAX_POOLING commutes micro
MEAN 1.6 1.14 2.4 xnnpack=GLOBAL_AVERAGE_POOLING normalizes commutes micro
MINIMUM 1.14 1.14 2.3 2.3 elementwise micro
MIRROR_PAD 1.13.1 2.3 2.12 micro
MUL 1.5 1.14 1.15 2.3 2.6 2.11 2.13
    xnnpack=INVALID_UNARY_OP,MULTIPLY elementwise arithmetic masks micro
NEG 1.9 xnnpack=NEGATE elementwise micro
NOT_EQUAL 1.14 1.14 2.3 micro
ONE_HOT 1.11
PACK 1.11 1.14 2.3 2.13 xnnpack=COPY layout joins micro
PAD 1.5 1.14 2.4 2.6 xnnpack=CONSTANT_PAD commutes vanishes micro
PADV2 1.9 1.14 2.4 2.6 micro_name=PadV2 xnnpack=CONSTANT_PAD micro
POW 1.10 elementwise
PRELU 1.8 commutes masks micro
QUANTIZE 1.14 1.15 2.7
    xnnpack=CONVERT elementwise converts quantizes vanishes micro
RANGE 1.13 2.14
RANK 1.14
READ_VARIABLE 2.6 micro
REDUCE_ALL 2.6 micro
REDUCE_ANY 1.11
REDUCE_MAX 1.11 1.14 2.5 micro
REDUCE_MIN 1.11 1.14 2.5 micro
REDUCE_PROD 1.11 2.6
RELU 1.5 2.1 2.5 xnnpack=CLAMP commutes elementwise micro
RELU6 1.5 1.14 2.5 xnnpack=CLAMP elementwise micro
RELU_0_TO_1 2.10 xnnpack=CLAMP elementwise
RELU_N1_TO_1 1.5 xnnpack=CLAMP fixed_range elementwise
RESHAPE 1.5 xnnpack=COPY,STATIC_RESHAPE layout passes commutes vanishes micro
RESIZE_BILINEAR 1.7 1.14 2.2 2.5 commutes micro
RESIZE_NEAREST_NEIGHBOR 1.13.1 1.14 2.3 2.4 commutes micro
REVERSE_SEQUENCE 1.14
REVERSE_V2 1.14 2.2 2.5 micro
RNN 1.5 1.14 2.3 recurrent
ROUND 1.14 elementwise micro
RSQRT 1.10 2.5 2.15 xnnpack=RECIPROCAL_SQUARE_ROOT normalizes elementwise micro
SCATTER_ND 2.1
SEGMENT_SUM 2.2
SELECT 1.14 1.14 2.12 2.12
SELECT_V2 2.2 2.12 micro
SHAPE 1.10 micro
SIGN 2.11 2.12
SIN 1.9 micro
SLICE 1.14 1.14 1.14 2.4 2.5 2.14 xnnpack=SLICE layout passes micro
SOFTMAX 1.5 1.14 2.3 saturates=8 rowwise fixed_range curved micro
SPACE_TO_BATCH_ND 1.6 1.14 2.3 2.12 micro
SPACE_TO_DEPTH 1.5 1.14 micro
SPARSE_TO_DENSE 1.9 1.14 1.15
SPLIT 1.5 1.14 1.14 2.3 xnnpack=COPY,SLICE layout passes vanishes micro
SPLIT_V 1.13.1 2.3 layout micro
SQRT 1.10 2.21 xnnpack=SQUARE_ROOT normalizes elementwise micro
SQUARE 1.12 elementwise micro
SQUARED_DIFFERENCE 1.13.1 2.5 normalizes micro
SQUEEZE 1.6 2.5 xnnpack=COPY,STATIC_RESHAPE layout vanishes micro
STRIDED_SLICE 1.6 1.14 2.1 2.2 2.5 2.6 2.14 2.14 xnnpack=SLICE layout passes micro
SUB 1.6 1.14 2.3 2.4 2.4 xnnpack=INVALID_UNARY_OP,SUBTRACT elementwise arithmetic sum masks micro
SUM 1.10 1.15 normalizes micro
SVDF 1.5 1.14 2.2 2.3 recurrent stateful micro
TANH 1.14 1.14 2.3
    saturates=4 xnnpack=INVALID_UNARY_OP fixed_range curved elementwise micro
TFLite_Detection_PostProcess micro_name=DetectionPostprocess micro
TILE 1.10.1 2.2 2.8
TOPK_V2 1.7 1.14 2.13
TRANSPOSE 1.6 1.14 1.15 2.3 2.4 2.12 2.14.4 layout micro
TRANSPOSE_CONV 1.9 2.2 2.3 2.13 2.15
    weights=1 xnnpack=DECONVOLUTION product work micro
UNIDIRECTIONAL_SEQUENCE_LSTM 1.13.1 1.14 2.3 2.12
    weights=1 micro_name=UnidirectionalSequenceLSTM recurrent work stateful micro
UNIDIRECTIONAL_SEQUENCE_RNN 1.14 1.14 2.3 recurrent work
UNPACK 1.11 1.14 2.2 2.3 layout passes micro
UNSORTED_SEGMENT_MAX 2.10
UNSORTED_SEGMENT_MIN 2.11
UNSORTED_SEGMENT_PROD 2.10
UNSORTED_SEGMENT_SUM 2.10
VAR_HANDLE 2.6 stateful micro
WHERE 1.14 2.8
WHILE 1.15 work micro
ZEROS_LIKE 1.12 micro
"""


_READERS: dict[str, Callable[[str], Any]] = {
    "weights": int,
    "channel_axis": int,
    "input_axis": int,
    "saturates": float,
    "micro_name": str,
    "xnnpack": lambda text: tuple(text.split(",")),
}


def _parse(words: list[str]) -> Operator:
    """A row of the table without the name."""
    releases = [word for word in words if word[0].isdigit() or word == "-"]
    values = dict(word.split("=") for word in words if "=" in word)
    traits = frozenset(words) - {*releases, *(f"{name}={text}" for name, text in values.items())}
    assert traits <= TRAITS.keys(), f"unknown words {sorted(traits - TRAITS.keys())}"
    found = {name: _READERS[name](text) for name, text in values.items()}
    return Operator(tuple(releases), traits, **found)


OPERATORS = {
    words[0]: _parse(words[1:])
    for words in (row.split() for row in _ROWS.strip().replace("\n    ", " ").splitlines())
}


def having(trait: str) -> frozenset[str]:
    """Names of the operators with a trait.

    Raises:
        KeyError: there is no such trait.
    """
    if trait not in TRAITS:
        raise KeyError(trait)
    return frozenset(name for name, operator in OPERATORS.items() if trait in operator.traits)


def facts(fact: str) -> dict[str, Any]:
    """Name to the value of a field of `Operator`, of the operators that have it."""
    values = {name: getattr(operator, fact) for name, operator in OPERATORS.items()}
    return {name: value for name, value in values.items() if value not in (None, ())}


CHANNEL_AXIS: dict[str, int] = facts("channel_axis")
INPUT_AXIS: dict[str, int] = facts("input_axis")
WEIGHT_INPUT: dict[str, int] = facts("weights")
CONVERTING = having("quantizes")


# ---------------------------------------------------------------- releases


def release(version: str) -> tuple[int, ...]:
    """A version's leading numbers, for comparing: "2.17.0" is newer than "2.9.0"."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def at_least(stated: str, operators: Iterable[tuple[str, int]]) -> str:
    """The newest of a stated release and the releases that (operator, version) pairs need."""
    found = [first_release(name, version) for name, version in operators]
    return max([stated, *(item for item in found if item is not None)], key=release)


def first_release(operator: str, version: int) -> str | None:
    """The first release that has a version of an operator; None when the table does not have it."""
    known = OPERATORS[operator].releases if operator in OPERATORS else ()
    found = known[version - 1] if 1 <= version <= len(known) else "-"
    if found == "-":
        return None
    return found if found.count(".") == 2 else f"{found}.0"
