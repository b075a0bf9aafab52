"""Reads the scheme, the dtype of inputs and outputs, and the granularity of a request."""

from __future__ import annotations

from edgeq.errors import UsageError
from edgeq.values.schemes import SCHEMES, Scheme

BLOCK_SIZES = (32, 64, 128, 256)
GRANULARITIES = ("channel", "tensor", *(f"block:{size}" for size in BLOCK_SIZES))


def resolve(scheme: str, io: str | None, granularity: str) -> tuple[Scheme, str]:
    """The scheme and its input/output dtype.

    Raises:
        UsageError: unknown names, or a dtype the scheme cannot have.
    """
    if scheme not in SCHEMES:
        raise UsageError(f"Unknown scheme {scheme!r}; use one of {', '.join(SCHEMES)}.")
    if granularity not in GRANULARITIES:
        raise UsageError(
            f"Unknown granularity {granularity!r}; use one of {', '.join(GRANULARITIES)}."
        )
    chosen = SCHEMES[scheme]
    if io is not None and io not in chosen.io:
        raise UsageError(
            f"--io {io} cannot be combined with --scheme {scheme}.",
            hint=f"Use {' or '.join(chosen.io)}.",
        )
    return chosen, io or chosen.io[0]
