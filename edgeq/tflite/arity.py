"""How many tensors operators read and compute, as their kernels require."""

from __future__ import annotations

_MANY = 1 << 20
_ONE = (
    "ABS AVERAGE_POOL_2D BITCAST BUCKETIZE CAST CEIL COMPLEX_ABS COS DENSIFY DEPTH_TO_SPACE "
    "DEQUANTIZE ELU EXP FAKE_QUANT FLOOR GELU HARD_SWISH IMAG L2_NORMALIZATION L2_POOL_2D "
    "LEAKY_RELU LOCAL_RESPONSE_NORMALIZATION LOG LOGICAL_NOT LOGISTIC LOG_SOFTMAX MATRIX_DIAG "
    "MAX_POOL_2D NEG QUANTIZE RANDOM_STANDARD_NORMAL RANDOM_UNIFORM RANK REAL RELU RELU6 "
    "RELU_0_TO_1 RELU_N1_TO_1 ROUND RSQRT SHAPE SIGN SIN SOFTMAX SPACE_TO_DEPTH SQRT SQUARE "
    "SQUEEZE TANH UNIQUE UNPACK WHERE ZEROS_LIKE"
)
_TWO = (
    "ADD ARG_MAX ARG_MIN ATAN2 BATCH_MATMUL BITWISE_XOR BROADCAST_ARGS BROADCAST_TO CUMSUM DIV "
    "EMBEDDING_LOOKUP EQUAL EXPAND_DIMS FILL FLOOR_DIV FLOOR_MOD GATHER GATHER_ND GREATER "
    "GREATER_EQUAL LESS LESS_EQUAL LOGICAL_AND LOGICAL_OR MATRIX_SET_DIAG MAXIMUM MEAN MINIMUM "
    "MIRROR_PAD MUL MULTINOMIAL NOT_EQUAL PAD POW PRELU REDUCE_ALL REDUCE_ANY REDUCE_MAX "
    "REDUCE_MIN REDUCE_PROD RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_SEQUENCE REVERSE_V2 "
    "RFFT2D RIGHT_SHIFT SEGMENT_SUM SPLIT SQUARED_DIFFERENCE SUB SUM TILE TOPK_V2 TRANSPOSE"
)
_THREE = (
    "BATCH_TO_SPACE_ND DYNAMIC_UPDATE_SLICE PADV2 RANGE SCATTER_ND SELECT SELECT_V2 SLICE "
    "SPACE_TO_BATCH_ND SPLIT_V UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_MIN UNSORTED_SEGMENT_PROD "
    "UNSORTED_SEGMENT_SUM"
)
_OTHERS = {"ADD_N": (1, _MANY), "CONCATENATION": (1, _MANY), "CONV_2D": (2, 3), "CONV_3D": (2, 3),
           "CONV_3D_TRANSPOSE": (3, 4), "DEPTHWISE_CONV_2D": (2, 3), "FULLY_CONNECTED": (2, 3),
           "ONE_HOT": (4, 4), "PACK": (1, _MANY), "RESHAPE": (1, 2), "SPARSE_TO_DENSE": (4, 4),
           "STRIDED_SLICE": (4, 4), "TRANSPOSE_CONV": (3, 4)}  # fmt: skip
# The last input of these is a bias, which may be absent.
_OPTIONAL = {"CONV_2D", "CONV_3D", "CONV_3D_TRANSPOSE", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED",
             "TRANSPOSE_CONV"}  # fmt: skip
# Name to the least and the most inputs.
_INPUTS = {
    **dict.fromkeys(_ONE.split(), (1, 1)),
    **dict.fromkeys(_TWO.split(), (2, 2)),
    **dict.fromkeys(_THREE.split(), (3, 3)),
    **_OTHERS,
}
# The least and the most results of operators that may have more than one.
_RESULTS = {"FULLY_CONNECTED": (1, 2), "SPLIT": (1, _MANY), "SPLIT_V": (1, _MANY),
            "TOPK_V2": (2, 2), "UNIQUE": (2, 2), "UNPACK": (1, _MANY)}  # fmt: skip


def find_wrong_ends(kind: str, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> str | None:
    """The flaw in the number of an operator's inputs and outputs; None if there is none.

    Args:
        inputs: tensors, -1 for an absent one.
    """
    if kind not in _INPUTS:
        return None
    least, most = _INPUTS[kind]
    needed = inputs[:least] if kind in _OPTIONAL else inputs
    fewest, largest = _RESULTS.get(kind, (1, 1))
    is_right = least <= len(inputs) <= most and min(needed) >= 0
    if is_right and fewest <= len(outputs) <= largest:
        return None if min(outputs) >= 0 else "no output"
    return f"{sum(index >= 0 for index in inputs)} inputs and {len(outputs)} outputs"
