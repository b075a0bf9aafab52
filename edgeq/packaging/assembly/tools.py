"""The programs that making a package may need: a Java compiler, and tflite-micro."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    from edgeq.packaging.targets.c.tflite_micro import Measured


@dataclass(frozen=True)
class Tools:
    """How to run them; a process that may start no program asks another one to.

    Attributes:
        compile_java: see `compiling.make_jar`.
        measure_arena: see `micro.run`.
    """

    compile_java: Callable[[Mapping[str, bytes]], bytes]
    measure_arena: Callable[[bytes, Sequence[Sequence[NDArray[Any]]], int, str], Measured]


def _compile_java(sources: Mapping[str, bytes]) -> bytes:
    from edgeq.packaging.targets.android.compiling import make_jar

    return make_jar(sources)


def _measure_arena(
    content: bytes, samples: Sequence[Sequence[NDArray[Any]]], output_count: int, shown_as: str
) -> Measured:
    from edgeq.packaging.targets.c import tflite_micro

    return tflite_micro.run(content, samples, output_count, shown_as=shown_as)


HERE = Tools(_compile_java, _measure_arena)
