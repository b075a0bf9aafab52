"""Operators that TensorFlow Lite for Microcontrollers has, and how each is added to a resolver."""

from __future__ import annotations

from collections.abc import Iterable

from edgeq.errors import PackageError
from edgeq.tflite.operators import OPERATORS, having

_PARTS = {"2D": "2D", "ND": "Nd"}


def _method(operator: str) -> str:
    """DEPTHWISE_CONV_2D is added by AddDepthwiseConv2D()."""
    pascal = "".join(_PARTS.get(part, part.capitalize()) for part in operator.split("_"))
    return f"Add{OPERATORS[operator].micro_name or pascal}"


# Operator to method in the newest tflite-micro; a test calls every one there.
METHODS = {operator: _method(operator) for operator in sorted(having("micro"))}

# Replacements for operators without a kernel.
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
        hint=f"{advice[0].upper()}{advice[1:]}. edgeq inspect lists them.",
    )
