"""From a figure and its doubts to a finding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgeq.gating.intervals import Estimate, hold_against
from edgeq.issues import ISSUE_KINDS
from edgeq.values import Finding, Issue, Origin


@dataclass(frozen=True)
class Unit:
    """How figures of a unit are written: with enough digits to tell them from a limit."""

    name: str
    form: str
    noun: str

    def show(self, value: float) -> str:
        """A number with its noun."""
        if math.isinf(value):
            return "identical" if self.name == "dB" and value > 0 else "unknown"
        noun = self.noun.removesuffix("s") if abs(value) == 1 else self.noun
        return f"{value:{self.form}}{noun}"


POINTS = Unit("points", "+.2f", " points")
DB = Unit("dB", ".2f", " dB")
BYTES = Unit("bytes", ",.0f", " bytes")
MS = Unit("ms", ".4g", " ms")
TIMES = Unit("x", ".4g", "x")
PERCENT = Unit("percent", "+.2f", " %")
COUNT = Unit("count", ".0f", "")
VERSION = Unit("version", "", "")


@dataclass(frozen=True)
class Measured:
    """A figure, where it stands, and what makes it less trustworthy.

    Attributes:
        subject: see `Finding`.
        remedy: what to do when it cannot tell, because the interval is too wide.
    """

    subject: str
    estimate: Estimate
    unit: Unit
    origins: tuple[Origin, ...]
    issues: tuple[Issue, ...]
    remedy: str


def show(estimate: Estimate, unit: Unit) -> str:
    """A figure with its unit and interval."""
    value = unit.show(estimate.value)
    if estimate.low is None or estimate.high is None:
        return value
    low, high = (
        "unknown" if math.isinf(end) else f"{end:{unit.form}}"
        for end in (estimate.low, estimate.high)
    )
    return f"{value} (95 % interval {low} to {high})"


def undecided(
    subject: str, reason: str, remedy: str, origins: Sequence[Origin] = ()
) -> Finding:
    """A figure that is missing or not comparable."""
    return Finding(
        subject=subject,
        verdict="cannot-tell",
        reason=reason,
        figure="",
        value=None,
        low=None,
        high=None,
        unit="",
        origins=tuple(origins),
        accepted=(),
        remedy=remedy,
        is_sound=False,
    )


def settle(
    measured: Measured,
    limit: float,
    *,
    is_upper: bool,
    proof: str,
    accept: Sequence[str],
    improve: str,
) -> Finding:
    """Hold a figure against its limit, unless there are doubts that the policy does not accept.

    Args:
        accept: codes of warnings; errors are never accepted.
        improve: what to do when the limit is missed.
    """
    doubts = {i.code: i for i in measured.issues if i.severity in ("error", "warning")}
    refused = [i for i in doubts.values() if i.severity == "error" or i.code not in accept]
    if refused:
        verdict, reason = "cannot-tell", _say_doubts(refused)
        remedy: str | None = _mend(refused)
    else:
        verdict, reason = hold_against(
            measured.estimate, limit, is_upper=is_upper, proof=proof
        )
        remedy = {"pass": None, "fail": improve, "cannot-tell": measured.remedy}[verdict]
    estimate = measured.estimate
    return Finding(
        subject=measured.subject,
        verdict=verdict,
        reason=reason,
        figure=show(estimate, measured.unit),
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        unit=measured.unit.name,
        origins=measured.origins,
        accepted=tuple(code for code in doubts if code in accept and not refused),
        remedy=remedy,
        is_sound=not refused,
    )


def _say_doubts(issues: Sequence[Issue]) -> str:
    is_invalid = any(issue.severity == "error" for issue in issues)
    named = ", ".join(f"{ISSUE_KINDS[issue.code].title} [{issue.code}]" for issue in issues)
    return f"the figure is {'invalid' if is_invalid else 'degraded'}: {named}"


def _mend(issues: Sequence[Issue]) -> str:
    if any(issue.severity == "error" for issue in issues):
        return "Measure on a sound device; an error cannot be accepted."
    codes = ", ".join(f'"{issue.code}"' for issue in issues)
    return f"Mend that and measure again, or accept it in [policy]: accept = [{codes}]."
