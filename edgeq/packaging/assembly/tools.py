"""The programs of this machine that making a package may need, imported when they are used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from edgeq.fit.arena import ArenaMeasurement
from edgeq.packaging.contract.values import Files
from edgeq.packaging.targets.tools import Tools


def _compile_java(sources: Files) -> bytes:
    from edgeq.packaging.targets.android.compiling import make_jar

    return make_jar(sources)


def _measure_arena(
    content: bytes, samples: Sequence[Sequence[NDArray[Any]]], output_count: int, shown_as: str
) -> ArenaMeasurement:
    from edgeq.fit import tflite_micro

    return tflite_micro.run(content, samples, output_count, shown_as=shown_as)


LOCAL_TOOLS = Tools(_compile_java, _measure_arena)
