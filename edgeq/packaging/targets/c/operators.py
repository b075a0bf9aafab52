"""Operators that TensorFlow Lite for Microcontrollers has, and how each is added to a resolver."""

from __future__ import annotations

from collections.abc import Iterable

from edgeq.errors import PackageError

# Methods of MicroMutableOpResolver have the operators' names in Pascal case, except these.
_ODD = {
    "BATCH_MATMUL": "BatchMatMul",
    "CUMSUM": "CumSum",
    "PADV2": "PadV2",
    "TFLite_Detection_PostProcess": "DetectionPostprocess",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTM",
}
_SUPPORTED = """
ABS ADD ADD_N ARG_MAX ARG_MIN ASSIGN_VARIABLE AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND
BROADCAST_ARGS BROADCAST_TO CALL_ONCE CAST CEIL CONCATENATION CONV_2D COS CUMSUM DEPTH_TO_SPACE
DEPTHWISE_CONV_2D DEQUANTIZE DIV DYNAMIC_UPDATE_SLICE ELU EMBEDDING_LOOKUP EQUAL EXP EXPAND_DIMS
FILL FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER GATHER_ND GREATER GREATER_EQUAL HARD_SWISH
IF L2_NORMALIZATION L2_POOL_2D LEAKY_RELU LESS LESS_EQUAL LOG LOG_SOFTMAX LOGICAL_AND LOGICAL_NOT
LOGICAL_OR LOGISTIC MAX_POOL_2D MAXIMUM MEAN MINIMUM MIRROR_PAD MUL NEG NOT_EQUAL PACK PAD PADV2
PRELU QUANTIZE READ_VARIABLE REDUCE_ALL REDUCE_MAX REDUCE_MIN RELU RELU6 RESHAPE RESIZE_BILINEAR
RESIZE_NEAREST_NEIGHBOR REVERSE_V2 ROUND RSQRT SELECT_V2 SHAPE SIN SLICE SOFTMAX SPACE_TO_BATCH_ND
SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM SVDF
TANH TFLite_Detection_PostProcess TRANSPOSE TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK
VAR_HANDLE WHILE ZEROS_LIKE
"""
_PARTS = {"2D": "2D", "ND": "Nd"}


def _method(operator: str) -> str:
    """DEPTHWISE_CONV_2D is added by AddDepthwiseConv2D()."""
    pascal = "".join(_PARTS.get(part, part.capitalize()) for part in operator.split("_"))
    return f"Add{_ODD.get(operator, pascal)}"


# Operator to method in the newest tflite-micro; a test calls every one there.
METHODS = {operator: _method(operator) for operator in _SUPPORTED.split()}

# What to do instead of an operator without a kernel.
_REMEDIES = {
    "BIDIRECTIONAL_SEQUENCE_LSTM": "use two one-directional LSTMs, one of them on reversed input",
    "CONV_3D": "use Conv2D with time in the channels",
    "GELU": "use ReLU6 or hard swish, and train again",
    "NON_MAX_SUPPRESSION_V4": "end the model before it and do it in the application",
    "NON_MAX_SUPPRESSION_V5": "end the model before it and do it in the application",
    "ONE_HOT": "feed the one-hot vector instead of the index",
    "POW": "write a square as x * x",
    "RFFT2D": "feed the spectrum instead of the signal",
    "SELECT": "convert the model again with a newer TensorFlow, which makes SELECT_V2 of it",
    "TILE": "use broadcasting instead of a repeated tensor",
    "TOPK_V2": "end the model before it and do it in the application",
}  # fmt: skip


def require_supported(operators: Iterable[str]) -> None:
    """Refuse a model with operators that have no kernel for microcontrollers.

    Raises:
        PackageError: with the name of each, and what to do instead.
    """
    missing = sorted(set(operators) - set(METHODS))
    if not missing:
        return
    known = [f"for {name}, {_REMEDIES[name]}" for name in missing if name in _REMEDIES]
    advice = "; ".join(known) or "change the layers that make them"
    names = ", ".join(missing[:-1]) + " and " if missing[1:] else ""
    raise PackageError(
        "TensorFlow Lite for Microcontrollers has no kernel for "
        f"{names}{missing[-1]}, which the model uses.",
        hint=f"{advice[0].upper()}{advice[1:]}. edgeq inspect shows where they are.",
    )
