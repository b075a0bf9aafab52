"""The programs that a target may run to make its files: a Java compiler, and tflite-micro."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from edgeq.fit.arena import ArenaMeasurement
from edgeq.packaging.contract.values import Files


@dataclass(frozen=True)
class Tools:
    """How to run them; a process that may start no program asks its parent.

    Attributes:
        compile_java: `android.compiling.make_jar`.
        measure_arena: `fit.tflite_micro.run`: model, samples, number of outputs, name in messages.
    """

    compile_java: Callable[[Files], bytes]
    measure_arena: Callable[[bytes, Sequence[Sequence[NDArray[Any]]], int, str], ArenaMeasurement]
