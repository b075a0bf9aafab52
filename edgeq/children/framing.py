"""Samples on a pipe or in a file: each sample is one `.npy` block per model input, in order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

npy: Any = npy_format  # typed by newer numpy only

_MARK = b"S"


def write_sample(stream: IO[bytes], arrays: Sequence[NDArray[Any]]) -> None:
    """Append one sample."""
    stream.write(_MARK + bytes([len(arrays)]))
    for array in map(np.ascontiguousarray, arrays):
        npy.write_array_header_2_0(stream, npy.header_data_from_array_1_0(array))
        stream.write(array.reshape(-1).view(np.uint8).data)  # numpy's own writer seeks


def read_sample(stream: IO[bytes]) -> list[NDArray[Any]] | None:
    """The next sample, None at the end."""
    head = stream.read(2)
    return [_read_array(stream) for _ in range(head[1])] if head else None


def _read_array(stream: IO[bytes]) -> NDArray[Any]:
    npy.read_magic(stream)
    shape, _, dtype = npy.read_array_header_2_0(stream)
    content = stream.read(math.prod(shape) * dtype.itemsize)
    values: NDArray[Any] = np.frombuffer(content, dtype).reshape(shape)
    return values
