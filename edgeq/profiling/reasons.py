"""Reasons why INT8 is slower than FP32, or only a little faster: rules on measured times."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

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
    found = [*_without_xnnpack(model), *_overheads(model), *_memory_bound(model, memory)]
    if baseline is not None:
        ours = {op.index: op for op in model.operators}
        theirs = {op.index: op for op in baseline.operators}
        twins = [(ours[one], theirs[other]) for one, other in pairs]
        found += [*_lost_kernels(model, twins), *_slower_types(model, twins)]
        count = sum(op.time_ms is not None for op in model.operators)
        is_hardly_faster = baseline.latency_ms < _HARDLY * model.latency_ms
        if is_hardly_faster and (mean_ms := model.operators_ms / count) < _SHORT_MS:
            found.append(
                f"The {count} operators take {mean_ms * 1000:.1f} us each on average, too short "
                "for 8 bits to save much."
            )
    return tuple(found)


def _without_xnnpack(model: ModelProfile) -> Iterator[str]:
    timed = [op for op in model.operators if op.time_ms is not None and op.precision == "int8"]
    outside = [op for op in timed if not op.is_delegated]
    if sum(op.share for op in outside) >= 0.5:
        yield (
            f"XNNPACK computes {len(timed) - len(outside)} of {len(timed)} INT8 operators: the "
            f"others run on TensorFlow Lite's own kernels and take {_time(outside, model)}."
        )


def _overheads(model: ModelProfile) -> Iterator[str]:
    """Conversions and float islands."""
    timed = [op for op in model.operators if op.time_ms is not None]
    conversions = [op for op in timed if op.operator in CONVERTING]
    if _is_worth(conversions):
        counts = Counter(op.operator for op in conversions)
        kinds = [f"{counts[kind]} {kind}" for kind in ("QUANTIZE", "DEQUANTIZE") if counts[kind]]
        yield f"Conversions, {' and '.join(kinds)}, take {_time(conversions, model)}."
    islands = [op for op in timed if op.is_island]
    if _is_worth(islands):
        counts = Counter(op.operator for op in islands)
        kinds = [f"{count} {kind}" for kind, count in counts.items()]
        listed = ", ".join(kinds[:5]) + (" and others" if len(kinds) > 5 else "")
        yield f"Float operators inside the file, {listed}, take {_time(islands, model)}."


def _memory_bound(model: ModelProfile, memory: MemorySpeed) -> Iterator[str]:
    """Operators that wait for their weights (Williams et al., Roofline, CACM 52(4), 2009).

    A model whose constants are larger than the last cache reads them from memory in every
    inference.
    """
    constants = sum(op.constant_bytes for op in model.operators)
    if memory.cache_bytes is None or constants <= memory.cache_bytes:
        return
    least = _MEMORY_BOUND * memory.bytes_per_s
    bound = [op for op in model.operators if op.time_ms and
             op.constant_bytes / op.time_ms * 1e3 > least]  # fmt: skip
    for kind in dict.fromkeys(op.operator for op in bound):
        group = [op for op in bound if op.operator == kind]
        if _is_worth(group):
            size = sum(op.constant_bytes for op in group)
            speed = size / _sum(group) / 1e6
            yield (
                f"{kind} is memory bound: {len(group)} read {size / 1e6:.1f} MB of weights in "
                f"{_time(group, model)}; that is {speed:.1f} GB/s, and the memory here moves "
                f"{memory.bytes_per_s / 1e9:.1f}. Fewer bytes help, faster arithmetic does not."
            )


Twins = Sequence[tuple[OperatorTime, OperatorTime]]


def _lost_kernels(model: ModelProfile, twins: Twins) -> Iterator[str]:
    """Operators that XNNPACK computes in FP32 and not in INT8."""
    for kind, ours, theirs in _groups(twins, in_xnnpack=False):
        if _is_worth(ours) and _is_longer(ours, theirs):
            yield (
                f"{kind} has no INT8 kernel in XNNPACK: TensorFlow Lite's own takes "
                f"{_time(ours, model)}, XNNPACK's FP32 kernel {_sum(theirs):.4f} ms."
            )


def _slower_types(model: ModelProfile, twins: Twins) -> Iterator[str]:
    """Kinds of operators that XNNPACK computes more slowly in INT8."""
    for kind, ours, theirs in _groups(twins, in_xnnpack=True):
        is_worth = _sum(ours) - _sum(theirs) >= _WORTH * model.operators_ms
        if is_worth and _sum(ours) >= _SLOWER * _sum(theirs) and _is_longer(ours, theirs):
            yield (
                f"{kind} is slower in INT8 on this processor, inside XNNPACK in both: {len(ours)} "
                f"take {_time(ours, model)}, in FP32 {_sum(theirs):.4f} ms."
            )


def _groups(
    twins: Twins, *, in_xnnpack: bool
) -> Iterator[tuple[str, list[OperatorTime], list[OperatorTime]]]:
    """INT8 operators whose twin is in XNNPACK, by kind, with their twins.

    Args:
        in_xnnpack: whether the INT8 operators themselves are.
    """
    chosen = [
        (own, twin)
        for own, twin in twins
        if own.is_delegated is in_xnnpack and twin.is_delegated and own.precision == "int8"
    ]
    for kind in dict.fromkeys(own.operator for own, _ in chosen):
        group = [pair for pair in chosen if pair[0].operator == kind]
        yield kind, [own for own, _ in group], [twin for _, twin in group]


def _is_worth(operators: Iterable[OperatorTime]) -> bool:
    return sum(op.share for op in operators) >= _WORTH


def _is_longer(ours: Sequence[OperatorTime], theirs: Sequence[OperatorTime]) -> bool:
    """By more than the loss of whole microseconds can explain (two standard deviations)."""
    spread_ms = 2 * _CUT_SPREAD_MS * math.sqrt(len(ours) + len(theirs))
    return _sum(ours) - _sum(theirs) > spread_ms


def _sum(operators: Iterable[OperatorTime]) -> float:
    return float(sum(op.time_ms or 0.0 for op in operators))


def _time(operators: Sequence[OperatorTime], model: ModelProfile) -> str:
    total = _sum(operators)
    return f"{total:.4f} ms, {total / model.operators_ms:.1%} of {model.operators_ms:.4f} ms"
