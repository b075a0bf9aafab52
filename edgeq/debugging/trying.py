"""Try each remedy by converting the model with it, before it is advised."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgeq.accuracy.verdict import worst_sqnr_db
from edgeq.conversion.command_line import changed_flags
from edgeq.conversion.remedies import propose
from edgeq.conversion.ways_out import Reconverter, is_lost, lost_outputs
from edgeq.debugging.causes import Cause, change_options
from edgeq.values import ConvertOptions, LayerReport, Quality, Remedy

# Layers whose causes are examined, and conversions that may be made for them.
_LAYERS = 5
_MOST = 14
# A remedy that gains less does not count: the SQNR of a few dozen samples varies by about that.
LEAST_GAIN_DB = 1.0
_DEFAULTS = "as edgeq converts by default"


@dataclass(frozen=True)
class Culprit:
    """A layer and the causes that apply to it."""

    layer: LayerReport
    causes: tuple[Cause, ...]


@dataclass(frozen=True)
class Tried:
    """Remedies by the options they make of the candidate's own."""

    base: ConvertOptions
    by_options: dict[ConvertOptions, Remedy]

    def ranked(self) -> tuple[Remedy, ...]:
        """Return the remedies, the largest gain first."""
        return tuple(sorted(self.by_options.values(), key=lambda item: -_gain(item)))

    def explain(self, culprit: Culprit) -> LayerReport:
        """The layer with the cause whose remedy gained most, or the first cause and no remedy."""
        own = [
            (cause, remedy)
            for cause in culprit.causes
            for change in cause.changes
            if (remedy := self.by_options.get(change_options(self.base, change))) is not None
        ]
        cause, best = max(own, key=lambda item: _gain(item[1]), default=(None, None))
        if cause is None or best is None or _gain(best) < LEAST_GAIN_DB:
            return culprit.layer
        return replace(culprit.layer, cause=cause.says, remedy=best.options, gain_db=best.gain_db)


def _gain(remedy: Remedy) -> float:
    return -math.inf if remedy.gain_db is None else remedy.gain_db


def try_remedies(reconverter: Reconverter, culprits: Sequence[Culprit], quality: Quality) -> Tried:
    """Convert with each remedy, and measure what it adds to the outputs' worst part.

    Args:
        culprits: the layers that cost most, the worst first.
        quality: quality of the candidate.

    Returns:
        What was tried; the best is measured once more as the user would type it.
    """
    trial = _Trial(reconverter, quality)
    for culprit in culprits[:_LAYERS]:
        for change in (change for cause in culprit.causes for change in cause.changes):
            trial.run(change_options(reconverter.options, change))
    if is_lost(quality) and not trial.keeps:
        lost = lost_outputs(quality)
        for options in propose(reconverter.source, lost, reconverter.options):
            trial.run(options)
            if trial.keeps:
                break
    return Tried(reconverter.options, trial.confirm())


class _Trial:
    """Conversions against the one that they change, all made quickly."""

    def __init__(self, reconverter: Reconverter, quality: Quality):
        self.found: dict[ConvertOptions, Remedy] = {}
        self.keeps = False
        self._reconverter = reconverter
        self._before = self._measure(replace(reconverter.options, effort="fast"))
        if not reconverter.is_made_so:
            own, lost = self._measure(reconverter.options), worst_sqnr_db(quality)
            gain = None if own is None else own - lost
            command = reconverter.command(reconverter.options)
            self.found[reconverter.options] = Remedy(_DEFAULTS, own, gain, command)

    def run(self, options: ConvertOptions) -> None:
        """Try options, once and unless enough were tried."""
        reconverter = self._reconverter
        if options == reconverter.options or options in self.found or len(self.found) >= _MOST:
            return
        reconverter.ready.job.on_progress("try a remedy", len(self.found), None)
        # Without the search for the best ranges, unless the remedy is a correction.
        is_whole = options.corrections != reconverter.options.corrections
        after = self._measure(options if is_whole else replace(options, effort="fast"))
        flags = changed_flags(reconverter.options, options)
        self.found[options] = Remedy(flags, after, self._above(after), reconverter.command(options))

    def confirm(self) -> dict[ConvertOptions, Remedy]:
        """Return what was found; the best remedy is measured again with its whole command."""
        reconverter, found = self._reconverter, self.found
        best = max(found, key=lambda options: _gain(found[options]), default=reconverter.options)
        is_whole = best in (reconverter.options, replace(best, effort="fast"))
        if is_whole or _gain(found[best]) < LEAST_GAIN_DB:
            return found
        self._before = self._measure(reconverter.options)
        after = self._measure(best)
        whole = replace(found[best], sqnr_db=after, gain_db=self._above(after))
        return {**found, best: whole}

    def _above(self, sqnr_db: float | None) -> float | None:
        return None if sqnr_db is None or self._before is None else sqnr_db - self._before

    def _measure(self, options: ConvertOptions) -> float | None:
        quality = self._reconverter.convert(options)
        if quality is None:
            return None
        self.keeps = self.keeps or not is_lost(quality)
        return worst_sqnr_db(quality)
