"""Inputs and outputs of a model as numpy arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .job import JobError


def unbatch(name: str, value: Any, batch: int) -> Any:
    """An output with one entry per sample, for a model whose output may have no batch dimension.

    Raises:
        JobError: the batch has several samples, and the output does not show which value is whose.
    """
    if value.ndim and value.shape[0] == batch:
        return value
    if batch == 1:
        return value[None]
    message = f"output {name} of shape {value.shape} does not have {batch} entries, one per sample"
    raise JobError("bad_output", message)


def pad(group: Any, batch: int) -> Any:
    """A group of samples, filled up to the batch size with its last sample."""
    import numpy

    if len(group) >= batch:
        return numpy.ascontiguousarray(group)
    return numpy.concatenate([group, numpy.repeat(group[-1:], batch - len(group), axis=0)])


def draw(random: Any, detail: dict[str, Any]) -> Any:
    """Random values for an input; integers that may be indices are zero."""
    import numpy

    shape = [max(int(size), 1) for size in detail["shape"]]
    dtype = numpy.dtype(detail["dtype"])
    if dtype.kind == "f":
        return random.random(shape).astype(dtype)
    if dtype.itemsize == 1 and dtype.kind in "iu":
        limits = numpy.iinfo(dtype)
        return random.integers(limits.min, limits.max + 1, shape).astype(dtype)
    return numpy.zeros(shape, dtype)


def save_atomically(path: str, array: Any) -> None:
    """Write an output completely or not at all, because a resumed run uses what it finds."""
    import numpy

    temporary = Path(path + ".tmp")
    with temporary.open("wb") as stream:
        numpy.save(stream, array)
    temporary.replace(path)
