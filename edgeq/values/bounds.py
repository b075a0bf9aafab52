"""Bounds of fields: msgspec applies them when a record is read, and the JSON Schema shows them."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from edgeq.values.schemes import SCHEMES

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(gt=0)]
Milliseconds = Annotated[float, Meta(ge=0, le=1e9)]
Percent = Annotated[float, Meta(ge=0, le=100)]
# In Python, $ alone also matches before a line break at the end.
JUDGEMENTS = ("fail", "cannot-tell", "pass")  # the worst first
Judgement = Annotated[str, Meta(pattern=rf"^({'|'.join(JUDGEMENTS)})$(?!\n)")]
SchemeName = Annotated[str, Meta(pattern=rf"^({'|'.join(SCHEMES)})$(?!\n)")]
Severity = Annotated[str, Meta(pattern=r"^(error|warning|note)$(?!\n)")]
Validity = Annotated[str, Meta(pattern=r"^(valid|degraded|invalid)$(?!\n)")]
Verdict = Annotated[str, Meta(pattern=r"^(ship|check|no)$(?!\n)")]
SOME = Meta(min_length=1)


def require(condition: bool, what: str) -> None:
    """Raise ValueError unless the condition holds: one field depends on another."""
    if not condition:
        raise ValueError(what)
