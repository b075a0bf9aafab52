"""Channels behind operators that move them: the heads of attention.

Numbers of channels are an array that broadcasts to the tensor's shape, [C] if the last axis counts
them. RESHAPE splits them into heads, TRANSPOSE puts the heads first, and the product with the
attention weights adds up over positions: it mixes no channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.intp]


def reshape(numbers: Numbers, source: Sequence[int], made: Sequence[int]) -> Numbers | None:
    """Numbers of a reshaped tensor; None if an axis joins channels with positions.

    Args:
        source, made: shapes before and after.
    """
    whole = _of_rank(numbers, len(source))
    if [size for size in source if size != 1] == [size for size in made if size != 1]:
        sizes = iter(own for own, size in zip(whole.shape, source, strict=True) if size != 1)
        return _short(whole.reshape([1 if size == 1 else next(sizes) for size in made]))
    outer = next((axis for axis, size in enumerate(whole.shape) if size != 1), len(source))
    positions = math.prod(source[:outer])
    for axis in range(len(made)):
        if math.prod(made[:axis]) == positions:
            inner = np.broadcast_to(whole.reshape(whole.shape[outer:]), source[outer:])
            return _short(inner.reshape([1] * axis + [*made[axis:]]))
    return None


def transpose(numbers: Numbers, axes: Sequence[int]) -> Numbers:
    """Numbers of a transposed tensor."""
    return _short(_of_rank(numbers, len(axes)).transpose([*axes]))


def multiply(numbers: Numbers, rank: int, *, is_second: bool, is_adjoint: bool) -> Numbers | None:
    """Numbers of the product of two matrices by those of one of them; None if it mixes channels.

    Args:
        rank: of this operand.
        is_second: whether it is the second one.
        is_adjoint: whether it is transposed first.
    """
    whole = _of_rank(numbers, rank)
    whole = whole.swapaxes(-1, -2) if is_adjoint else whole
    return _short(whole) if whole.shape[-2 if is_second else -1] == 1 else None


def _of_rank(numbers: Numbers, rank: int) -> Numbers:
    return numbers.reshape([1] * (rank - numbers.ndim) + [*numbers.shape])


def _short(numbers: Numbers) -> Numbers:
    """[C] for channels that the last axis alone counts."""
    return numbers.reshape(-1) if numbers.size == numbers.shape[-1] else numbers
