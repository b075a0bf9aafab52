"""Whether the weights of a weight-only file are what was asked for, operator by operator."""

from __future__ import annotations

from collections.abc import Sequence

from edgeq.converters.graph.weight_only import CHANNEL_AXIS
from edgeq.converters.quantization.litert_engine import BLOCK_OPERATIONS, OPERATIONS, takes_blocks
from edgeq.converters.quantization.schemes import Scheme
from edgeq.values import Certificate, OperatorReport

# Of other dtypes are the tables that a GATHER looks indices up in.
_WEIGHTS = frozenset({"float32", "float16", "int8", "int4", "uint8"})

_MOST_LISTED = 3  # operators named for one reason


def judge_weight_only(certificate: Certificate, scheme: Scheme, granularity: str) -> list[str]:
    """One sentence for each reason why weights are not of the scheme's dtype and granularity.

    Args:
        certificate: of the exported file.
        granularity: "channel", "tensor" or "block:N", as asked for.
    """
    dtype = scheme.name.removeprefix("weight-only-")
    weighted = [op for op in certificate.operators if op.weight_dtype in _WEIGHTS]
    if not weighted:
        return ["the model has no operator with stored weights."]
    reasons: dict[str, list[OperatorReport]] = {}
    for operator in weighted:
        if (reason := _why_not(operator, dtype, granularity)) is not None:
            reasons.setdefault(reason, []).append(operator)
    return [f"{_named(found, len(weighted))} {reason}." for reason, found in reasons.items()]


def _why_not(operator: OperatorReport, dtype: str, granularity: str) -> str | None:
    """What is wrong with one operator's weights, None when nothing is."""
    if operator.weight_dtype != dtype:
        reason = "" if operator.name in OPERATIONS else ": litert-quantizer does not know the kind"
        return f"has {operator.weight_dtype} weights instead of {dtype}{reason}"
    if operator.precision != "weight-only":
        return f"computes in {operator.precision} instead of float"
    is_same = _is_single_channel(operator, granularity) or _is_single_block(operator, granularity)
    if operator.granularity == granularity or is_same:
        return None
    found = f"has a scale per {(operator.granularity or '').replace(':', ' of ')}"
    if not granularity.startswith("block:"):
        return f"{found} instead of per {granularity}"
    asked = granularity.replace(":", "s of ")
    return f"{found} instead of {asked}{_why_no_blocks(operator, granularity)}"


def _why_no_blocks(operator: OperatorReport, granularity: str) -> str:
    size = int(granularity.removeprefix("block:"))
    if operator.name not in BLOCK_OPERATIONS:
        return ": only FULLY_CONNECTED can have blocks"
    if not takes_blocks(operator.name, operator.weight_shape, size):
        return f": its {operator.weight_shape[-1]} inputs are no multiple of {size}"
    return ""


def _is_single_channel(operator: OperatorReport, granularity: str) -> bool:
    """One scale is both a scale per tensor and, with one output channel, a scale per channel."""
    axis = CHANNEL_AXIS.get(operator.name, 0)
    is_single = operator.weight_shape[axis] == 1
    return is_single and (operator.granularity, granularity) == ("tensor", "channel")


def _is_single_block(operator: OperatorReport, granularity: str) -> bool:
    """A block that holds all inputs of an output is a scale per channel."""
    inputs = operator.weight_shape[-1] if operator.name in BLOCK_OPERATIONS else 0
    return (operator.granularity, granularity) == ("channel", f"block:{inputs}")


def _named(operators: Sequence[OperatorReport], total: int) -> str:
    # The converter joins the names of what it fused; the first one tells the layer.
    listed = ", ".join(
        f"{op.name} ({op.output.partition(';')[0]})" for op in operators[:_MOST_LISTED]
    )
    more = len(operators) - _MOST_LISTED
    return f"{len(operators)} of {total} operators with weights, {listed}" + (
        f" and {more} more: each" if more > 0 else ": each" if len(operators) > 1 else ":"
    )
