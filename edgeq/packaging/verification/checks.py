"""What one look at a package found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

# The check whose result says whether anybody vouches for the rest, and what it says without one.
OF_SIGNATURE, UNSIGNED = "signature", "not signed"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what, e.g. "files".
        verdict: "pass", "fail", "cannot-tell" (it had to be looked at, and could not be), or
            "skipped" (it is not proven, and need not be).
        detail: what was found, in a sentence or several.
    """

    name: str
    verdict: Annotated[str, Meta(pattern=r"^(pass|fail|cannot-tell|skipped)\Z")]
    detail: tuple[str, ...]


def outcome(name: str, problems: Sequence[str], good: str) -> Check:
    """A failure with its problems, or else a pass."""
    return Check(name, "fail" if problems else "pass", tuple(problems) or (good,))


def skipped(name: str, *why: str) -> Check:
    """What is not proven, and why."""
    return Check(name, "skipped", why)
