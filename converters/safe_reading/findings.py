"""What a file holds that it may not, as a value, and the error that tells it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeq.errors import SourceError

_TRUST = "pass --unsafe-deserialization if you trust where the file comes from"


@dataclass(frozen=True)
class Finding:
    """One thing that is not on the list.

    Attributes:
        where: it stands, as the subject of a sentence, e.g. "layer 'op'".
        what: the rest of the sentence, without full stop.
        own: name of the class or function, when it may be the user's own.
    """

    where: str
    what: str
    own: str | None = None


def refusal(path: Path, finding: Finding) -> SourceError:
    """The error for a finding, with what to type instead."""
    hint = (
        f"If {finding.own} is yours, pass --custom-objects module:{finding.own} naming where "
        f"it is defined; {_TRUST}."
        if finding.own
        else f"{_TRUST[0].upper()}{_TRUST[1:]}."
    )
    return SourceError(f"{path}: {finding.where} {finding.what}.", hint=hint)
