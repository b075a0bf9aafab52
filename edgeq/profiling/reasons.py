"""Why INT8 is slower than FP32, or hardly faster: rules on measured times."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from edgeq.tflite.operators import CONVERTING
from edgeq.values import MemorySpeed, ModelProfile, OperatorTime

_WORTH = 0.02  # of the quantized model's time: what is less explains nothing
_SLOWER = 1.1
_SHORT_MS = 0.002  # what surrounds the arithmetic of an operator weighs as much
_CUT_SPREAD_MS = 0.0003  # standard deviation of what the runtime's clock cuts off a time
_HARDLY = 1.5  # times faster than FP32
_MEMORY_BOUND = 0.5  # of the memory's speed: the other half is the arithmetic's


def find_reasons(
    model: ModelProfile,
    baseline: ModelProfile | None,
    pairs: Sequence[tuple[int, int]],
    memory: MemorySpeed,
) -> tuple[str, ...]:
    """Sentences with the figures behind them; none where the figures show nothing.

    Args:
        baseline: the float model, None without one.
        pairs: the same layer's operator in the model and in the baseline.
        memory: of the machine, measured with as many threads.
    """
    if not any(op.precision in ("int8", "int16x8") for op in model.operators):
        return ()
    found = [
        *_without_xnnpack(model),
        *_conversions(model),
        *_islands(model),
        *_memory_bound(model, memory),
    ]
    if baseline is not None:
        ours = {op.index: op for op in model.operators}
        theirs = {op.index: op for op in baseline.operators}
        twins = [(ours[one], theirs[other]) for one, other in pairs]
        found += [*_lost_kernels(model, twins), *_slower_types(model, twins)]
        if baseline.latency_ms < _HARDLY * model.latency_ms:
            found += _short_operators(model)
    return tuple(found)


def _without_xnnpack(model: ModelProfile) -> list[str]:
    timed = [op for op in model.operators if op.time_ms is not None and op.precision == "int8"]
    outside = [op for op in timed if not op.is_delegated]
    if sum(op.share for op in outside) < 0.5:
        return []
    return [
        f"XNNPACK computes {len(timed) - len(outside)} of {len(timed)} INT8 operators: the others "
        f"run on TensorFlow Lite's own kernels and take {_time(outside, model)}."
    ]


def _conversions(model: ModelProfile) -> list[str]:
    found = [op for op in model.operators if op.operator in CONVERTING]
    timed = [op for op in found if op.time_ms is not None]
    if not _is_worth(timed):
        return []
    kinds = [
        f"{count} {kind}"
        for kind in ("QUANTIZE", "DEQUANTIZE")
        if (count := sum(op.operator == kind for op in timed))
    ]
    return [f"Conversions, {' and '.join(kinds)}, take {_time(timed, model)}."]


def _islands(model: ModelProfile) -> list[str]:
    found = [op for op in model.operators if op.is_island and op.time_ms is not None]
    if not _is_worth(found):
        return []
    return [f"Float operators inside the file, {_listed(found)}, take {_time(found, model)}."]


def _memory_bound(model: ModelProfile, memory: MemorySpeed) -> list[str]:
    """Operators that wait for their weights (Williams et al., Roofline, CACM 52(4), 2009).

    A model whose constants are larger than the last cache brings them from the memory in every
    inference.
    """
    if memory.cache_bytes is None:
        return []
    if sum(op.constant_bytes for op in model.operators) <= memory.cache_bytes:
        return []
    bound = [
        op
        for op in model.operators
        if op.time_ms and op.constant_bytes / op.time_ms * 1e3 > _MEMORY_BOUND * memory.bytes_per_s
    ]
    sentences = []
    for kind in dict.fromkeys(op.operator for op in bound):
        group = [op for op in bound if op.operator == kind]
        if _is_worth(group):
            size = sum(op.constant_bytes for op in group)
            speed = size / _sum(group) / 1e6
            sentences.append(
                f"{kind} is memory bound: {len(group)} read {size / 1e6:.1f} MB of weights in "
                f"{_time(group, model)}; that is {speed:.1f} GB/s, and the memory here moves "
                f"{memory.bytes_per_s / 1e9:.1f}. Fewer bytes help, faster arithmetic does not."
            )
    return sentences


Twins = Sequence[tuple[OperatorTime, OperatorTime]]


def _lost_kernels(model: ModelProfile, twins: Twins) -> list[str]:
    """Operators that XNNPACK computes in FP32 and not in INT8."""
    lost = [
        (own, other)
        for own, other in twins
        if own.is_delegated is False and other.is_delegated and own.precision == "int8"
    ]
    sentences = []
    for kind in dict.fromkeys(own.operator for own, _ in lost):
        group = [(own, other) for own, other in lost if own.operator == kind]
        ours, theirs = ([pair[side] for pair in group] for side in (0, 1))
        if _is_worth(ours) and _is_longer(ours, theirs):
            sentences.append(
                f"{kind} has no INT8 kernel in XNNPACK: TensorFlow Lite's own takes "
                f"{_time(ours, model)}, XNNPACK's FP32 kernel {_sum(theirs):.4f} ms."
            )
    return sentences


def _slower_types(model: ModelProfile, twins: Twins) -> list[str]:
    """Kinds of operators that XNNPACK computes more slowly in INT8."""
    both = [
        (own, other)
        for own, other in twins
        if own.is_delegated and other.is_delegated and own.precision == "int8"
    ]
    sentences = []
    for kind in dict.fromkeys(own.operator for own, _ in both):
        group = [(own, other) for own, other in both if own.operator == kind]
        ours, theirs = ([pair[side] for pair in group] for side in (0, 1))
        is_worth = _sum(ours) - _sum(theirs) >= _WORTH * model.operators_ms
        if is_worth and _sum(ours) >= _SLOWER * _sum(theirs) and _is_longer(ours, theirs):
            sentences.append(
                f"{kind} is slower in INT8 on this processor, inside XNNPACK in both: {len(ours)} "
                f"take {_time(ours, model)}, in FP32 {_sum(theirs):.4f} ms."
            )
    return sentences


def _short_operators(model: ModelProfile) -> list[str]:
    timed = [op for op in model.operators if op.time_ms is not None]
    mean_ms = model.operators_ms / len(timed)
    if mean_ms >= _SHORT_MS:
        return []
    return [
        f"The {len(timed)} operators take {mean_ms * 1000:.1f} us each on average, too short for "
        "8 bits to save much."
    ]


def _is_worth(operators: Iterable[OperatorTime]) -> bool:
    return sum(op.share for op in operators) >= _WORTH


def _is_longer(ours: Sequence[OperatorTime], theirs: Sequence[OperatorTime]) -> bool:
    """By more than the clock's whole microseconds may make of nothing (two deviations)."""
    spread_ms = 2 * _CUT_SPREAD_MS * math.sqrt(len(ours) + len(theirs))
    return _sum(ours) - _sum(theirs) > spread_ms


def _sum(operators: Iterable[OperatorTime]) -> float:
    return float(sum(op.time_ms or 0.0 for op in operators))


def _time(operators: Sequence[OperatorTime], model: ModelProfile) -> str:
    total = _sum(operators)
    return f"{total:.4f} ms, {total / model.operators_ms:.1%} of {model.operators_ms:.4f} ms"


def _listed(operators: Sequence[OperatorTime]) -> str:
    kinds = list(dict.fromkeys(op.operator for op in operators))
    return ", ".join(
        f"{sum(op.operator == kind for op in operators)} {kind}" for kind in kinds[:5]
    ) + (" and others" if len(kinds) > 5 else "")
