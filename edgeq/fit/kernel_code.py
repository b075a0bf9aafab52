"""An estimate of the flash that the interpreter and a model's kernels take.

`kernel_code.txt` beside this file has the code of the interpreter and of each operator's kernel in
the x86-64 build of tflite-micro; `python -m benchmarks.kernel_code --write` makes it. Code for a
Cortex-M is smaller: `SOURCE` has the size of the same interpreter for both. Optimised kernels are
larger than these reference kernels, and libraries of the toolchain are not included.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from edgeq.values import Document

TABLE = Path(__file__).parent / "kernel_code.txt"
SOURCE = Document(
    title="TFLM Code Size FAQ",
    page="Sample code size of the TFLM Framework: 20411 bytes on x86-64, 9732 on a Cortex-M3",
    date="27 September 2021",
    url="https://github.com/tensorflow/tflite-micro/blob/main/tensorflow/lite/micro/examples/"
    "memory_footprint/README.md",
)
_CORTEX_M_SHARE = 9732 / 20411
_INTERPRETER = "*"


@cache
def _rows() -> tuple[tuple[int, frozenset[str]], ...]:
    lines = [line for line in TABLE.read_text("utf-8").splitlines() if not line.startswith("#")]
    return tuple((int(size), frozenset(names)) for size, *names in map(str.split, lines))


def estimate(operators: Iterable[str]) -> tuple[int, tuple[str, ...]]:
    """Bytes of the interpreter and of the kernels of some operators, code that they share once.

    Args:
        operators: names in the schema.

    Returns:
        The bytes on a Cortex-M, and the operators that the table does not have.
    """
    used = {_INTERPRETER, *operators}
    size = sum(size for size, names in _rows() if names & used)
    known = frozenset().union(*(names for _, names in _rows()))
    return round(size * _CORTEX_M_SHARE), tuple(sorted(used - known))
