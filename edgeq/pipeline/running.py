"""The run itself: each stage in turn, its steps at the same time, what is unchanged left alone."""

from __future__ import annotations

import glob
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeq.converters.samples.generators import is_function_reference
from edgeq.devices.fleet import Fleet, FleetEntry, run_fleet
from edgeq.errors import DeviceError, EdgeqError, OutputError, UsageError
from edgeq.files import storage
from edgeq.pipeline.plan import Plan
from edgeq.pipeline.stages import STAGES, Stage, judged_names
from edgeq.pipeline.state import State, locked
from edgeq.pipeline.steps import Digests, Step, Tools, code_of
from edgeq.progress import OnProgress

MADE = "made"
KEPT = "kept"
LEFT_OUT = "left out"
FAILED = "failed"


@dataclass(frozen=True)
class Outcome:
    """What became of a step.

    Attributes:
        name: of the step; of the stage where it has none.
        state: MADE, KEPT, LEFT_OUT or FAILED.
        why: it was made or left out, or how it failed; "" for what was kept.
        outputs: files that are there now.
    """

    name: str
    state: str
    why: str
    seconds: float
    outputs: tuple[Path, ...]


OnOutcome = Callable[[Outcome], None]


def run_plan(
    plan: Plan,
    *,
    first_again: str | None = None,
    verbose: bool = False,
    is_trusted: bool = False,
    on_progress: OnProgress,
    on_outcome: OnOutcome,
) -> tuple[Outcome, ...]:
    """Do what is to be done.

    A device that fails leaves a record that says so, and the others go on; any other error ends
    the run, and the next one goes on there. Devices run at the same time, this machine before them.

    Args:
        first_again: name of the stage from which on everything is done again, changed or not.
        is_trusted: whether the user let `plan.code` be executed.
        on_outcome: called after each step, from several threads.

    Raises:
        UsageError: there is such code, and they did not.
        EdgeqError: one of its kinds; what was finished before stays.
    """
    if plan.code and not is_trusted:
        raise UsageError(f"{plan.code[0].where} names code, and nobody said to trust it.")
    _make_folder(plan.output.parent)
    if any(source and is_function_reference(source) for source in (plan.calibration, plan.test)):
        _make_functions_importable(plan.file.parent)
    outcomes: list[Outcome] = []
    with locked(plan.beside("run.lock"), str(plan.output)):
        state = State(plan.beside("run-state"))
        again = False
        # Of a device or a policy that is no longer asked for, nothing stays to be taken for new.
        state.withdraw(judged_names(plan), plan.output.parent)
        with Tools(verbose=verbose) as tools:
            for stage in STAGES:
                if not stage.uses_tensorflow:
                    tools.close()
                again = again or stage.name == first_again
                runner = _StageRunner(state, tools, on_progress, on_outcome, again)
                outcomes += runner.run(stage, plan)
    return tuple(outcomes)


class _StageRunner:
    """One stage."""

    def __init__(
        self,
        state: State,
        tools: Tools,
        on_progress: OnProgress,
        on_outcome: OnOutcome,
        is_asked_for: bool,
    ):
        self._state = state
        self._tools = tools
        self._on_progress = on_progress
        self._on_outcome = on_outcome
        self._is_asked_for = is_asked_for
        self._digests = Digests()

    def run(self, stage: Stage, plan: Plan) -> Sequence[Outcome]:
        steps = stage.plan(plan)
        if isinstance(steps, str):
            outcome = Outcome(stage.name, LEFT_OUT, steps, 0.0, ())
            self._on_outcome(outcome)
            return [outcome]
        if len(steps) == 1:
            return [self._do(steps[0], self._on_progress)]
        alone = [step for step in steps if step.is_alone]
        others = [step for step in steps if not step.is_alone]
        results = [self._try(step, self._on_progress) for step in alone]
        if others:
            results += self._do_at_once(stage, others)
        for result in results:
            if isinstance(result, EdgeqError):
                raise result
        return [result for result in results if isinstance(result, Outcome)]

    def _do_at_once(self, stage: Stage, steps: Sequence[Step]) -> list[Outcome | EdgeqError]:
        by_name = {step.name: step for step in steps}

        def work(name: str, on_progress: OnProgress) -> Outcome | EdgeqError:
            return self._try(by_name[name], on_progress)

        fleet = run_fleet(stage.name, list(by_name), work, self._on_progress)
        return [entry.result for entry in fleet.entries]

    def _try(self, step: Step, on_progress: OnProgress) -> Outcome | EdgeqError:
        """An error that is no device's is raised when the other steps have ended."""
        try:
            return self._do(step, on_progress)
        except EdgeqError as error:
            return error

    def _do(self, step: Step, on_progress: OnProgress) -> Outcome:
        origin = self._digests.origin(step)
        why = self._state.why(step.name, origin, step.outputs)
        if why is None and (code := code_of(step)):
            why = f"{', '.join(code)} is code, which may have changed"
        if why is None and self._is_asked_for:
            why = "asked for again"
        if why is None:
            return self._report(Outcome(step.name, KEPT, "", 0.0, step.outputs))
        # What is known of the old outputs stays until new ones are there: they are replaced whole.
        _remove_leftovers(step.outputs)
        for path in step.voids:
            path.unlink(missing_ok=True)
        begun = time.monotonic()
        try:
            step.work(self._tools, on_progress)
        except DeviceError as error:
            if step.device is None:
                raise
            _record_failure(step, error)
            seconds = time.monotonic() - begun
            return self._report(Outcome(step.name, FAILED, str(error), seconds, step.outputs))
        self._state.finish(step.name, origin, step.outputs)
        seconds = time.monotonic() - begun
        return self._report(Outcome(step.name, MADE, why, seconds, step.outputs))

    def _report(self, outcome: Outcome) -> Outcome:
        self._on_outcome(outcome)
        return outcome


def _record_failure(step: Step, error: DeviceError) -> None:
    """A record that a gate cannot overlook, where that of the comparison would be."""
    assert step.device is not None
    entry = FleetEntry(step.device, None, error.message, error.hint)
    with storage.replacing(step.outputs[-1]) as temporary:
        storage.write_record(temporary, "fleet-compare", Fleet("compare", (entry,)))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"Cannot make the folder {folder}: {error.strerror}.", hint="Choose another output."
        ) from error


def _make_functions_importable(folder: Path) -> None:
    """As data, "module:function" is imported from the folder of the edgeq.toml, too."""
    place = str(folder.resolve())
    if place not in sys.path:
        sys.path.append(place)


def _remove_leftovers(outputs: Sequence[Path]) -> None:
    """Unfinished files of a run that was killed; the lock says that they are nobody's."""
    for output in outputs:
        for left in output.parent.glob(f".{glob.escape(output.name)}.*.tmp"):
            left.unlink(missing_ok=True)
