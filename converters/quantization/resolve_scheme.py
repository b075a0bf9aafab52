"""Reads the scheme, the dtype of inputs and outputs, and the granularity of a request."""

from __future__ import annotations

from edgeq.errors import UsageError, unknown_name
from edgeq.values.schemes import SCHEMES, Scheme

BLOCK_SIZES = (32, 64, 128, 256)
GRANULARITIES = ("channel", "tensor", *(f"block:{size}" for size in BLOCK_SIZES))


def resolve(scheme: str, io: str | None, granularity: str) -> tuple[Scheme, str]:
    """The scheme and its input/output dtype.

    Raises:
        UsageError: unknown names, or a dtype or granularity the scheme cannot have.
    """
    if scheme not in SCHEMES:
        raise unknown_name("scheme", scheme, SCHEMES)
    if granularity not in GRANULARITIES:
        raise unknown_name("granularity", granularity, GRANULARITIES)
    chosen = SCHEMES[scheme]
    if io is not None and io not in chosen.io:
        raise UsageError(
            f"--io {io} cannot be combined with --scheme {scheme}.",
            hint=f"Use {' or '.join(chosen.io)}.",
        )
    if granularity.startswith("block:") and not chosen.takes_blocks:
        raise UsageError(
            f"--granularity {granularity} cannot be combined with --scheme {scheme}: "
            "no kernel computes with INT8 weights in blocks.",
            hint="Use --scheme weight-only-int8 or weight-only-int4, or --granularity channel.",
        )
    return chosen, io or chosen.io[0]


def check_engine(engine: str) -> None:
    """Refuse the second engine of edgeq 0.1, whose name its records may have.

    Raises:
        UsageError: it is not "edgeq".
    """
    if engine == "litert":
        raise UsageError(
            "--engine litert was removed: edgeq's own quantizer now makes every scheme, "
            "weight-only-int8, weight-only-int4 and --granularity block:N included.",
            hint="Remove --engine litert.",
        )
    if engine != "edgeq":
        raise UsageError(f"Unknown engine {engine!r}; the only one is edgeq.")
