"""Compares the weights of a weight-only file with those requested, operator by operator."""

from __future__ import annotations

from collections.abc import Sequence

from edgeq.converters.writer.storage import BLOCK_OPERATORS, takes_blocks
from edgeq.tflite.operators import CHANNEL_AXIS
from edgeq.values import Certificate, OperatorReport
from edgeq.values.schemes import Scheme

# Tensors of other dtypes are tables in which a GATHER looks indices up.
_WEIGHTS = frozenset({"float32", "float16", "int8", "int4", "uint8"})

_MOST_LISTED = 3  # operators named for one reason


def judge_weight_only(certificate: Certificate, scheme: Scheme, granularity: str) -> list[str]:
    """One sentence for each reason why weights are not of the scheme's dtype and granularity.

    Args:
        certificate: of the exported file.
        granularity: "channel", "tensor" or "block:N", as requested.
    """
    weighted = [op for op in certificate.operators if op.weight_dtype in _WEIGHTS]
    if not weighted:
        return ["the model has no operator with stored weights."]
    reasons: dict[str, list[OperatorReport]] = {}
    for operator in weighted:
        if (reason := _why_not(operator, scheme.weights, granularity)) is not None:
            reasons.setdefault(reason, []).append(operator)
    return [f"{_named(found, len(weighted))} {reason}." for reason, found in reasons.items()]


def _why_not(operator: OperatorReport, dtype: str, granularity: str) -> str | None:
    """The fault of one operator's weights; None if there is none."""
    if operator.weight_dtype != dtype:
        return f"has {operator.weight_dtype} weights instead of {dtype}"
    if operator.precision != "weight-only":
        return f"computes in {operator.precision} instead of float"
    shape, is_matrix = operator.weight_shape, operator.name in BLOCK_OPERATORS
    has_one_channel = shape[CHANNEL_AXIS.get(operator.name, 0)] == 1
    if (
        operator.granularity == granularity
        or (has_one_channel and (operator.granularity, granularity) == ("tensor", "channel"))
        # A block that holds all inputs of an output is a scale per channel.
        or (is_matrix and (operator.granularity, granularity) == ("channel", f"block:{shape[-1]}"))
    ):
        return None
    found = f"has a scale per {(operator.granularity or '').replace(':', ' of ')}"
    kind, _, size = granularity.partition(":")
    if kind != "block":
        return f"{found} instead of per {granularity}"
    reason = ""
    if not is_matrix:
        reason = ": only FULLY_CONNECTED can have blocks"
    elif not takes_blocks(operator.name, shape, int(size)):
        reason = f": its {shape[-1]} inputs are not a multiple of {size}"
    return f"{found} instead of blocks of {size}{reason}"


def _named(operators: Sequence[OperatorReport], total: int) -> str:
    # The converter joins the names of what it fused; the first one is the layer's.
    listed = ", ".join(
        f"{op.name} ({op.output.partition(';')[0]})" for op in operators[:_MOST_LISTED]
    )
    more = len(operators) - _MOST_LISTED
    return f"{len(operators)} of {total} operators with weights, {listed}" + (
        f" and {more} more: each" if more > 0 else ": each" if len(operators) > 1 else ":"
    )
