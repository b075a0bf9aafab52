"""Integers for weights without samples: scales with the least error, rounding that keeps sums."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeq.converters.writer.integers import Stored, weight_scales

_SHARES = np.arange(1.0, 0.29, -0.025)  # of the scale that covers the largest magnitude
_REFITS = 2

Real = NDArray[np.float32]


def store_weights(
    values: Real,
    dtype: str,
    limits: tuple[int, int],
    axis: int,
    *,
    per_channel: bool = True,
    block: int = 0,
    is_summed: bool = True,
) -> Stored:
    """Weights as integers; INT4 with the scales that have the least error.

    Args:
        values: the weights.
        dtype: "int8" or "int4".
        limits: the lowest and the highest integer.
        axis: of the output channels.
        per_channel: one scale per channel, not one for all.
        block: weights of a channel that share a scale, which become a row each; 0 for all of it.
        is_summed: whether the operator adds up products with a channel's weights.
    """
    turned = np.moveaxis(values, axis, 0)
    rows = values.reshape(-1, block) if block else turned.reshape(len(turned), -1)
    sharing = rows if per_channel else rows.reshape(1, -1)
    if dtype == "int4":
        scales = search_scales(sharing, *limits)
    else:
        scales = weight_scales(sharing, 0, limits[1])
    rounded = (round_keeping_sums if is_summed else round_rows)(rows, scales, *limits)
    whole = rounded.astype(np.int8)
    if block:
        return Stored(whole, dtype, scales)
    whole = np.ascontiguousarray(np.moveaxis(whole.reshape(turned.shape), 0, axis))
    return Stored(whole, dtype, scales, axis=axis if per_channel else 0)


def search_scales(rows: Real, low: int, high: int) -> Real:
    """The symmetric scales with the least squared error: the largest weights may be clipped.

    After a search over parts of the scale that clips nothing, each scale is fitted to its integers
    by least squares.

    Args:
        rows: weights that share a scale, [scales, K].
        low, high: of the integers.

    Returns:
        float32, [scales].
    """
    widest = weight_scales(rows, 0, high)
    best, least = widest, np.full(len(rows), np.inf)
    for share in _SHARES:
        best, least = _keep_better(rows, best, least, widest * np.float32(share), low, high)
    for _ in range(_REFITS):
        whole = round_rows(rows, best, low, high)
        energy = np.einsum("ck,ck->c", whole, whole)
        fitted = np.einsum("ck,ck->c", rows, whole) / np.maximum(energy, 1)
        fitted = np.where(fitted > 0, fitted, best).astype(np.float32)
        best, least = _keep_better(rows, best, least, fitted, low, high)
    return best


def _keep_better(
    rows: Real, best: Real, least: NDArray[np.float64], tried: Real, low: int, high: int
) -> tuple[Real, NDArray[np.float64]]:
    lost = rows - round_rows(rows, tried, low, high) * tried[:, np.newaxis]
    error = np.einsum("ck,ck->c", lost, lost, dtype=np.float64)
    is_better = error < least
    return np.where(is_better, tried, best), np.where(is_better, error, least)


def round_rows(rows: Real, scales: Real, low: int, high: int) -> Real:
    """The nearest integers; rows [channels, K], scales [channels] or [1]."""
    return np.asarray(np.clip(np.rint(rows / scales[:, np.newaxis]), low, high))


def round_keeping_sums(rows: Real, scales: Real, low: int, high: int) -> Real:
    """Integers whose sum in each row is as near to the weights' as half a step.

    Inputs behind a ReLU are positive, so an error in the sum of a channel's weights shifts its
    output. The weights that are rounded in the wrong direction and nearest to the middle between
    two integers are rounded in the other one: C. Guo et al., "SQuant: On-the-Fly Data-Free
    Quantization via Diagonal Hessian Approximation" (ICLR 2022), section 3.3, with a whole channel
    or block as the kernel.

    Args:
        rows: the weights of an output channel or a block each, [channels, K].
        scales: [channels] or [1].
        low, high: of the integers.
    """
    whole = round_rows(rows, scales, low, high)
    left = rows / scales[:, np.newaxis] - whole
    sums = left.sum(axis=1, keepdims=True)
    toward = np.sign(sums)
    gain = left * toward
    moved = whole + toward
    is_open = (gain > 0) & (moved >= low) & (moved <= high)
    order = np.argsort(np.where(is_open, -gain, 1), axis=1, kind="stable")
    rank = np.argsort(order, axis=1, kind="stable")
    return np.where(is_open & (rank < np.rint(np.abs(sums))), moved, whole)
