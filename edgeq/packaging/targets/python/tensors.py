"""Tensors of a TensorFlow Lite model: from a raw sample to its numbers, and back to real values.

Real and quantized values are related by `real = scale * (quantized - zero_point)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_BELOW_HALF = np.nextafter(np.float32(0.5), np.float32(0))


@dataclass(frozen=True)
class Input:
    """An input of the model, and how a raw sample becomes its tensor.

    After the steps the numbers are `(x * factor + offset - mean) / std` in float32.

    Attributes:
        shape: with the batch dimension, which is 1.
        scale: None when it is not quantized.
        steps: what is done to an image first.
        front_end: from a sound to its features, which are prepared then; None for other inputs.
        mean: one for each channel, one for all, or none.
        std: one for each channel, one for all, or none.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int = 0
    steps: tuple[Callable[[Array], Array], ...] = ()
    factor: float = 1.0
    offset: float = 0.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    front_end: Callable[[Any], Array] | None = None

    def prepare(self, raw: Any) -> Array:
        """The tensor of a raw sample.

        Raises:
            OSError: a sound's file cannot be read.
            ValueError: the sample does not fit.
        """
        return self.encode(raw if self.front_end is None else self.front_end(raw))

    def encode(self, raw: Any) -> Array:
        """The tensor of a raw sample, or of the features of a sound.

        Raises:
            ValueError: it does not fit.
        """
        sample = np.asarray(raw)
        if sample.dtype.kind not in "fiub":
            raise ValueError(f"Input {self.name!r} takes numbers, not {sample.dtype} values.")
        for step in self.steps:
            sample = step(sample)
        return self.quantize(self._reshape(self._compute(sample)))[np.newaxis]

    def _compute(self, sample: Array) -> Array:
        if (self.factor, self.offset, self.mean, self.std) == (1.0, 0.0, (), ()):
            return sample
        with np.errstate(all="ignore"):
            values: Array = sample.astype(np.float32)
            if self.factor != 1.0:
                values = values * np.float32(self.factor)
            if self.offset != 0.0:
                values = values + np.float32(self.offset)
            if self.mean:
                values = values - np.array(self.mean, np.float32)
            if self.std:
                values = np.divide(values, np.array(self.std, np.float32))
        return values

    def _reshape(self, sample: Array) -> Array:
        """Dimensions of 1 are added or removed where they are all that differs."""
        wanted = self.shape[1:]
        if [size for size in sample.shape if size != 1] != [size for size in wanted if size != 1]:
            raise ValueError(
                f"Input {self.name!r} takes samples of shape {wanted}, not {sample.shape}."
            )
        return sample.reshape(wanted)

    def quantize(self, real: Array) -> Array:
        """Real values as the tensor's own numbers: half away from zero, saturated.

        Raises:
            ValueError: a value has no such number.
        """
        if self.scale is None:
            return self._cast(real)
        with np.errstate(over="ignore"):
            values = real.astype(np.float32)
        self._require_finite(values)
        with np.errstate(over="ignore"):
            scaled: Array = np.asarray(values / np.float32(self.scale))
        # Adding 0.5 would round 0.49999997 up; adding the number before 0.5 is exact for all.
        scaled += np.copysign(_BELOW_HALF, scaled)
        np.trunc(scaled, out=scaled)
        scaled += np.float32(self.zero_point)
        limits = np.iinfo(self.dtype)
        return np.clip(scaled, limits.min, limits.max).astype(self.dtype)

    def _cast(self, values: Array) -> Array:
        target = np.dtype(self.dtype)
        if target.kind == "f":
            with np.errstate(over="ignore"):
                real = values.astype(target)
            self._require_finite(real)
            return real
        low, high = (0, 1) if target.kind == "b" else (np.iinfo(target).min, np.iinfo(target).max)
        if values.dtype != target:
            wrong = (values < low) | (values > high)
            if values.dtype.kind == "f":  # 2.0 ** 63 equals int64's limit when rounded
                wrong |= (values != np.floor(values)) | (values >= float(high) + 1)
            if wrong.any():
                raise ValueError(
                    f"Input {self.name!r} takes {target} from {low} to {high}, "
                    f"not {values[wrong][0]}."
                )
        return values.astype(target)

    def _require_finite(self, values: Array) -> None:
        """No sample of the calibration held another value, and no integer stands for one."""
        if not np.isfinite(values).all():
            raise ValueError(f"Input {self.name!r} contains NaN or infinity.")


@dataclass(frozen=True, eq=False)
class Scores:
    """A value for each class.

    Attributes:
        values: along the last axis as the labels are.
    """

    values: Array
    labels: tuple[str, ...]

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The classes with the largest values, largest first.

        A single value with two labels is the probability of the second.

        Raises:
            ValueError: there is more than one row of values.
        """
        flat = [float(value) for value in self.values.reshape(-1)]
        if len(flat) == 1 and len(self.labels) == 2:
            flat = [1.0 - flat[0], flat[0]]
        if len(flat) != len(self.labels):
            raise ValueError(f"Values of shape {self.values.shape} have no single ranking.")
        ranked = sorted(range(len(flat)), key=lambda place: -flat[place])
        return [(self.labels[place], flat[place]) for place in ranked[:count]]


@dataclass(frozen=True)
class Output:
    """An output of the model.

    Attributes:
        shape: with the batch dimension.
        scale: None when it is not quantized.
        labels: of the classes along the last axis.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int = 0
    labels: tuple[str, ...] = ()

    def real(self, tensor: Array) -> Array:
        """A tensor in real values, without the batch dimension."""
        values = tensor
        if self.scale is not None:
            centred = tensor.astype(np.int32) - np.int32(self.zero_point)
            values = centred.astype(np.float32) * np.float32(self.scale)
        return values[0] if values.ndim and values.shape[0] == 1 else values

    def scores(self, tensor: Array) -> Scores:
        """The same with the labels."""
        return Scores(self.real(tensor), self.labels)


def bgr(image: Array) -> Array:
    """An RGB image with blue first.

    Raises:
        ValueError: its last dimension is not 3 channels.
    """
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"An image of shape {image.shape} does not have 3 channels last.")
    return image[:, :, ::-1]
