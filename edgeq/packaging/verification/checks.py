"""The result of one check of a package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from edgeq.values.showing import bounded

# The check that shows whether anyone vouches for the rest, and its detail without a signature.
SIGNATURE_CHECK, UNSIGNED = "signature", "not signed"


@bounded
@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: what was checked, e.g. "files".
        verdict: "pass", "fail", "cannot-tell" (required, but impossible here), or "skipped" (not
            proven, and not required).
        detail: what was found, one or more sentences.
    """

    name: str
    verdict: Annotated[str, Meta(pattern=r"^(pass|fail|cannot-tell|skipped)\Z")]
    detail: tuple[str, ...]


def outcome(name: str, problems: Sequence[str], good: str) -> Check:
    """A failure with its problems, or else a pass."""
    return Check(name, "fail" if problems else "pass", tuple(problems) or (good,))


def skipped(name: str, *why: str) -> Check:
    """A check that was not made, and why."""
    return Check(name, "skipped", why)
