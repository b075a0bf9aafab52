"""The programs that a target may run to make its files: a Java compiler, and tflite-micro."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from edgeq.packaging.contract.values import Files


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
    """

    version: str
    outputs: tuple[tuple[NDArray[Any], ...], ...]
    arena_bytes: int
    recorded_bytes: int


@dataclass(frozen=True)
class Tools:
    """How to run them; a process that may start no program asks its parent.

    Attributes:
        compile_java: `android.compiling.make_jar`.
        measure_arena: `c.tflite_micro.run`: model, samples, number of outputs, name in messages.
    """

    compile_java: Callable[[Files], bytes]
    measure_arena: Callable[[bytes, Sequence[Sequence[NDArray[Any]]], int, str], ArenaMeasurement]
