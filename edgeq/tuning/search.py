"""The order of recipes to try: plain INT8 first, then the cheapest mix that meets the budget.

First every set of ranges is tried, then corrections of the best ones. If no INT8 file meets the
budget, operators are ranked by what quantizing each one alone costs. The worst 1, 2, 4, 8... get
INT16 activations or stay float; the smallest number that suffices is found between two of these;
then each operator of that set that is not needed returns to INT8. If an INT8 file meets it and the
smallest file is the objective, layers get INT4 weights, those that lose least per byte first.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from edgeq.accuracy.verdict import in_points
from edgeq.errors import QuantizationError
from edgeq.metrics.intervals import drop_interval
from edgeq.tuning.float_outputs import Part
from edgeq.tuning.journal import Journal
from edgeq.tuning.pool import Executor, LocalPool
from edgeq.tuning.recipe_files import Workshop
from edgeq.tuning.trial import is_hopeless
from edgeq.values import (
    ConvertOptions,
    Interval,
    LayerEffect,
    MetricLoss,
    PairedCounts,
    Recipe,
    Trial,
    TuneOptions,
)

_MOST_CORRECTED = 3  # of each granularity
_MOST_PRUNED = 16  # operators that are tried to go back to INT8, one at a time

OnTrial = Callable[[int], None]


@dataclass
class Search:
    """A search and what it has found; recipes that were tried before are not tried again.

    Attributes:
        trials: in the order of their recipes, each once.
        layers: the operators by what they cost, once that was needed.
        elapsed_s: spent on trials.
        resumed: trials whose outcome was in the journal.
        is_cut_short: whether `max_trials` kept recipes from being tried.
    """

    workshop: Workshop
    executor: Executor
    local: LocalPool
    journal: Journal
    options: TuneOptions
    on_trial: OnTrial

    def __post_init__(self) -> None:
        self.trials: list[Trial] = []
        self.resumed = 0
        self.elapsed_s = 0.0
        self.layers: tuple[LayerEffect, ...] = ()
        self.is_cut_short = False
        self._rejected: dict[Recipe, Trial] = {}
        self._names: list[str] = []

    def run_plain(self) -> None:
        """All INT8 files."""
        tried = self._try(self.workshop.plain_recipes())
        later = self.workshop.later_corrections
        if not later:
            return
        best = [
            trial.recipe
            for granularity in ("channel", "tensor")
            for trial in self._ranked(
                trial for trial in tried if trial.recipe.granularity == granularity
            )[:_MOST_CORRECTED]
        ]
        sets = dict.fromkeys((later, ("bias",)))
        self._try([replace(recipe, corrections=names) for recipe in best for names in sets])

    def run_mixed(self) -> None:
        """INT8 with some operators in INT16 or float.

        Raises:
            QuantizationError: the operators cannot be ranked.
        """
        plain = [
            trial
            for trial in self.trials
            if trial.recipe.granularity == "channel"
            and not (trial.recipe.keep_float or trial.recipe.int16 or trial.recipe.int4)
        ]
        ranked = self._ranked(plain)
        if not ranked:
            return
        base = ranked[0].recipe
        self.layers = self._rank_layers(base)
        # Behind the ranked ones come those that cost nothing, so that the last rung is everything.
        own = [layer.name for layer in self.layers] + self.workshop.names(base)
        self._names = names = list(dict.fromkeys(own))
        try:
            kernels = self.workshop.with_kernels(base)
        except QuantizationError:
            kernels = frozenset()  # no 16x8 at all; float is left
        ladders = {
            "int16": [name for name in names if name in kernels],
            "keep_float": names,
        }
        # Stretched channels clip elsewhere at a ReLU6, and no operator in float makes up for that.
        plain_base = next((item.recipe for item in ranked if not item.recipe.is_equalized), base)
        starts = [(base, *item) for item in ladders.items()]
        if plain_base != base:
            starts.append((plain_base, "keep_float", names))
        self._try(
            _mixed(start, side, ladder[:count])
            for start, side, ladder in starts
            for count in _rungs(len(ladder))
        )
        for start, side, ladder in starts:
            self._narrow(start, side, ladder)

    def run_narrow(self) -> None:
        """INT8 with INT4 weights in as many layers as the budget allows.

        Raises:
            QuantizationError: the layers cannot be ranked.
        """
        inside = self.inside()
        for granularity in ("channel", "tensor"):
            own = (item.recipe for item in inside if item.recipe.granularity == granularity)
            if (best := next(own, None)) is not None:
                # Corrections matter most with four bits.
                self._narrow_weights(replace(best, corrections=self.workshop.later_corrections))

    def _narrow_weights(self, base: Recipe) -> None:
        """Give more and more layers of a recipe INT4 weights, as long as the budget is kept."""
        counts = self.workshop.narrow_layers(base)
        ranked = self._rank_layers(_mixed(base, "int4", list(counts))) if counts else ()
        lost = {layer.name: 10 ** (-layer.sqnr_db / 10) for layer in ranked}  # others lose nothing
        ladder = sorted(counts, key=lambda name: lost.get(name, 0.0) / counts[name])
        rungs = _rungs(len(ladder))
        self._try(_mixed(base, "int4", ladder[:count]) for count in rungs)
        most, above = 0, 0
        for above in rungs:
            if not self._keeps(_mixed(base, "int4", ladder[:above])):
                break
            most = above
        while above - most > 1:
            middle = (most + above) // 2
            tried = _mixed(base, "int4", ladder[:middle])
            self._try([tried])
            most, above = (middle, above) if self._keeps(tried) else (most, middle)

    def _keeps(self, recipe: Recipe) -> bool:
        return any(item.recipe == recipe and self.keeps_budget(item) for item in self.trials)

    def inside(self) -> list[Trial]:
        """Return the trials that meet the budget, the best quality first."""
        return self._ranked(trial for trial in self.trials if self.keeps_budget(trial))

    def keeps_budget(self, trial: Trial) -> bool:
        """Whether the drop and the SQNR are within what the user named."""
        if trial.sha256 is None or trial.dropped_after or trial.recipe in self._rejected:
            return False
        return miss(trial, self.options.convert) is None

    def nearest(self) -> Trial | None:
        """The trial that misses the budget by the least: points too many, then SQNR."""
        most = self.options.convert.max_drop_points
        return min(
            self.ranked(),
            key=lambda trial: (
                0.0
                if most is None or trial.drop_points is None
                else max(0.0, trial.drop_points.value - most),
                -trial.sqnr_db,
            ),
            default=None,
        )

    def is_rejected(self, trial: Trial) -> bool:
        """Whether the samples kept apart did not confirm it."""
        return trial.recipe in self._rejected

    def proof_against(self, trial: Trial) -> Trial | None:
        """The quality on the separate samples, if they did not confirm the trial."""
        return self._rejected.get(trial.recipe)

    def confirm(self, trial: Trial) -> bool:
        """Return whether it meets the budget on the separate samples; if not, it is rejected."""
        (confirmed,) = self._evaluate("proof", [trial.recipe], self.workshop.recording.proof)
        is_inside = self.keeps_budget(confirmed)
        if not is_inside:
            self._rejected[trial.recipe] = confirmed
        return is_inside

    def is_float(self, trial: Trial) -> bool:
        """Whether nothing of it is left in INT8, or in INT16."""
        return len(trial.recipe.keep_float) == len(self._names) > 0

    def ranked(self) -> list[Trial]:
        """All trials with a file, those with the best quality first."""
        return self._ranked(self.trials)

    # ---------------------------------------------------------------- mixes

    def _rank_layers(self, recipe: Recipe) -> tuple[LayerEffect, ...]:
        reply = self.local.ask(self._task(recipe, self.workshop.recording.search), "effects")
        if isinstance(reply, dict):
            raise QuantizationError(f"The operators cannot be ranked: {reply['failure']}.")
        return tuple(LayerEffect(**fields) for fields in reply)

    def _narrow(self, base: Recipe, side: str, ladder: Sequence[str]) -> None:
        """Find the smallest number of operators that is enough, then those that are needed."""
        enough = self._smallest(base, side, ladder)
        if enough is None:
            return
        below = [count for count in _rungs(len(ladder)) if count < enough]
        between = range(max(below, default=0) + 1, enough)
        self._try(_mixed(base, side, ladder[:count]) for count in between)
        enough = self._smallest(base, side, ladder) or enough
        names = list(ladder[:enough])
        singles = [
            _mixed(base, side, [other for other in names if other != name])
            for name in names[:_MOST_PRUNED]
            if len(names) > 1
        ]
        freed = {
            name
            for name, trial in zip(names, self._try(singles), strict=False)
            if self.keeps_budget(trial)
        }
        if len(freed) > 1:
            self._try([_mixed(base, side, [name for name in names if name not in freed])])

    def _smallest(self, base: Recipe, side: str, ladder: Sequence[str]) -> int | None:
        """How many of the worst operators are enough, as far as was tried."""
        kept = {trial.recipe for trial in self.trials if self.keeps_budget(trial)}
        counts = range(1, len(ladder) + 1)
        return next((n for n in counts if _mixed(base, side, ladder[:n]) in kept), None)

    # ---------------------------------------------------------------- trying

    def _try(self, recipes: Any) -> list[Trial]:
        """Trials of recipes on the search's samples, in their order."""
        wanted = list(dict.fromkeys(recipes))
        known = {trial.recipe for trial in self.trials}
        if (most := self.options.max_trials) is not None:
            room = most - len(self.trials)
            new = [recipe for recipe in wanted if recipe not in known]
            self.is_cut_short |= len(new) > room
            left_out = set(new[max(0, room) :])
            wanted = [recipe for recipe in wanted if recipe not in left_out]
        missing = [recipe for recipe in wanted if recipe not in known]
        self.trials += self._evaluate("search", missing, self.workshop.recording.search)
        by_recipe = {trial.recipe: trial for trial in self.trials}
        return [by_recipe[recipe] for recipe in wanted]

    def _evaluate(self, name: str, recipes: Sequence[Recipe], part: Part) -> list[Trial]:
        # The proof is complete, whatever it says.
        most = self.options.convert.max_drop_points if name == "search" else None
        found = {recipe: self._known(name, recipe, part.count, most) for recipe in recipes}
        self.resumed += sum(known is not None for known in found.values())
        tasks = [
            replace(self._task(recipe, part), max_drop_points=most)
            for recipe, known in found.items()
            if known is None
        ]
        started = time.monotonic()
        for task, outcome in self.executor.run(tasks):
            self.journal.add(name, task.recipe, outcome)
            # As the journal will tell it after an interruption.
            found[task.recipe] = self.journal.known(name, task.recipe)
            self.on_trial(len(self.trials) + sum(known is not None for known in found.values()))
        self.elapsed_s += time.monotonic() - started
        return [_read_trial(recipe, outcome or {}) for recipe, outcome in found.items()]

    def _known(
        self, name: str, recipe: Recipe, count: int, most: float | None
    ) -> dict[str, Any] | None:
        """The outcome in the journal, unless this budget might not have dropped the trial."""
        outcome = self.journal.known(name, recipe)
        if outcome is None or outcome.get("dropped_after") is None:
            return outcome
        drop = _read_trial(recipe, outcome).drop_points
        return outcome if is_hopeless(drop, count, most) else None

    def _task(self, recipe: Recipe, part: Part) -> Any:
        return self.workshop.task(recipe, part)

    def _ranked(self, trials: Iterator[Trial] | Sequence[Trial]) -> list[Trial]:
        """Trials with a file, the best quality first; equals in the order they were tried."""
        return sorted((trial for trial in trials if trial.sha256 is not None), key=badness)


def badness(trial: Trial) -> tuple[bool, float, float]:
    """Sorts trials by quality, the best first: dropped ones last, accuracy lost, then SQNR.

    It does not know the budget, so that a search for another one finds its trials in the journal.
    """
    drop = trial.drop_points
    lost = 0.0 if drop is None else drop.value
    return (trial.dropped_after is not None, lost, -trial.sqnr_db)


def miss(trial: Trial, budget: ConvertOptions) -> str | None:
    """Return by how much a trial misses the budget; None if it meets it."""
    least, most, drop = budget.min_sqnr_db, budget.max_drop_points, trial.drop_points
    if least is not None and trial.sqnr_db < least:
        return f"an SQNR of {trial.sqnr_db:.1f} dB is below {least:g}"
    if most is None:
        return None
    if drop is None:
        return "its accuracy was not measured"
    return None if drop.value <= most else f"a drop of {drop.value:.2f} points is above {most:g}"


def _rungs(most: int) -> list[int]:
    """1, 2, 4, 8... and all."""
    powers = [1 << power for power in range(most.bit_length()) if 1 << power < most]
    return [*powers, most] if most else []


def _mixed(base: Recipe, side: str, names: Sequence[str]) -> Recipe:
    chosen = tuple(sorted(names))
    own: dict[str, Any] = {side: chosen}
    return replace(base, **own)


def _read_drop(loss: dict[str, Any] | None, paired: PairedCounts | None) -> Interval | None:
    """Return what the budget limits: the loss of the task's metric in points, or of top-1."""
    if loss is not None:
        found: MetricLoss = msgspec.convert(loss, MetricLoss, strict=False)
        return in_points(found)
    return None if paired is None else drop_interval(paired)


def _read_trial(recipe: Recipe, outcome: dict[str, Any]) -> Trial:
    if "failure" in outcome:
        return Trial(recipe, None, 0, "", -math.inf, None, None, failure=outcome["failure"])
    paired = outcome["paired"]
    counts = None if paired is None else PairedCounts(**paired)
    return Trial(
        recipe=recipe,
        sha256=outcome["sha256"],
        size_bytes=outcome["size_bytes"],
        structure=outcome["structure"],
        sqnr_db=float(outcome["sqnr_db"]),  # "inf" for identical outputs
        paired=counts,
        drop_points=_read_drop(outcome.get("loss"), counts),
        dropped_after=outcome["dropped_after"],
    )
