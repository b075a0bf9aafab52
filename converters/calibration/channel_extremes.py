"""The smallest and the largest value of each channel of a tensor."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LONG_ROW = 4096  # values


def channel_extremes(
    values: NDArray[np.float32], shape: tuple[int, ...] | None = None
) -> NDArray[np.float32]:
    """The smallest and the largest value of each channel, [2, *shape].

    Args:
        values: [..., *sizes], not empty.
        shape: of the channels: the sizes of axes that count them, and 1 for others; None for the
            last axis.
    """
    if shape is not None and len(shape) > 1:
        whole = values.reshape(-1, *values.shape[values.ndim - len(shape) :])
        axes = (0, *(1 + axis for axis, size in enumerate(shape) if size == 1))
        return np.stack([reduce(whole, axis=axes).reshape(shape) for reduce in (np.min, np.max)])
    channels = values.shape[-1]
    rows = values.size // channels
    # Many short rows as fewer long ones: NumPy reduces these several times as fast.
    most = max(1, _LONG_ROW // channels)
    joined = next(count for count in range(min(most, rows), 0, -1) if rows % count == 0)
    long = values.reshape(-1, joined * channels)
    return np.stack([
        reduce(reduce(long, axis=0).reshape(-1, channels), axis=0) for reduce in (np.min, np.max)
    ])  # fmt: skip
