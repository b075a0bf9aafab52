"""Select the trial: inside the budget, fastest or smallest, confirmed on separate samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgeq.accuracy.verdict import budget_drop, float_doubts, require_comparable, unproven_budget
from edgeq.device_runners.devices.device import Device
from edgeq.device_runners.measuring import run_job
from edgeq.errors import GateError
from edgeq.issues import make_issue
from edgeq.progress import OnProgress
from edgeq.tuning.content_store import Store
from edgeq.tuning.search import Search, badness, miss
from edgeq.values import BenchOptions, DeviceFacts, Issue, Quality, Ratio, Trial

_MOST_MEASURED = 8  # structures in one round, beside the float model
_MOST_ROUNDS = 4  # of looking for a mix that the samples kept apart confirm
_SAME_SPEED = 1.03  # medians this near are equal, and quality decides
_BENCH = BenchOptions(min_time_s=0.5, max_time_s=2.0)


class Choice:
    """Runs a search as far as the budget needs it, and decides.

    Args:
        source: the float model's file.
        device: to measure latency on.
        on_progress: receives the measurements, which take longer than trials.
    """

    def __init__(
        self, search: Search, source: Path, store: Store, device: Device, on_progress: OnProgress
    ):
        self._search, self._source, self._store, self._device = search, source, store, device
        self._on_progress = on_progress
        self._speeds: dict[str, tuple[Ratio, float]] = {}
        self.facts: DeviceFacts | None = None

    def choose(self) -> Trial:
        """The best trial inside the budget.

        Raises:
            GateError: no trial meets the budget; the message gives the nearest one and its cause.
            DeviceError: latency cannot be measured.
        """
        self._search.run_plain()
        if self._search.options.objective == "size":
            self._search.run_narrow()
        chosen = self._pick()
        for _ in range(_MOST_ROUNDS):
            if chosen is None:
                self._search.run_mixed()
                chosen = self._pick()
        chosen = chosen or self._pick(even_float=True)
        if chosen is None:
            raise self._refusal()
        return chosen

    def table(self, chosen: Trial) -> tuple[Trial, ...]:
        """All trials with what was measured, the chosen one first, and why the others are not it.

        A trial that the separate samples rejected never beats another one.
        """
        is_refuted = self._search.is_rejected
        timed = [
            replace(self._with_speed(trial), is_refuted=is_refuted(trial))
            for trial in self._search.trials
        ]
        alive = [trial for trial in timed if not trial.is_refuted and not trial.dropped_after]
        own = self._with_speed(chosen)
        marked = [
            replace(
                trial,
                is_pareto=trial in alive and _is_pareto(trial, alive),
                rejected=None if trial.recipe == own.recipe else self._why_not(trial, own),
            )
            for trial in timed
        ]
        marked.sort(key=lambda trial: trial.rejected is not None)
        return tuple(marked)

    def _why_not(self, trial: Trial, chosen: Trial) -> str:
        """Why a trial was not chosen, in the order in which it is decided."""
        budget, proof = self._search.options.convert, self._search.proof_against(trial)
        if trial.sha256 is None:
            return "no file could be made"
        if (missed := miss(trial, budget)) is not None:
            early = trial.dropped_after
            return f"dropped after {early} samples: {missed}" if early else missed
        if proof is not None:
            return f"on the samples kept apart {miss(proof, budget) or 'it could not be run'}"
        if self._search.is_float(trial) and not self._search.is_float(chosen):
            return "nothing of it is in INT8"
        return self._behind(trial, chosen) or _worse(trial, chosen)

    def _behind(self, trial: Trial, chosen: Trial) -> str | None:
        """Return the figure to minimise: latency or size."""
        if self._search.options.objective == "size":
            return _larger(trial, chosen)
        if trial.latency_ms is None or chosen.latency_ms is None:
            return "its latency was not measured: others came first"
        if self._speed_class(trial) <= self._speed_class(chosen):
            return None
        return f"slower by {100 * (trial.latency_ms / chosen.latency_ms - 1):.0f} %"

    def doubts(self, chosen: Trial, quality: Quality, *, is_apart: bool) -> list[Issue]:
        """Return the notes about the result."""
        found = self._gains(chosen)
        budget = self._search.options.convert.max_drop_points
        if not is_apart:
            message = f"All {quality.sample_count} samples served to choose as well as to measure"
            flattered = "SQNR" if budget_drop(quality) is None else "drop"
            found.append(
                make_issue("tune.same_samples", f"{message}: the {flattered} is too good.")
            )
        found += float_doubts(quality)
        if (unproven := unproven_budget(quality, budget)) is not None:
            found.append(make_issue("tune.few_samples", unproven))
        failed = [trial for trial in self._search.trials if trial.failure is not None]
        if failed:
            message = f"{len(failed)} recipes gave no file; the first: {failed[0].failure}"
            found.append(make_issue("tune.failed_trials", message))
        return found

    def _gains(self, chosen: Trial) -> list[Issue]:
        """A doubt when the file is neither smaller nor faster than the float model."""
        size, speed = self._source.stat().st_size, self._with_speed(chosen).speedup
        if chosen.size_bytes < size or (speed is not None and speed.low > 1):
            return []
        message = (
            f"With {_mixed_count(chosen)} operators not in INT8 the file has {chosen.size_bytes} "
            f"bytes, the float model {size}, and it is not proven to be faster: the float model "
            "serves as well."
        )
        return [make_issue("tune.no_gain", message)]

    def _pick(self, *, even_float: bool = False) -> Trial | None:
        """Return the best confirmed trial of those measured; the others are rejected."""
        inside = [t for t in self._search.inside() if even_float or not self._search.is_float(t)]
        # Small mixes are the fast ones, so they come first where not all can be measured.
        self._measure(sorted(inside, key=_mixed_count), _MOST_MEASURED)
        self._measure(self._search.ranked(), _MOST_MEASURED - len(self._speeds))
        return next(filter(self._search.confirm, self._by_objective(inside)), None)

    def _by_objective(self, trials: Sequence[Trial]) -> list[Trial]:
        """The best first; where what counts is the same, no other figure may be worse."""
        if self._search.options.objective == "size":
            return sorted(
                trials, key=lambda trial: (trial.size_bytes, badness(trial), self._ms(trial))
            )
        timed = [trial for trial in trials if trial.structure in self._speeds]
        return sorted(
            timed,
            key=lambda trial: (
                self._speed_class(trial), badness(trial), trial.size_bytes, self._ms(trial)
            ),
        )  # fmt: skip

    def _speed_class(self, trial: Trial) -> float:
        """Trials of one class are equally fast; the smallest is the fastest."""
        fastest = min(ms for _, ms in self._speeds.values())
        return math.log(self._ms(trial) / fastest) // math.log(_SAME_SPEED)

    def _ms(self, trial: Trial) -> float:
        known = self._speeds.get(trial.structure)
        return math.inf if known is None else known[1]

    def _measure(self, trials: Sequence[Trial], most: int) -> None:
        """Latency of each structure among the trials, the first ones that are new."""
        one_each: dict[str, Trial] = {}
        for trial in trials:
            if trial.structure not in self._speeds:
                one_each.setdefault(trial.structure, trial)
        chosen = list(one_each.values())[: max(0, most)]
        if not chosen:
            return
        part = self._search.workshop.recording.search
        tasks = [self._search.workshop.task(trial.recipe, part) for trial in chosen]
        files = [self._store.path(self._search.local.make(task)) for task in tasks]
        self._on_progress("measure latency", 0, len(chosen))
        result = run_job.bench([self._source, *files], self._device, _BENCH)
        require_comparable(result)
        self.facts = result.facts
        for trial, ratio, run in zip(chosen, result.speedups, result.runs[1:], strict=True):
            assert run.latency.p50_ms is not None  # of the agent's raw times
            self._speeds[trial.structure] = (ratio, run.latency.p50_ms)

    def _with_speed(self, trial: Trial) -> Trial:
        known = self._speeds.get(trial.structure)
        return trial if known is None else replace(trial, speedup=known[0], latency_ms=known[1])

    def _refusal(self) -> GateError:
        budget, nearest = self._search.options.convert, self._search.nearest()
        asked = [
            f"{option} {value:g}"
            for option, value in (
                ("--max-drop", budget.max_drop_points),
                ("--min-sqnr", budget.min_sqnr_db),
            )
            if value is not None
        ]
        message = f"None of {len(self._search.trials)} trials keeps {' and '.join(asked)}"
        if nearest is not None:
            message += f": the best has {_describe(nearest)}"
            if self._search.is_rejected(nearest):
                message += " where the search looked, and misses it on the samples kept apart"
        if self._search.layers:
            worst = self._search.layers[0]
            message += (
                f". Quantizing {worst.name.split(';')[0]!r} ({worst.operator}) costs most: alone "
                f"it leaves an SQNR of {worst.sqnr_db:.1f} dB before the final activation"
            )
        if self._search.is_cut_short:
            limit = f"--max-trials {self._search.options.max_trials}"
            return GateError(
                f"{message}. {limit} ended the search before all was tried. No model was written.",
                hint="Give a higher --max-trials, or none: the same command continues.",
            )
        return GateError(
            f"{message}. No model was written.",
            hint="The trials are kept: the same command with a wider budget decides at once. "
            "Quantization-aware training may reach this one (docs/quantization.md).",
        )


def _worse(trial: Trial, chosen: Trial) -> str:
    """Return the figure that decides if the objective does not."""
    ours, theirs = chosen.drop_points, trial.drop_points
    if ours is not None and theirs is not None and theirs.value > ours.value:
        return f"it loses {theirs.value - ours.value:.2f} points more"
    if trial.sqnr_db < chosen.sqnr_db:
        return "its SQNR is lower"
    return _larger(trial, chosen) or "it is not better in any figure"


def _larger(trial: Trial, chosen: Trial) -> str | None:
    more = trial.size_bytes - chosen.size_bytes
    return f"larger by {more:,} bytes" if more > 0 else None


def _mixed_count(trial: Trial) -> int:
    return len(trial.recipe.int16) + len(trial.recipe.keep_float)


def _describe(trial: Trial) -> str:
    drop = trial.drop_points
    if drop is None:
        return f"an SQNR of {trial.sqnr_db:.1f} dB"
    return (
        f"a drop of {drop.value:.2f} points (95 % interval {drop.low:.2f} to {drop.high:.2f}) and "
        f"an SQNR of {trial.sqnr_db:.1f} dB"
    )


def _is_pareto(trial: Trial, others: Sequence[Trial]) -> bool:
    """Whether nobody is as good in quality, size and measured speed, and better in one."""
    if trial.sha256 is None:
        return False
    own = _merits(trial)
    for other in others:
        theirs = _merits(other)
        if other.sha256 is None or (own[-1] is None) != (theirs[-1] is None):
            continue
        pairs = [
            (a, b) for a, b in zip(own, theirs, strict=True) if a is not None and b is not None
        ]
        if all(b <= a for a, b in pairs) and any(b < a for a, b in pairs):
            return False
    return True


def _merits(trial: Trial) -> tuple[float | None, ...]:
    """Smaller is better in each."""
    drop = trial.drop_points
    quality = -trial.sqnr_db if drop is None else drop.value
    return (quality, -trial.sqnr_db, trial.size_bytes, trial.latency_ms)
