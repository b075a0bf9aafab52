"""The integer kernels of the runtimes, as they were measured: forms, scales and accuracy.

`kernels.txt` beside this file has the facts; `python -m benchmarks.kernels --write` makes it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

from edgeq.tflite.versions import version

__all__ = [
    "FIXED",
    "TABLE",
    "fixed_range",
    "fuses",
    "measured",
    "missing",
    "rule",
    "takes",
    "version",
]

TABLE = Path(__file__).parent / "kernels.txt"


class Kernel(NamedTuple):
    """A row of the table: an operator, perhaps a variant of its use, in one form.

    Attributes:
        rule: see `rule`; "none" if no runtime has a kernel.
        sqnr_db: runtime to the SQNR against float, only of runtimes that compute the form right.
            "litert" is without delegates, "litert-reference" with reference kernels,
            "litert-xnnpack" with the default delegate. tflite-runtime has the same three.
        fuses: see `fuses`.
    """

    rule: str
    sqnr_db: dict[str, float]
    fuses: tuple[str, ...] = ()


@cache
def measured() -> dict[tuple[str, str], Kernel]:
    """(operator or "operator/variant", form) to its row."""
    rows = {}
    for line in TABLE.read_text("utf-8").splitlines():
        if line.startswith("#"):
            continue
        name, form, kept, *found = line.split()
        words = dict(word.split("=") for word in found)
        words.pop("version", None)
        fused = words.pop("fuses", "")
        values = {runtime: float(db) for runtime, db in words.items()}
        rows[name, form] = Kernel(kept, values, tuple(fused.split(",")) if fused else ())
    return rows


# What the default of each runtime runs: its own kernels, and XNNPACK's where it has one.
_BOTH = {
    "litert": ("litert", "litert-xnnpack"),
    "tflite-runtime": ("tflite-runtime", "tflite-runtime-xnnpack"),
    "micro": ("micro",),
}


def takes(operator: str, dtype: str) -> bool:
    """Whether ai-edge-litert computes an operator right in an integer form.

    Args:
        operator: name in the schema, e.g. "CONV_2D".
        dtype: "int8"; "int16" for INT16 activations with INT8 weights; "int4" for INT4 weights with
            INT8 activations.
    """
    return not missing(operator, dtype, "litert")


def missing(operator: str, dtype: str, runtime: str) -> bool:
    """Whether a runtime refuses an operator in an integer form, or computes it wrong.

    Args:
        operator: name in the schema.
        dtype: as in `takes`.
        runtime: "litert", "tflite-runtime" or "micro".

    Raises:
        KeyError: no such runtime was measured.
    """
    names = _BOTH[runtime]
    found = measured().get((operator, dtype))
    return found is None or not all(name in found.sqnr_db for name in names)


def rule(operator: str, dtype: str) -> str:
    """The source of the scale and zero point of an integer form's results.

    Args:
        operator: name in the schema.
        dtype: as in `takes`.

    Returns:
        "own": their own range; "input": those of the first float input; "all": one range for all
        float inputs and results; "fixed": the range that the kernel prescribes, as `FIXED` lists.

    Raises:
        KeyError: no kernel takes this form.
    """
    found = measured()[operator, dtype].rule
    if found == "none":
        raise KeyError(operator)
    return found


def fuses(operator: str, dtype: str) -> tuple[str, ...]:
    """Activations that ai-edge-litert computes right as part of an operator: RELU, RELU6...

    Args:
        operator: name in the schema.
        dtype: as in `takes`.
    """
    found = measured().get((operator, dtype))
    return () if found is None else found.fuses


def fixed_range(operator: str, dtype: str) -> tuple[float, float]:
    """The lowest and highest value of a result with the rule "fixed", in real units.

    Args:
        operator: name in the schema.
        dtype: "int8" or "int16".

    Raises:
        KeyError: the kernel prescribes nothing.
    """
    scale, zero_point = FIXED[operator, dtype]
    half = {"int8": 128, "int16": 32768}[dtype]
    return scale * (-half - zero_point), scale * (half - 1 - zero_point)


# (scale, zero point) of the results that kernels prescribe.
FIXED: dict[tuple[str, str], tuple[float, int]] = {
    ("LOGISTIC", "int8"): (1 / 256, -128),
    ("LOGISTIC", "int16"): (1 / 32768, 0),
    ("SOFTMAX", "int8"): (1 / 256, -128),
    ("SOFTMAX", "int16"): (1 / 32768, 0),
    ("TANH", "int8"): (1 / 128, 0),
    ("TANH", "int16"): (1 / 32768, 0),
    ("L2_NORMALIZATION", "int8"): (1 / 128, 0),
    ("LOG_SOFTMAX", "int8"): (16 / 256, 127),
}
