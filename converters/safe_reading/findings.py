"""A part of a file that is refused, as a value and as an error; how the lists are written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeq.errors import SourceError

_TRUST = "pass --unsafe-deserialization if you trust where the file comes from"


@dataclass(frozen=True)
class Finding:
    """A part of a file that is not on the list.

    Attributes:
        where: its place, as the subject of a sentence, e.g. "layer 'op'".
        what: the rest of the sentence, without full stop.
        own: name of the class or function, if it may be the user's own.
    """

    where: str
    what: str
    own: str | None = None


def refusal(path: Path, finding: Finding) -> SourceError:
    """The error for a finding, with the option to pass."""
    hint = (
        f"If {finding.own} is yours, pass --custom-objects module:{finding.own} naming where "
        f"it is defined; {_TRUST}."
        if finding.own
        else f"{_TRUST[0].upper()}{_TRUST[1:]}."
    )
    return SourceError(f"{path}: {finding.where} {finding.what}.", hint=hint)


def listed(text: str) -> frozenset[str]:
    """The names in a text, which spaces separate."""
    return frozenset(text.split())
