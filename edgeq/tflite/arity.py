"""How many tensors operators read and compute: rewrites take that for granted."""

from __future__ import annotations

_MANY = 1 << 20
_ONE = (
    "ABS AVERAGE_POOL_2D CAST CEIL COS DENSIFY DEPTH_TO_SPACE DEQUANTIZE ELU EXP FLOOR GELU "
    "HARD_SWISH L2_NORMALIZATION LEAKY_RELU LOG LOGICAL_NOT LOGISTIC LOG_SOFTMAX MAX_POOL_2D "
    "NEG QUANTIZE RANK RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1 ROUND RSQRT SHAPE SIGN SIN SOFTMAX "
    "SPACE_TO_DEPTH SQRT SQUARE SQUEEZE TANH ZEROS_LIKE"
)
_TWO = (
    "ADD ATAN2 BATCH_MATMUL BROADCAST_ARGS BROADCAST_TO DIV EMBEDDING_LOOKUP EQUAL "
    "EXPAND_DIMS FILL FLOOR_DIV FLOOR_MOD GATHER GATHER_ND GREATER GREATER_EQUAL LESS "
    "LESS_EQUAL LOGICAL_AND LOGICAL_OR MAXIMUM MEAN MINIMUM MIRROR_PAD MUL NOT_EQUAL PAD POW "
    "PRELU REDUCE_ALL REDUCE_ANY REDUCE_MAX REDUCE_MIN REDUCE_PROD REVERSE_V2 "
    "SQUARED_DIFFERENCE SUB SUM TILE TRANSPOSE"
)
_OTHERS = {"ADD_N": (1, _MANY), "CONCATENATION": (1, _MANY), "CONV_2D": (2, 3),
           "DEPTHWISE_CONV_2D": (2, 3), "FULLY_CONNECTED": (2, 3), "PACK": (1, _MANY),
           "PADV2": (3, 3), "RANGE": (3, 3), "RESHAPE": (1, 2), "SELECT": (3, 3),
           "SELECT_V2": (3, 3), "SLICE": (3, 3), "STRIDED_SLICE": (4, 4)}  # fmt: skip
_OPTIONAL = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}  # the bias
# Name to the least and the most inputs, of operators with one result.
_INPUTS = dict.fromkeys(_ONE.split(), (1, 1)) | dict.fromkeys(_TWO.split(), (2, 2)) | _OTHERS


def find_wrong_ends(kind: str, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> str | None:
    """The flaw in the number of an operator's inputs and outputs; None if there is none.

    Args:
        inputs: tensors, -1 for an absent one.
    """
    if kind not in _INPUTS:
        return None
    least, most = _INPUTS[kind]
    needed = inputs[:least] if kind in _OPTIONAL else inputs
    is_right = least <= len(inputs) <= most and min(needed) >= 0
    if is_right and (len(outputs) == 1 or (kind == "FULLY_CONNECTED" and len(outputs) == 2)):
        return None if outputs[0] >= 0 else "no output"
    return f"{sum(index >= 0 for index in inputs)} inputs and {len(outputs)} outputs"
