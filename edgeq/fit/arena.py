"""The memory that a model needs in TensorFlow Lite for Microcontrollers, as it was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

_KIBIBYTE = 1024


@dataclass(frozen=True, eq=False)
class ArenaMeasurement:
    """A model's run in tflite-micro.

    Attributes:
        version: of tflite-micro.
        outputs: of each sample, in the order of the model's outputs.
        arena_bytes: the smallest arena with which it runs here, a multiple of 16. A few hundred
            bytes of it are notes of the allocator that records.
        recorded_bytes: what the interpreter itself reports. It may be less: temporary memory used
            while operators are prepared is not counted.
        persistent_bytes: of these, what stays allocated as long as the interpreter exists. Several
            models that share an arena need all of theirs, and the largest of the rest.
    """

    version: str
    outputs: tuple[tuple[NDArray[Any], ...], ...]
    arena_bytes: int
    recorded_bytes: int
    persistent_bytes: int


def arena_with_margin(least: int) -> int:
    """An eighth more than measured, at least 1 KiB more, in whole KiB.

    Optimised kernels (CMSIS-NN, ESP-NN) need scratch memory that the measured ones do not.
    """
    return -(-(least + max(least // 8, _KIBIBYTE)) // _KIBIBYTE) * _KIBIBYTE
