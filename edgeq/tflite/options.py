"""Options of operators: which table of the schema each has."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

_REDUCING = ("MEAN", "SUM", "REDUCE_ALL", "REDUCE_ANY", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD")
# Operators whose table has another name than they.
_NAMES = {
    **dict.fromkeys(_REDUCING, "Reducer"),
    **dict.fromkeys(("AVERAGE_POOL_2D", "L2_POOL_2D", "MAX_POOL_2D"), "Pool2D"),
    **dict.fromkeys(("MAXIMUM", "MINIMUM"), "MaximumMinimum"),
    "CONV_3D_TRANSPOSE": "Conv3D",
    "L2_NORMALIZATION": "L2Norm",
    "UNIDIRECTIONAL_SEQUENCE_RNN": "SequenceRNN",
}


def complete_options(kit: Any, model: Any, names: Mapping[int, str]) -> None:
    """Give each builtin operator without its table of options one with the schema's defaults.

    Kernels ignore the table of another operator (core/api/flatbuffer_conversions.cc), so that
    readers need no checks.

    Args:
        kit: the schema's module.
        model: the schema's `ModelT`; changed in place.
        names: of builtin operators, by code.
    """
    tables = _tables(kit)
    for graph in model.subgraphs:
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            kind = names.get(max(code.builtinCode, code.deprecatedBuiltinCode), "")
            table = tables.get(_NAMES.get(kind, kind).replace("_", "").lower())
            if table is None or code.customCode is not None:
                continue
            own, default = operator.builtinOptions, getattr(kit, f"{table}OptionsT")()
            # Converters leave out tables that say nothing, such as that of SLICE.
            says_something = any(value is not None for value in vars(default).values())
            if not isinstance(own, type(default)) and (own is not None or says_something):
                operator.builtinOptions = default
                operator.builtinOptionsType = getattr(kit.BuiltinOptions, f"{table}Options")


@cache
def _tables(kit: Any) -> dict[str, str]:
    """Names of the tables without "Options", by the same in small letters."""
    names = (name.removesuffix("Options") for name in vars(kit.BuiltinOptions)
             if name.endswith("Options"))  # fmt: skip
    return {name.lower(): name for name in names}
